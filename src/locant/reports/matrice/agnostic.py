"""Are there neurons that hold a fact in every language? What they do there, in all languages and in each."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from locant.reports.answers import PARTLY, UNMEASURED, YES, Answer, verdict
from locant.reports.blocks import Block, Section, absent, as_table, caption, legend, plot
from locant.reports.finding import SMALL
from locant.reports.matrice import agreement
from locant.reports.matrice.means import LEAST, beyond, gap_of, of_set, side, too_few
from locant.reports.matrice.names import LIKE_UNION, MATRICE, OTHERS, PEER, RANDOM, one_of
from locant.reports.matrice.run import Run
from locant.reports.numbers import change, count, points, relative
from locant.reports.rows import Dot, dots

QUESTION = "Are there language-agnostic neurons?"
ALL = "all languages"
HELD = "located without the language"
_MARKS = {
    "the fact": ("circle", "var(--located)"),
    "as many random ones": ("square", "var(--control)"),
    "located without the language": ("diamond", "var(--shared)"),
    "another fact of the relation": ("square", "var(--fourth)"),
    "unrelated facts": ("diamond", "var(--unrelated)"),
}


def answer(run: Run) -> Answer:
    """Whether neurons located in other languages move the answer of one that had no part in locating them.

    That comparison, against random neurons, is the verdict: yes where it is shown of all languages together and of
    at least half of them each on its own, and the effect is not small; partly where it is shown of all together only.
    What the set does in the languages that located it, and how many neurons pass in all of them, are said beside.
    """
    rows = held_out(run)
    held, random, gap = of_set(rows, HELD), of_set(rows, LIKE_UNION), beyond(rows, HELD, LIKE_UNION)
    if held is None or random is None or gap is None:
        return Answer(QUESTION, UNMEASURED, "No set was located without a language and suppressed in it.")
    text = (
        f"Suppressed, {run.size} located without a language change its P(answer) by {change(held)}, random ones by "
        f"{change(random)} ({gap_of(gap)})."
    )
    shown = [one for one, sign in _by_language(run, rows, HELD, LIKE_UNION).items() if sign < 0]
    short, small = verdict([-side(gap)], too_few(gap)), abs(held.mean) < SMALL and side(gap) < 0
    if small or (short == YES and 2 * len(shown) < len(run.languages)):
        short = PARTLY
    text += " The effect is small." if small else ""
    text += _each_on_its_own(run, shown)
    return Answer(QUESTION, short, text + _inside(run) + agreement.in_words(run))


def _each_on_its_own(run: Run, shown: list[str]) -> str:
    """In how many languages the drop is shown, and in which, where these are some of a few."""
    named = f" ({one_of(shown)})" if 0 < len(shown) < len(run.languages) <= 9 else ""
    number = f"{len(shown)} of {len(run.languages)} languages{named}"
    return f" A drop beyond random ones’ is shown on its own, with {LEAST} facts or more, in {number}."


def held_out(run: Run) -> pl.DataFrame:
    """Changes without the neurons of all languages but the one that is read; and without random ones."""
    rows = run.suppressed()
    without = pl.col("set") == pl.lit(OTHERS) + pl.col("language")
    return pl.concat([rows.filter(without).with_columns(set=pl.lit(HELD)), rows.filter(pl.col("set") == LIKE_UNION)])


def _inside(run: Run) -> str:
    """What the set does in the languages that located it, and what another fact's does."""
    rows, spared = run.suppressed(), of_set(run.suppressed("unrelated"), MATRICE)
    own, gap = of_set(rows, MATRICE), beyond(rows, MATRICE, RANDOM)
    if own is None or gap is None:
        return ""
    text = f" Located for all, they change P(answer) by {change(own)} (to random neurons: {gap_of(gap)})"
    text += f", unrelated facts by {change(spared)}." if spared is not None else "."
    peer, apart = of_set(rows, PEER), beyond(rows, MATRICE, PEER)
    if peer is not None and apart is not None:
        text += f" Those of another fact of the relation: {change(peer)} ({gap_of(apart)})."
    return text + _where(_by_language(run, rows, MATRICE, RANDOM))


