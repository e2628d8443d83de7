"""What the run says, question by question; no answer says more than its controls allow."""

from __future__ import annotations

import math

import polars as pl

from locant.reports.answers import NO, UNMEASURED, UNSHOWN, YES, Answer, verdict
from locant.reports.means import LEAST, apart, doubt, mean, side, too_few, values
from locant.reports.numbers import change, count, decimal, p_value, points, portion, relative, share
from locant.reports.query_localization import editing, mapping, synapses
from locant.reports.query_localization.blocks import DOING, KINDS, name_of
from locant.reports.query_localization.means import inconsistent
from locant.reports.query_localization.run import Run
from locant.types import Interval


def answers(run: Run) -> list[Answer]:
    """All of them, in the order of the page."""
    return [_how_many(run), _beyond_the_relation(run), _own_neurons(run), _synapses(run), _editing(run)]


def headline(run: Run) -> str:
    """The title, with no threshold in it: how much two wordings of a fact have in common, and two facts."""
    localizer = run.localizers[0] if run.localizers else ""
    wordings, chance = mean(run.scores(localizer), "jaccard"), run.null(localizer, measure="jaccard")
    if wordings is None:
        return "No fact could be scored for consistency"
    said = f"Two wordings of a fact share {share(wordings.mean)} of their neurons"
    return f"{said}; of two facts, {share(chance['expected'])}" if chance else said


def _how_many(run: Run) -> Answer:
    question = "How many facts are inconsistent?"
    localizer = run.localizers[0] if run.localizers else ""
    rows = run.scores(localizer)
    found = inconsistent(rows)
    if found is None:
        return Answer(question, UNMEASURED, "The table of consistency has no rows that say of which kind a fact is.")
    scored = count(found.n)
    below = f"have a CS2 below {run.static:g}" if math.isfinite(run.static) else "have a CS2 below the threshold"
    text = f"{portion(found)} of {scored} facts {below}, located by {name_of(localizer)}"
    text += ", at equal numbers of queries and of neurons" if run.matched else ""
    border, other = run.otsu(localizer), inconsistent(rows, "otsu")
    if math.isfinite(border) and other is not None:
        text += f"; Otsu’s threshold, {border:.2f}, makes it {portion(other)}"
    every = _under_every(run)
    if every is not None:
        text += f"; {portion(every)} are so under every one of {len(run.localizers)} localizers"
    return Answer(question, share(found.mean), f"{text}.")


def _under_every(run: Run) -> Interval | None:
    if len(run.localizers) < 2:
        return None
    kinds = pl.concat([run.scores(name).select("fact", "kind_static") for name in run.localizers]).drop_nulls()
    by_fact = kinds.group_by("fact", maintain_order=True).agg(
        (pl.col("kind_static") == "inconsistent").all().cast(pl.Float64).alias("every"), pl.len().alias("localizers")
    )
    return mean(by_fact.filter(pl.col("localizers") == len(run.localizers)), "every")


def _beyond_the_relation(run: Run) -> Answer:
    question = "Do a fact’s wordings agree more than its relation explains?"
    localizer = run.localizers[0] if run.localizers else ""
    null = run.null(localizer)
    if null is None:
        return Answer(question, UNMEASURED, "No null of shuffled facts was drawn." + _noise(run, localizer))
    numbers = f"mean CS2 {null['observed']:.2f} against {null['expected']:.2f}, {p_value(null['p'])}"
    if null["p"] <= 0.05:
        text = f"Wordings of one fact share more neurons than those of different facts of its relation: {numbers}."
        return Answer(question, YES, text + _noise(run, localizer))
    text = (
        f"Wordings of one fact share no more neurons than those of different facts of its relation ({numbers}): the "
        "null explains their agreement, and no fact shows neurons of its own."
    )
    return Answer(question, NO, text + _noise(run, localizer))


def _noise(run: Run, localizer: str) -> str:
    """Whether the localizer's own noise could be what looks like inconsistency."""
    rows = run.of("noise", localizer=localizer).sort("jaccard")
    wordings = mean(run.scores(localizer), "jaccard")
    if rows.is_empty() or wordings is None:
        return " How far the localizer agrees with itself was not measured."
    what, *numbers = rows.drop("localizer").row(0)
    itself = Interval(*numbers)
    pair = f"Jaccard {decimal(itself)}, two wordings {decimal(wordings)}"
    if itself.low > wordings.high and apart(itself, wordings):
        return f" The localizer’s own noise does not explain their disagreement: {what}, agree at {pair}."
    return f" The localizer’s own noise may explain their disagreement: {what}, agree at {pair}."


