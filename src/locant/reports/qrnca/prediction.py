"""Do a group's neurons alone say which answer is right?"""

from __future__ import annotations

from collections.abc import Iterator

import plotly.graph_objects as go

from locant.reports.blocks import Block, Section, absent, as_table, caption, panels, plot
from locant.reports.means import LEAST, values
from locant.reports.numbers import count, portion, share
from locant.reports.qrnca.figures import Mark, Row, scale
from locant.reports.qrnca.names import ALL, CHANCE, FULL, RULES
from locant.reports.qrnca.run import Run, in_order, spread
from locant.types import Interval


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


def accuracy(run: Run, rule: str, group: str = ALL) -> Interval | None:
    """How often a rule is right; None if it was not tried."""
    rows = run.of("prediction", rule=rule, group=group)
    return spread(rows.row(0, named=True), "accuracy") if len(rows) else None


def groups_of(run: Run) -> list[str]:
    """Of the predictions: all together first, if that was counted."""
    return in_order(values(run["prediction"], "group"), (ALL, *run.groups))


def beyond_chance(run: Run, rule: str, group: str) -> int | None:
    """1 if a rule is surely right more often than chance, -1 if less; None if not both are known."""
    found, chance = accuracy(run, rule, group), accuracy(run, CHANCE, group)
    if found is None or chance is None:
        return None
    return 0 if found.n < LEAST else int(found.low > chance.mean) - int(found.high < chance.mean)


def _block(run: Run) -> Block:
    figures: dict[str, go.Figure] = {}
    parts: list[tuple[str, str]] = []
    table: list[tuple[str, ...]] = []
    for group in groups_of(run):
        rows = []
        for rule in rules(run):
            found = accuracy(run, rule, group)
            if found is not None:
                above = beyond_chance(run, rule, group)
                colour = "var(--located)" if above == 1 else "var(--control)"
                rows.append(Row(RULES.get(rule, rule), [Mark(portion(found), found, colour)], portion(found)))
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
        title = f"{'All groups' if group == ALL else group}, n = {count(n)} questions"
        parts.append((title, plot(uid, f"Accuracy of each rule, {group}; the table has the numbers")))
    for group in groups_of(run):
        for rule in (CHANCE, *rules(run), FULL):
            found = accuracy(run, rule, group)
            if found is not None:
                shown = portion(found) if rule != CHANCE else share(found.mean)
                table.append((group, RULES.get(rule, rule), shown, count(found.n)))
    said = (
        "Share of held-out questions whose right letter is predicted from the neurons of their group’s other "
        "questions alone. The paper’s rule is not known; these are candidates. (a) The letter that the neurons’ "
        "value vectors write loudest; (b) the letter of the model with all other neurons at zero where it answers, "
        "(b2) at their mean; (c) the option with which, written after the prompt, the neurons are most active. "
        "Whiskers are 95% bootstrap intervals over questions; orange is above chance. References: chance, dashed, "
        "and the full model, solid."
    )
    head = ("group", "rule", "predicted right", "n")
    return Block(_heading(run), panels(parts) + caption(said) + as_table(head, table, 2), figures)


def _heading(run: Run) -> str:
    group = groups_of(run)[0]
    known = [(rule, found) for rule in rules(run) if (found := accuracy(run, rule, group)) is not None]
    if not known:
        return "Of all groups together, nothing was predicted"
    rule, best = max(known, key=lambda one: one[1].mean)
    who = "" if group == ALL else f" for {group}"
    references = [
        f"{name} {share(found.mean)}" for name in (CHANCE, FULL) if (found := accuracy(run, name, group)) is not None
    ]
    beside = f" ({', '.join(references)})" if references else ""
    return f"The best rule, {RULES.get(rule, rule)}, is right in {share(best.mean)}{who}{beside}"