def _by_language(run: Run, rows: pl.DataFrame, first: str, second: str) -> dict[str, int]:
    """The side of zero on which the difference of two sets lies, in each language of enough facts."""
    gaps = {one: beyond(rows.filter(pl.col("language") == one), first, second) for one in run.languages}
    return {one: side(gap) for one, gap in gaps.items() if gap is not None and gap.n >= LEAST}


def _where(by_language: dict[str, int]) -> str:
    if not by_language:
        return f" No single language has the {LEAST} facts that it takes to judge."
    moved = [language for language, sign in by_language.items() if sign < 0]
    number = f"{len(moved)} of {len(by_language)} languages"
    if 0 < len(moved) < len(by_language) <= 9:
        number += f" ({one_of(moved)})"
    return f" The drop is more than random ones’ in {number}, each by its own interval."


def sections(run: Run) -> Iterator[Section]:
    """What suppressing the set does, by language; and how many neurons pass in so many languages."""
    if of_set(run.suppressed(), MATRICE) is None:
        why = "The table of suppressed neurons has no rows of the language-agnostic set."
        yield Section("agnostic", "Language-agnostic", {None: absent("No set of neurons was suppressed", why)})
    else:
        yield Section("agnostic", "Language-agnostic", {None: _effects(run)})
    yield from agreement.sections(run)


def _effects(run: Run) -> Block:
    related, unrelated, held = run.suppressed(), run.suppressed("unrelated"), held_out(run)
    marks, table = [], []
    for language in (ALL, *run.languages):
        parts = [rows if language == ALL else rows.filter(pl.col("language") == language)
                 for rows in (related, unrelated, held)]  # fmt: skip
        found = [of_set(parts[0], MATRICE), of_set(parts[0], RANDOM), of_set(parts[2], HELD), of_set(parts[0], PEER),
                 of_set(parts[1], MATRICE)]  # fmt: skip
        marks += [
            Dot(language, name, one, mark)
            for (name, mark), one in zip(_MARKS.items(), found, strict=True)
            if one is not None
        ]
        if found[0] is not None:
            gap = beyond(parts[0], MATRICE, RANDOM)
            cells = [change(one) if one else "none" for one in found]
            table.append((language, *cells, points(gap) if gap else "none", count(found[0].n)))
    said = (
        f"Relative change of P(answer), (after − before) / before, when {run.size} located for all languages at once "
        "are set to zero where the answer is predicted; judged by queries that located nothing, in the languages "
        "that the fact is known in. Means over facts that have such a set, a fact’s queries in a language averaged "
        "first; whiskers are 95% bootstrap intervals over facts. Located without the language: by all the others "
        "that know the fact, and read in this one. Controls: as many random neurons of the same layers; the set of "
        "another fact of the relation; and the same neurons for facts of other relations that are answered right. "
        "The last column but one is the paired difference of the set and random neurons."
    )
    head = (
        "language",
        "the fact",
        "random",
        "without the language",
        "another fact’s",
        "unrelated",
        "fact − random",
        "n",
    )
    kinds = [("dot", "the fact"), ("square", "random neurons"),
             ("diamond held", "located without the language"), ("square peer", "another fact’s set"),
             ("diamond", "unrelated facts")]  # fmt: skip
    body = legend(kinds) + plot("agnostic-dots", "Relative change of P(answer) by language")
    figure = dots(marks, "relative change of P(answer)", change, (-0.25, 0.03))
    return Block(_heading(run), body + caption(said) + as_table(head, table), {"agnostic-dots": figure})


def _heading(run: Run) -> str:
    rows = run.suppressed()
    own, gap = of_set(rows, MATRICE), beyond(rows, MATRICE, RANDOM)
    assert own is not None
    said = f"Neurons located for all languages at once change P(answer) by {relative(own.mean)}"
    if gap is None or side(gap) == 0:
        return f"{said}; that random ones do less is not shown"
    by_language = _by_language(run, rows, MATRICE, RANDOM)
    where = f" in {sum(sign < 0 for sign in by_language.values())} of {len(by_language)} languages"
    return f"{said}, {'more' if side(gap) < 0 else 'less'} than random ones{where if by_language else ''}"