def _own_neurons(run: Run) -> Answer:
    question = "Do a query’s own neurons move its answer more than its neighbours’?"
    localizer = next((name for name in run.localizers if len(mapping.touched(run, name))), None)
    said = {kind: mapping.in_words(run, localizer, kind) for kind in reversed(KINDS)} if localizer else {}
    known = {kind: words for kind, words in said.items() if words}
    if localizer is None or not known:
        return Answer(question, UNMEASURED, "Own and neighbours’ neurons were not suppressed in the same queries.")
    gaps = {kind: mapping.own_beyond(run, localizer, kind) for kind in KINDS}
    signs = [side(gaps[kind]) for kind in known]
    short = verdict([-sign for sign in signs])
    text = "; ".join(known.values())
    text = f"{text[0].upper()}{text[1:]}."
    wider = mapping.gap_wider(gaps)
    if len(known) == len(KINDS):
        text += (
            f" The difference is larger in {wider} facts."
            if wider
            else " Between the kinds, the two intervals overlap: that kinds differ is not shown."
        )
    else:
        text += f" There are no {next(kind for kind in KINDS if kind not in known)} facts to compare with."
    chance = _no_more_than_random(run, localizer, list(known))
    if chance:
        short, text = (UNSHOWN if short == YES else short), f"{text} {chance}"
    return Answer(question, short, text)


def _no_more_than_random(run: Run, localizer: str, kinds: list[str]) -> str:
    gaps = {kind: mapping.own_beyond(run, localizer, kind, "random like own") for kind in kinds}
    alike = [kind for kind, gap in gaps.items() if gap is not None and gap.n >= LEAST and side(gap) >= 0]
    if not alike:
        return ""
    return f"That they do more than as many random neurons is not shown in {' and '.join(alike)} facts."


def _synapses(run: Run) -> Answer:
    question = "Do a query’s synapses move its neurons?"
    if run["synapses"].is_empty():
        return Answer(question, UNMEASURED, "No attention column was suppressed.")
    how = synapses.weighing(run)
    rows = synapses.suppressed(run, how)
    sides = {name: rows.filter(pl.col("columns") == name) for name in synapses.COLUMNS}
    own, other = (mean(one, synapses.NEURONS) for one in sides.values())
    gap = synapses.own_beyond(run, synapses.NEURONS, how)
    if own is None or other is None or gap is None:
        return Answer(question, UNMEASURED, "Own and irrelevant columns were not suppressed in the same queries.")
    text = (
        f"Without them, the mean activation of its neurons changes by {change(own)}, without as many irrelevant "
        f"columns by {change(other)}: a difference of {points(gap)}{doubt(gap)}."
    )
    answers_ = [mean(one, synapses.ANSWER) for one in sides.values()]
    if answers_[0] is not None and answers_[1] is not None:
        text += f" P(answer) changes by {relative(answers_[0].mean)} and {relative(answers_[1].mean)}."
    bare = "without the first token"
    if how != bare and bare in values(run["synapses"], "weighing"):
        holds = side(synapses.own_beyond(run, synapses.NEURONS, bare)) == side(gap)
        text += f" Leaving out the first token, which draws attention whatever it says, {_holds(holds)}."
    return Answer(question, verdict([-side(gap)], too_few([gap])), text)


def _holds(holds: bool) -> str:
    return "this stays so" if holds else "this does not stay so"


def _editing(run: Run) -> Answer:
    question = "Does the consistency-aware set edit better at equal size?"
    localizer = next((name for name in run.localizers if len(run.of("edits", localizer=name))), None)
    operations = values(run.of("edits", localizer=localizer), "operation") if localizer else []
    found = [(operation, editing.compared(run, localizer, operation)) for operation in operations if localizer]
    known = [(operation, parts) for operation, parts in found if parts]
    if not known:
        return Answer(question, UNMEASURED, "No two sets of equal size were edited in the same facts.")
    said = [_against(operation, parts) for operation, parts in known]
    return Answer(question, verdict([better for _, parts in known for better, _, _ in parts]), " ".join(said))


def _against(operation: str, parts: list[tuple[int, str, str]]) -> str:
    """An operation's comparisons, those with one set together."""
    groups = {over: [how for _, other, how in parts if other == over] for _, over, _ in parts}
    said = [f"against {editing.NAMES[over]}, {', and '.join(ways)}" for over, ways in groups.items()]
    return f"{DOING.get(operation, operation).capitalize()}, {'; '.join(said)}."
