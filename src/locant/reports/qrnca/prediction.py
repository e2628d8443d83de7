"""Do a group's neurons say which answer is right, and do they say more than other neurons in their place?"""

from __future__ import annotations

from collections.abc import Iterator

import plotly.graph_objects as go

from locant.reports.blocks import Block, Section, absent, as_table, caption, legend, panels, plot
from locant.reports.means import LEAST, in_order, spread, values
from locant.reports.numbers import count, points, portion, share
from locant.reports.qrnca.figures import Mark, Row, scale
from locant.reports.qrnca.names import ALL, CHANCE, FULL, POOLS, RULES
from locant.reports.qrnca.run import Run
from locant.types import Interval

OWN = "own"
JUDGES = ("random", "another group's")
"""Whose pools a group's own must be right more often than, to be said to predict."""
_MARKS = {
    OWN: ("var(--located)", "circle"),
    "another group's": ("var(--unrelated)", "diamond"),
    "random": ("var(--control)", "square-open"),
    "none": ("var(--control)", "x-thin"),
}
_LEGEND = [
    ("dot", "the group’s own neurons"),
    ("diamond", "another group’s"),
    ("hollow", "random neurons"),
    ("cross", "no neurons"),
]


def sections(run: Run) -> Iterator[Section]:
    """How often each rule is right."""
    if not rules(run):
        why = "The table of prediction has no rows of a rule: no answer was predicted from neurons."
        yield Section("prediction", "Prediction", {None: absent("No answer was predicted from neurons alone", why)})
        return
    yield Section("prediction", "Prediction", {None: _block(run)})


def rules(run: Run) -> list[str]:
    """The rules that were tried, without the references."""
    found = [name for name in values(run["prediction"], "rule") if name not in (CHANCE, FULL)]
    return in_order(found, tuple(RULES))


def accuracy(run: Run, rule: str, group: str = ALL, pool: str = OWN) -> Interval | None:
    """How often a rule is right with a pool's neurons; None if it was not tried. References have no pool."""
    rows = run.of("prediction", rule=rule, group=group, pool="" if rule in (CHANCE, FULL) else pool)
    return spread(rows.row(0, named=True), "accuracy") if len(rows) else None


def gain(run: Run, rule: str, against: str, group: str = ALL) -> Interval | None:
    """By how much the group's own neurons are right more often than another pool's, over the same questions."""
    rows = run.of("gains", rule=rule, against=against, group=group)
    return spread(rows.row(0, named=True), "gain") if len(rows) else None


def groups_of(run: Run) -> list[str]:
    """Of the predictions: all together first, if that was counted."""
    return in_order(values(run["prediction"], "group"), (ALL, *run.groups))


def beyond_controls(run: Run, rule: str, group: str = ALL) -> int | None:
    """1 if a group's own neurons are surely right more often than random ones and another group's.

    -1 if less often than either; 0 if neither is shown; None if they were not compared with both.
    """
    found = [gain(run, rule, against, group) for against in JUDGES]
    signs = [0 if one.n < LEAST else int(one.low > 0) - int(one.high < 0) for one in found if one is not None]
    return min(signs) if len(signs) == len(JUDGES) else None


def _block(run: Run) -> Block:
    figures: dict[str, go.Figure] = {}
    parts: list[tuple[str, str]] = []
    for group in groups_of(run):
        rows = [row for rule in rules(run) if (row := _row(run, rule, group)) is not None]
        if not rows:
            continue
        lines = {}
        for name, dash in ((CHANCE, "dash"), (FULL, "solid")):
            reference = accuracy(run, name, group)
            if reference is not None:
                lines[f"{name} {share(reference.mean)}"] = (reference.mean, dash)
        uid = f"prediction-{len(parts)}"
        figures[uid] = scale(rows, "share of questions predicted right", lines)
        n = max(mark.value.n for row in rows for mark in row.marks)
        title = f"{'All groups' if group == ALL else group}, n = {count(n)} facts"
        parts.append((title, plot(uid, f"Accuracy of each rule, {group}; the table has the numbers")))
    said = (
        "Share of held-out questions whose right letter is predicted from neurons alone, those of one half of the "
        "group’s questions for the other half. The paper’s rule is not known; these are candidates. (a) The letter "
        "that the neurons’ value vectors write loudest; (b) the letter of the model with all other neurons at zero "
        "where it answers, (b2) at their mean; (c) the option with which, written after the prompt, the neurons are "
        "most active. Attention is left whole in (b) and (b2). Controls: the same rule with no neurons, with as many "
        "random ones of the same layers (three draws), and with another group’s; of equally loud letters one is "
        "drawn. Whiskers are 95% bootstrap intervals over facts, given these sets, drawn of the group’s own and in "
        "the table of all; beside all groups, points beyond random neurons and beyond another group’s. References: "
        "chance, dashed, and the full model, solid."
    )
    body = legend(_LEGEND) + panels(parts) + caption(said)
    head = ("group", "rule", "neurons", "predicted right", "own less these", "n")
    return Block(_heading(run), body + as_table(head, _table(run), 3), figures)


def _row(run: Run, rule: str, group: str) -> Row | None:
    """A rule with the group's own neurons and with all controls."""
    marks = []
    for pool in reversed(POOLS):
        found = accuracy(run, rule, group, pool)
        if found is not None:
            colour, symbol = _MARKS[pool]
            marks.append(Mark(f"{POOLS[pool]}: {portion(found)}", found, colour, symbol, pool == OWN))
    own = accuracy(run, rule, group)
    if own is None:
        return None
    beside = [gain(run, rule, against, group) for against in JUDGES]
    less = [points(one).partition("\u00a0")[0] for one in beside if one is not None]
    said = f"{portion(own)}" + (f", {' and '.join(less)} beyond controls" if less and group == ALL else "")
    return Row(RULES.get(rule, rule), marks, said)


def _table(run: Run) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for group in groups_of(run):
        chance, full = (accuracy(run, name, group) for name in (CHANCE, FULL))
        if chance is not None:
            rows.append((group, CHANCE, "", share(chance.mean), "", count(chance.n)))
        for rule in rules(run):
            for pool, name in POOLS.items():
                found, more = accuracy(run, rule, group, pool), gain(run, rule, pool, group)
                if found is not None:
                    beyond = points(more) if more is not None else ""
                    rows.append((group, RULES.get(rule, rule), name, portion(found), beyond, count(found.n)))
        if full is not None:
            rows.append((group, FULL, "", portion(full), "", count(full.n)))
    return rows


def _heading(run: Run) -> str:
    group = groups_of(run)[0]
    known = [(rule, found) for rule in rules(run) if (found := accuracy(run, rule, group)) is not None]
    if not known:
        return "Of all groups together, nothing was predicted"
    rule, best = max(known, key=lambda one: one[1].mean)
    who = "" if group == ALL else f" for {group}"
    beside = [
        f"{POOLS[pool]} {share(found.mean)}"
        for pool in POOLS
        if pool != OWN and (found := accuracy(run, rule, group, pool)) is not None
    ]
    return (
        f"The best rule, {RULES.get(rule, rule)}, is right in {share(best.mean)}{who} with the group’s own neurons"
        + (f" ({', '.join(beside)})" if beside else "")
    )
