"""Facts planted in known neurons, for chosen languages: which localizer finds them, and is the verdict right?

    python benchmarks/planted.py [--facts 6]

Each fact is given another one's object by training the vectors of a few random neurons, and nothing else: of one
neuron for both languages (shared), of other neurons for each (specific), or for one language (absent from the other).
Plantings that the model does not take up are left out, and counted.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

import polars as pl
import torch

import locant
from locant import almanac
from locant.attributions import attribute
from locant.interventions.tuning import tuned
from locant.models import LanguageModel
from locant.queries.parallel import ParallelFact, gather_parallel
from locant.recipes.matrice import Plan
from locant.recipes.matrice.located import Asked, locate, part, parted, sets_in
from locant.recipes.matrice.sharing import sharing_rows
from locant.recipes.matrice.touched import touch
from locant.selections.across_languages import language_agnostic
from locant.selections.uncertainty import by_language, over_queries
from locant.types import Selection

LANGUAGES = ("en", "zh")  # which share neither answers nor subjects
LOCALIZERS = ("dai", "sig", "amig", "gradient_x_activation", "activation")
MODES = ("shared", "specific", "one language")
SEEDS = range(5)
NAMES, NUMBERS = ("fact", "set", "operation", "language", "asked"), ("before", "after", "size")
SIZE = 4
"""Neurons planted in for one language; for two languages one neuron, which both must then use."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facts", type=int, default=6)
    lm = locant.load("almanac")
    found: dict[tuple[str, str], Counter[str]] = {}
    for mode in MODES:
        for fact, stack, chosen in planted(lm, mode, parser.parse_args().facts):
            with stack:
                one, _ = part(lm, fact)
                # Of a fact planted for one language, the other may come to know it: that verdict can be wrong
                taken = set(LANGUAGES[:1] if mode == "one language" else LANGUAGES) <= set(one.known)
                for localizer in LOCALIZERS:
                    count = found.setdefault((mode, localizer), Counter())
                    count["plantings"] += 1
                    if taken:
                        count.update(judge(lm, one, mode, localizer, chosen))
    print(f"{'planted':<14}{'localizer':<24}{'taken up':>10}{'neuron found':>14}{'verdict right':>15}")
    for (mode, localizer), count in found.items():
        of = f"{count['found']}/{count['places']}", f"{count['right']}/{count['verdicts']}"
        print(f"{mode:<14}{localizer:<24}{count['taken']:>6}/{count['plantings']:<3}{of[0]:>14}{of[1]:>15}")


def planted(
    lm: LanguageModel, mode: str, count: int
) -> Iterator[tuple[ParallelFact, ExitStack, Mapping[str, Selection]]]:
    """Facts with a planted object, the context that holds it, and the neurons of each language."""
    queries = [query for language in LANGUAGES for query in almanac.queries("capital", language)]
    facts = gather_parallel(queries, LANGUAGES)[: 2 * count]
    for fact, other in zip(facts[:count], facts[count:], strict=True):
        new = renamed(fact, other.answers)
        for seed in SEEDS:
            first, second = neurons(lm, seed, 1 if mode == "shared" else SIZE), neurons(lm, 10 + seed, SIZE)
            stack = ExitStack()
            if mode == "shared":
                teach(lm, stack, new, LANGUAGES, first)
                yield new, stack, dict.fromkeys(LANGUAGES, first)
            elif mode == "specific":
                teach(lm, stack, new, LANGUAGES[:1], first)
                teach(lm, stack, new, LANGUAGES[1:], second)
                yield new, stack, dict(zip(LANGUAGES, (first, second), strict=True))
            else:
                teach(lm, stack, new, LANGUAGES[:1], first)
                yield new, stack, {LANGUAGES[0]: first}


def renamed(fact: ParallelFact, new: Mapping[str, str]) -> ParallelFact:
    """The fact with another object, in six wordings of each language."""
    return replace(
        fact,
        queries={
            language: tuple(
                replace(one, answer=new[language], fact=replace(one.fact, object=new[language])) for one in asked[:6]
            )
            for language, asked in fact.queries.items()
        },
    )


def neurons(lm: LanguageModel, seed: int, count: int) -> Selection:
    order = torch.randperm(lm.layers * lm.neurons, generator=torch.Generator().manual_seed(seed))
    drawn = order[:count].sort().values
    units = torch.stack([drawn // lm.neurons, drawn % lm.neurons], dim=1)
    return Selection((), units, torch.ones(count), (lm.layers, lm.neurons), lm.provenance("planted", {"seed": seed}))


def teach(lm: LanguageModel, stack: ExitStack, fact: ParallelFact, taught: Sequence[str], chosen: Selection) -> None:
    lessons = [query for language in taught for query in fact.queries[language]]
    stack.enter_context(tuned(lm, lessons, chosen, steps=120, rate=0.03, stop_at=0.1))


def judge(lm: LanguageModel, one: Asked, mode: str, localizer: str, chosen: Mapping[str, Selection]) -> Iterator[str]:
    """What is counted of one planting."""
    yield "taken"
    plan = Plan(localizer=localizer, random_sets=1, draws=1)
    for language, own in chosen.items():
        located = set(map(tuple, of_language(lm, one, language, plan).units.tolist()))
        for unit in own.units.tolist():
            yield "places"
            if tuple(unit) in located:
                yield "found"
    expected = dict.fromkeys(LANGUAGES, mode)
    if mode == "one language":
        expected = dict(zip(LANGUAGES, ("alone", "absent"), strict=True))
    for row in sharing_rows(suppressed(lm, one, plan), [one], {}):
        yield "verdicts"
        if row["verdict"] == expected[str(row["language"])]:
            yield "right"


def of_language(lm: LanguageModel, one: Asked, language: str, plan: Plan) -> Selection:
    """A language's own neurons, as the recipe takes them, whether or not another language knows the fact."""
    queries = one.locate[language]
    found = attribute(lm, queries, plan.localizer, **plan.settings)  # type: ignore[arg-type]
    own = by_language(over_queries({language: found.scores}), plan.lambda_q)[0]
    return language_agnostic(own, queries, size=plan.size)


def suppressed(lm: LanguageModel, one: Asked, plan: Plan) -> pl.DataFrame:
    """What the fact's sets take, of a fact that two languages know; else nothing is located."""
    if len(one.known) < 2:
        texts, numbers = dict.fromkeys(NAMES, pl.String()), dict.fromkeys(NUMBERS, pl.Float64())
        return pl.DataFrame(schema=pl.Schema([*texts.items(), *numbers.items()]))
    found = parted(locate(lm, one, neurons(lm, 99, 1), plan)).neurons
    sets = sets_in(found, [one], (lm.layers, lm.neurons), lm.provenance("planted", {}))[one.fact.uid]
    return touch(lm, one, {}, sets)


if __name__ == "__main__":
    main()
