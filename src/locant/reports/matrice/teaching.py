"""Does a fact taught in one language, by training few neurons, reach the others; and what is forgotten for it?"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from locant.reports.answers import Answer
from locant.reports.blocks import Block, Section, absent, as_table, caption, details, grid
from locant.reports.matrice.names import name_of, upper
from locant.reports.matrice.reach import HEAD, Read, reach_answer, reach_heading, reach_panels, reach_table, read
from locant.reports.matrice.run import Run
from locant.reports.numbers import count, portion
from locant.reports.query_localization.means import mean

QUESTION = "Does a fact taught in one language reach others?"


def answer(run: Run) -> Answer:
    """What a lesson in one language makes the model say there, and in the others."""
    return reach_answer(read(run, "injected", "taught"), QUESTION)


def sections(run: Run) -> Iterator[Section]:
    """Every set's reach and what it forgets."""
    if run["injected"].is_empty():
        why = "The table of lessons has no rows."
        yield Section("teaching", "Teaching", {None: absent("No fact was taught", why)})
        return
    yield Section("teaching", "Teaching", {None: _block(run)})


def _block(run: Run) -> Block:
    found = read(run, "injected", "taught")
    trained = {name: _trained(run, name) for name in found.sets}
    names = {name: f"{upper(name_of(name))} · {trained[name][0]}" for name in found.sets}
    body, figures = reach_panels(found, "teaching", names)
    taught = [one for one in run.languages if one in set(run["injected"]["source"])]
    said = (
        f"A new answer is taught in one language ({', '.join(taught)}) by training the value vectors and biases of "
        "some neurons only, then asked for in all of them. Beside each set: parameters trained, to whole thousands. "
        "All neurons are every feed-forward layer, at a tenth of the rate; LoRA has about as many parameters as the "
        "language-agnostic set. Left: share of judging queries whose first choice is the new answer. Right: share of "
        "other facts’ queries, in all languages, whose first token stays: the rest is forgotten. Means over facts "
        "with 95% bootstrap intervals, n in the table. Control: random neurons of the same layers."
    )
    head = (HEAD[0], "parameters", "steps", *HEAD[1:])
    rows = [(row[0], *trained[name][1:], *row[1:]) for name, row in zip(found.sets, reach_table(found), strict=True)]
    body += caption(said) + as_table(head, rows) + _by_language(run, found)
    return Block(reach_heading(found), body, figures)


def _trained(run: Run, which: str) -> tuple[str, str, str]:
    """Parameters in short and in full, and steps; of the set as the table calls it."""
    rows = run["injected"].filter(pl.col("set").str.starts_with(which))
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
