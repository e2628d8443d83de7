"""Does a fact taught in one language, by training few neurons, reach the others; and what is forgotten for it?"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from locant.reports.answers import Answer
from locant.reports.blocks import Block, Section, absent, as_table, caption, details, grid
from locant.reports.matrice.names import LORA, MATRICE, name_of
from locant.reports.matrice.reach import (
    Read,
    reach_answer,
    reach_head,
    reach_heading,
    reach_panels,
    reach_table,
    read,
)
from locant.reports.matrice.run import Run
from locant.reports.means import mean
from locant.reports.numbers import count, portion
from locant.reports.text import upper

QUESTION = "Does a fact taught in one language reach others?"


def answer(run: Run) -> Answer:
    """What a lesson in one language makes the model say there, and in the others."""
    return reach_answer(read(run, "injected", "taught", "overwrite"), QUESTION)


def sections(run: Run) -> Iterator[Section]:
    """Every set's reach and what it forgets."""
    if run["injected"].is_empty():
        why = "The table of lessons has no rows."
        yield Section("teaching", "Teaching", {None: absent("No fact was taught", why)})
        return
    for kind, name, title in (("overwrite", "teaching", "Teaching"), ("new", "lessons", "")):
        found = read(run, "injected", "taught", kind)
        if found.sets:
            yield Section(name, title, {None: _block(run, found, name, kind)})


_WHAT = {
    "overwrite": "A new answer is taught in one language that knows another ({}), and then asked for in all: shown "
    "are other languages that knew the old one; those that lacked it are in the table.",
    "new": "A fact is taught as it is in one language that does not know it ({}), and then asked for in all: shown "
    "are other languages that lacked it too; those that knew it already are in the table. "
    "Neurons are those located where it is known; where it was not located, those of its relation’s other facts.",
}


def _block(run: Run, found: Read, uid: str, kind: str) -> Block:
    trained = {name: _trained(found, name) for name in found.sets}
    names = {name: f"{upper(name_of(name))} · {trained[name][0]}" for name in found.sets}
    body, figures = reach_panels(found, uid, names)
    taught = [one for one in run.languages if one in set(found.rows["source"])]
    said = (
        f"{_WHAT[kind].format(', '.join(taught))} Trained are the up, gate and down vectors of some neurons, and "
        "nothing else. Beside each set: parameters trained, to whole thousands. All neurons are every feed-forward "
        f"layer, at a tenth of the rate; {_of_lora(trained)}. Left: share of judging queries whose first choice is "
        "the new answer. Right: share of "
        "other facts’ queries, in all languages, whose first token stays: the rest is forgotten. Means over facts "
        "with 95% bootstrap intervals, n in the table. Controls: random neurons of the same layers, and of the "
        "union’s."
    )
    first, *others = reach_head(found)
    head = (first, "parameters", "steps", *others)
    rows = [(row[0], *trained[name][1:], *row[1:]) for name, row in zip(found.sets, reach_table(found), strict=True)]
    body += caption(said) + as_table(head, rows) + _by_language(run, found)
    return Block(f"{'As it is: t' if kind == 'new' else 'T'}{reach_heading(found)[1:]}", body, figures)


def _of_lora(trained: dict[str, tuple[str, str, str]]) -> str:
    if LORA not in trained or MATRICE not in trained:
        return "adapters (LoRA) were not trained"
    return f"LoRA trains {trained[LORA][1]} parameters, the language-agnostic set {trained[MATRICE][1]}"


def _trained(found: Read, which: str) -> tuple[str, str, str]:
    """Parameters in short and in full, and steps."""
    rows = found.rows.filter(pl.col("set") == which)
    parameters, steps = rows["parameters"].mean(), rows["steps"].mean()
    if not isinstance(parameters, float) or not isinstance(steps, float):
        return "not recorded", "–", "–"
    short = f"{parameters / 1000:,.0f} k" if parameters < 1e6 else f"{parameters / 1e6:,.1f} M"
    return short, count(round(parameters)), f"{steps:.0f}"


def _by_language(run: Run, found: Read) -> str:
    """Where lessons were given and where they are read, as a table: sources are too few for a square."""
    table = []
    for name in found.sets:
        groups = found.related(name).partition_by("source", as_dict=True, maintain_order=True)
        for (source,), rows in groups.items():
            cells = [mean(rows.filter(pl.col("language") == one), "says_new") for one in run.languages]
            table.append((name_of(name), str(source), *(portion(cell) if cell else "–" for cell in cells)))
    return details("By language", grid(("neurons", "taught in", *run.languages), table, 2))
