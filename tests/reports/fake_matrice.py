"""Made-up folders of a MATRICE run, for pages without a model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pages import written

from locant.recipes.matrice import Plan
from locant.recipes.matrice.sharing import verdict_rows

RELATIONS = ("capital", "currency")
MANY = ("en", "fr", "de", "es", "it", "pt", "nl", "ru", "pl", "tr", "fi", "hu", "ja", "ko", "zh", "vi", "ar")
LAYERS = 4
Row = dict[str, object]


@dataclass(frozen=True)
class Truth:
    """What the made-up run is to show.

    Attributes:
        agnostic, plain: relative change of P(answer) without the language-agnostic set, and without the sets taken
            with less uncertainty and the references.
        own, cross: without a language's own neurons, read in that language and in another.
        passing: neurons that pass in all languages of a fact.
        chance: as many, of those that pass of the fact, are passed if each language's neurons are another fact's.
        here, elsewhere: share of queries that say the new answer after a change, there and in other languages.
        recovered: share of failed queries that come right when scaled.
        kept: Jaccard index of the set with one chosen anew.
        held_out: without neurons located in all languages but the one that is read.
        another: without the set of another fact.
        taught: whether the run knows where facts were taught.
        dropped: what was not asked.
        hostile: put into every name and text but those of languages.
    """

    agnostic: float = -0.4
    plain: float = -0.2
    own: float = -0.6
    cross: float = -0.3
    passing: int = 2
    chance: float = 0.5
    here: float = 0.9
    elsewhere: float = 0.5
    recovered: float = 0.7
    kept: float = 0.7
    held_out: float = -0.3
    another: float = -0.02
    taught: bool = True
    languages: Sequence[str] = ("en", "fr", "zh")
    facts: int = 7
    empty: Sequence[str] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    hostile: str = ""
    status: str = "complete"
    seed: int = 0


def fake_run(folder: Path, truth: Truth = Truth()) -> Path:
    """A run folder whose tables of single facts are consistent with each other, as far as a page can tell."""
    made = _Made(truth)
    tables = {
        "facts": made.facts,
        "answers": list(made.answers()),
        "known": list(made.known()),
        "neurons": list(made.neurons()),
        "stability": list(made.stability()),
        "agreeing": list(made.agreeing()),
        "layers": list(made.layers()),
        "overlap": list(made.overlap()),
        "touched": list(made.touched()),
        "sharing": list(made.sharing()),
        "sizes": list(made.sizes()),
        "verdicts": list(verdict_rows(list(made.sharing()), Plan())),
        "left_out": [],
        "chosen": [
            {"lambda1": 1.0, "lambda2": 2.0, "how": "swept", "apart": True, "facts": 3, "success": 0.8, "kept": 0.9}
        ],
        "lambdas": list(made.lambdas()),
        "edited": list(made.edited()),
        "injected": list(made.injected()),
        "enhanced": list(made.enhanced()),
        "degenerate": list(made.degenerate()),
        "checking": list(made.checking()),
        "costs": [{"stage": "attribution", "facts": 8, "queries": 48, "seconds": 12.0}],
    }
    kept = {name: [] if name in truth.empty else rows for name, rows in tables.items()}
    return written(folder, kept, _manifest(truth))


def _manifest(truth: Truth) -> Row:
    settings = {
        "localizer": "amig", "settings": {"steps": 3}, "lambda_q": 1.0, "lambda_l": 1.0, "rule": "entropy",
        "weights": "equal", "share": 0.2, "size": 20, "draws": 50, "random_sets": 2, "edited": 7, "injected": 7,
        "enhanced": 40, "paired": 4, "sources": 2, "lambda1": None, "lambda2": 2.0, "steps": 40, "rate": 0.01,
        "seed": truth.seed,
    }  # fmt: skip
    return {
        "recipe": "matrice", "model": "almanac" + truth.hostile, "revision": None, "dtype": "float32",
        "package": "0.1.0", "source": "bmlama53" + truth.hostile,
        "drawn": {"languages": list(truth.languages), "relations": ["capital"], "limit": None, "wordings": 4,
                  "known_in": None, "form": "cloze"},
        "languages": list(truth.languages), "dropped": dict(truth.dropped), "data": "b36a51033c02",
        "settings": settings, "status": truth.status,
    }  # fmt: skip


class _Made:
    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.numbers = np.random.default_rng(truth.seed)
        self.languages = truth.languages
        self.facts: list[Row] = [
            {"fact": f"{relation}/{place}{truth.hostile}", "relation": relation + truth.hostile,
             "subject": f"thing {place}", "languages": list(self.languages), "known": self._known(place),
             "taught": self._known(place) if truth.taught else None}
            for relation in RELATIONS for place in range(truth.facts)
        ]  # fmt: skip
        self.located = [fact for fact in self.facts if len(self._of(fact)) > 1]

    def _known(self, place: int) -> list[str]:
        """Of a relation the third fact in one language, the next two in all but the last, the others in all."""
        some = {2: self.languages[:1], 3: self.languages[:-1], 4: self.languages[:-1]}
        return list(some.get(place, self.languages))

    @staticmethod
    def _of(fact: Row) -> list[str]:
        known = fact["known"]
        assert isinstance(known, list)
        return known

    def near(self, value: float, spread: float = 0.03) -> float:
        return float(value + spread * self.numbers.standard_normal())

    def often(self, share: float) -> bool:
        return bool(self.numbers.random() < share)

    def _answer(self, fact: Row, language: str) -> str:
        """One string in the first two languages for every second fact."""
        place = self.facts.index(fact)
        alike = place % 2 == 0 and language in self.languages[:2]
        return f"answer {place}{'' if alike else f' {language}'}{self.truth.hostile}"

    def _query(self, fact: Row, language: str, at: int) -> str:
        return f"{fact['fact']}/{language}/{at}"

    def answers(self) -> Iterator[Row]:
        """In each language two queries that locate and two that judge, the first of which fails."""
        for fact, language, at in itertools.product(self.facts, self.languages, range(4)):
            right = language in self._of(fact) and at != 2
            yield {"fact": fact["fact"], "relation": fact["relation"], "language": language,
                   "part": "locate" if at < 2 else "judge", "query": self._query(fact, language, at),
                   "answer": self._answer(fact, language), "probability": 0.9 if right else 1e-6,
                   "right": right}  # fmt: skip

    def known(self) -> Iterator[Row]:
        for language in self.languages:
            share = float(np.mean([language in self._of(fact) for fact in self.facts])) / 2
            yield {"language": language, "queries": 2 * len(self.facts), "mean": share, "low": share - 0.1,
                   "high": share + 0.1, "n": len(self.facts)}  # fmt: skip

    def _sets(self, fact: Row) -> dict[str, float]:
        """By set, what suppressing it changes in a language of its own or in any."""
        plain = ("no query term", "no language term", "no uncertainty", "one query", "intersection", "union")
        own = {f"own: {language}": self.truth.own for language in self._of(fact)}
        others = {f"others than: {language}": self.truth.held_out for language in self._of(fact)}
        rest = dict.fromkeys(plain, self.truth.plain) | {
            "language neurons": -0.02,
            "random 1": 0.0,
            "random 2": -0.01,
            "random like union 1": 0.0,
            "another fact's": self.truth.another,
            "by deviation": self.truth.plain,
        }
        return {"matrice": self.truth.agnostic, **rest, **own, **others}

    def touched(self) -> Iterator[Row]:
        for fact in self.located:
            for (name, mean), operation, language in itertools.product(
                self._sets(fact).items(), ("suppress", "enhance"), self.languages
            ):
                if name.startswith("own: ") and name != f"own: {language}":
                    mean = self.truth.cross
                for asked, at in itertools.product(("related", "unrelated"), (2, 3)):
                    other = fact if asked == "related" else self.facts[self.facts.index(fact) - self.truth.facts]
                    before = 0.9 if language in self._of(other) and at == 3 else 1e-9
                    # What is not known has no probability to lose: its relative change is noise
                    change = self.near(mean if asked == "related" else -0.01) if before > 0.5 else 40.0
                    if asked == "related" and language in self._of(fact):
                        before, change = 0.9, self.near(mean)
                    change = change if operation == "suppress" else -0.2 * change
                    yield {"fact": fact["fact"], "set": name, "size": 20, "operation": operation,
                           "language": language, "asked": asked, "query": self._query(other, language, at),
                           "before": before, "after": before * (1 + change)}  # fmt: skip

    def neurons(self) -> Iterator[Row]:
        for fact in self.located:
            for name, layer in itertools.product(self._sets(fact), range(LAYERS)):
                yield {"fact": fact["fact"], "set": name, "layer": layer, "neuron": 7, "weight": 0.5,
                       "within": abs(self.near(0.01)), "between": abs(self.near(0.03)), "languages": 2,
                       "seconds": 1.5, "queries": 6}  # fmt: skip

    def stability(self) -> Iterator[Row]:
        for fact in self.located:
            for least in range(1, len(self._of(fact)) + 1):
                number = self.truth.passing + 10 * (len(self._of(fact)) - least)
                yield {"fact": fact["fact"], "what": "agreement", "least": least, "value": float(number)}
            for over, (what, value) in itertools.product(
                ("queries", "languages"),
                {"jaccard": self.truth.kept, "low": 0.3, "high": 0.9, "expected": 0.02}.items(),
            ):
                yield {"fact": fact["fact"], "what": f"{over}: {what}", "least": None,
                       "value": self.near(value, 0.01)}  # fmt: skip

    def agreeing(self) -> Iterator[Row]:
        """As `stability` has them at the run's share, and fewer the larger the share is."""
        for share, least in itertools.product((0.1, 0.2, 0.5), (1, 2, 3, None)):
            facts = [fact for fact in self.located if len(self._of(fact)) >= (least or 2)]
            if not facts:
                continue
            own = [self.truth.passing + 10 * (known - (least or known)) for known in map(len, map(self._of, facts))]
            mean = float(np.mean(own)) * 0.2 / share
            for of, value in (("the fact", mean), ("other facts", self.truth.chance * mean),
                              ("difference", (1 - self.truth.chance) * mean)):  # fmt: skip
                yield {"share": share, "least": least, "of": of, "mean": value, "low": value - 0.5,
                       "high": value + 0.5, "n": len(facts)}  # fmt: skip

    def layers(self) -> Iterator[Row]:
        for name, layer in itertools.product(("matrice", "union", "own of each language", "random"), range(LAYERS)):
            yield {"set": name, "layer": layer, "neurons": 14.0 if layer == 1 else 2.0, "facts": len(self.located)}

    def overlap(self) -> Iterator[Row]:
        for first, second in itertools.combinations(self.languages, 2):
            family = {first, second} <= set(MANY[:9])
            for same in (None, False, True) if {first, second} == set(self.languages[:2]) else (None, False):
                mean = 0.2 if same else 0.05
                yield {"first": first, "second": second, "family": family, "script": family, "same_answer": same,
                       "mean": mean, "low": mean - 0.02, "high": mean + 0.02, "n": 8, "expected": 0.02,
                       "p": 0.01 if same is None else None}  # fmt: skip

    def sharing(self) -> Iterator[Row]:
        """Of facts known in all languages everything is shared if other languages' neurons do half as much."""
        for fact, language in itertools.product(self.facts, self.languages):
            known, several = language in self._of(fact), len(self._of(fact)) > 1
            everywhere = len(self._of(fact)) == len(self.languages)
            shared = self.truth.cross < 0.5 * self.truth.own and everywhere
            verdict = "absent" if not known else "alone" if not several else "shared" if shared else "specific"
            yield {"fact": fact["fact"], "relation": fact["relation"], "language": language,
                   "taught": known if self.truth.taught else None,
                   "everywhere": everywhere if self.truth.taught else None, "known": known,
                   "own": -self.truth.own if several else None, "others": -self.truth.cross if several else None,
                   "random": 0.0, "verdict": verdict,
                   "by_chance": False if verdict in ("shared", "specific") else None}  # fmt: skip

    def sizes(self) -> Iterator[Row]:
        for name in ("matrice", "no uncertainty", "own of each language"):
            yield {"set": name, "facts": len(self.located), "without": 0.25, "mean": 19.0, "low": 18.0, "high": 20.0,
                   "n": len(self.located)}  # fmt: skip

    def _read(self, fact: Row, source: str, name: str, **about: object) -> Iterator[Row]:
        new = self.facts[self.facts.index(fact) - 1]
        for language, asked, at in itertools.product(self.languages, ("related", "neighbour", "unrelated"), (2, 3)):
            share = self.truth.here if source in ("all", language) else self.truth.elsewhere
            share = 0.0 if name.startswith("random") or asked != "related" else share
            same = source not in ("all", language) and asked == "related"
            same = same and self._answer(new, language) == self._answer(new, source)
            says = self.often(share)
            yield {"fact": fact["fact"], "source": source, "set": name, **about, "language": language,
                   "asked": asked, "known": language in self._of(fact), "query": self._query(fact, language, at),
                   "says_new_before": False,
                   "says_new": says, "kept": not says and self.often(0.9), "same_answer": same}  # fmt: skip

    def edited(self) -> Iterator[Row]:
        for fact in self.located[:12]:
            for source, name in itertools.product(
                self._of(fact),
                ("matrice", "own of the language", "intersection", "random 1", "random 2", "random like union 1"),
            ):
                yield from self._read(fact, source, name)
            for name in ("each language's own, in turn", "matrice"):
                yield from self._read(fact, "all", name)

    def lambdas(self) -> Iterator[Row]:
        for fact, size in itertools.product(self.located[:3], (1.0, 2.0, 4.0)):
            yield from self._read(fact, self._of(fact)[0], "own of the language", **{"lambda": size})

    def injected(self) -> Iterator[Row]:
        parameters = {"matrice": 11520, "own of the language": 11520, "random 1": 11520, "random like union 1": 11520,
                      "all neurons": 2_200_000,
                      "LoRA": 14976}  # fmt: skip
        made: Row = {"steps": 9, "loss": 0.04}
        for fact in self.located[:12]:
            for source, (name, number) in itertools.product(self._of(fact)[:2], parameters.items()):
                yield from self._read(fact, source, name, kind="overwrite", parameters=number, **made)
        for fact in self.facts:
            lacking = [language for language in self.languages if language not in self._of(fact)]
            for source, name in itertools.product(lacking[:1], ("matrice", "random 1", "all neurons", "LoRA")):
                yield from self._read(fact, source, name, kind="new", parameters=parameters[name], **made)

    def enhanced(self) -> Iterator[Row]:
        for fact, name, factor, language, asked, at in itertools.product(
            self.located, ("matrice", "own of one language", "random 1"), (1.5, 2.0), self.languages,
            ("related", "unrelated"), (2, 3),
        ):  # fmt: skip
            before = language in self._of(fact) and at == 3
            turns = self.truth.recovered if not before and name != "random 1" and asked == "related" else 0.05
            turns = 0.0 if language not in self._of(fact) else turns
            yield {"fact": fact["fact"], "set": name, "factor": factor, "language": language, "asked": asked,
                   "query": self._query(fact, language, at), "right_before": before,
                   "right_after": before != self.often(turns)}  # fmt: skip

    def degenerate(self) -> Iterator[Row]:
        for fact, name in itertools.product(self.located[:4], ("matrice", "own")):
            yield {"fact": fact["fact"], "set": name, "language": self.languages[0], "what": "all", "pairs": 190,
                   "degenerate": 19, "accepted": 2, "random_degenerate": 0.01, "synergy": 0.02,
                   "random_synergy": float("nan")}  # fmt: skip

    def checking(self) -> Iterator[Row]:
        aucs = {"neurons": 0.8, "probability": 0.9, "exact match": 0.7, "random neurons": 0.5}
        for relation, name, (by, auc), language in itertools.product(
            ("all", *(relation + self.truth.hostile for relation in RELATIONS)), ("matrice", "union"), aucs.items(),
            ("all", *self.languages[:2]),
        ):  # fmt: skip
            yield {"relation": relation, "set": name, "by": by, "language": language, "size": 9,
                   "auc": auc, "auc_low": auc - 0.1, "auc_high": auc + 0.1, "precision": 0.5, "recall": 0.5,
                   "f1": 0.5, "facts": 12, "statements": 36, "true": 6}  # fmt: skip
