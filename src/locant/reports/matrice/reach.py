"""How far something made in one language reaches: what edits and lessons have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
import polars as pl

from locant.reports.answers import UNMEASURED, Answer
from locant.reports.blocks import legend, panels, plot
from locant.reports.matrice.means import gap_of, reaches, side
from locant.reports.matrice.names import (
    ALL_NEURONS,
    IN_TURN,
    LIKE_UNION,
    LORA,
    MATRICE,
    OWN_HERE,
    PEER,
    RANDOM,
    control_of,
    kind_of,
    name_of,
)
from locant.reports.matrice.run import Run
from locant.reports.means import difference, mean
from locant.reports.numbers import count, portion, share
from locant.reports.rows import Dot, dots
from locant.reports.text import upper
from locant.types import Interval

AGNOSTIC_IN_TURN = "language-agnostic, in turn"
SETS = (MATRICE, OWN_HERE, "intersection", PEER, ALL_NEURONS, LORA, AGNOSTIC_IN_TURN, IN_TURN, RANDOM, LIKE_UNION)
HERE, KNOWN, UNKNOWN = "the same", "others, known", "others, not known"
"""Where a change is read: in its language; in others that knew the fact before; in those that did not."""
_OTHERS = {KNOWN: "other languages that know it", UNKNOWN: "other languages that lack it"}
_HERE_MARK, _THERE_MARK = ("circle", "var(--located)"), ("diamond", "var(--unrelated)")
_SPARED = {
    "neighbour": ("other facts of the relation", ("circle", "var(--shared)")),
    "unrelated": ("facts of other relations", ("diamond", "var(--fourth)")),
}


@dataclass(frozen=True)
class Read:
    """What was read after changes, a row for each query, with where it was read; sets in the page's names.

    Attributes:
        made: what was done, for sentences: 'edited' or 'taught'.
        elsewhere: the other languages that can be reached: such as know the fact that is changed, or such as lack
            the fact that is taught as it is. A fact cannot come to where it is already.
    """

    rows: pl.DataFrame
    made: str
    elsewhere: str

    @property
    def others(self) -> str:
        """Those languages, in words."""
        return _OTHERS[self.elsewhere]

    @property
    def sets(self) -> list[str]:
        """Those that have rows, in the page's order."""
        known = set(self.rows["set"])
        return [name for name in SETS if name in known]

    def new(self, which: str, where: str, alike: bool | None = None, column: str = "says_new") -> Interval | None:
        """The share of queries whose first choice is the new answer."""
        rows = self.related(which).filter(pl.col("where") == where)
        return mean(rows if alike is None else rows.filter(pl.col("same_answer") == alike), column)

    def kept(self, which: str, asked: str) -> Interval | None:
        """The share of other facts' queries, in all languages, whose first token stays."""
        return mean(self.rows.filter((pl.col("set") == which) & (pl.col("asked") == asked)), "kept")

    def related(self, which: str) -> pl.DataFrame:
        return self.rows.filter((pl.col("set") == which) & (pl.col("asked") == "related"))

    def beyond_random(self, which: str) -> Interval | None:
        """How much more often the new answer is said than after the same change of random neurons of its layers."""
        rows = self.rows.filter((pl.col("asked") == "related") & (pl.col("where") == self.elsewhere))
        return difference(rows, "says_new", "set", which, control_of(which), pairs=("fact", "source", "language"))

    def lost_on_the_way(self, which: str) -> Interval | None:
        """How much more often it is said in the language of the change than in the others."""
        return difference(self.related(which), "says_new", "where", HERE, self.elsewhere, pairs=("fact", "source"))


def read(run: Run, table: str, made: str, kind: str | None = None) -> Read:
    """A table of changes as this page reads it: changes of every known language in turn are in none of the others.

    Args:
        kind: of lessons, 'overwrite' or 'new'.
    """
    real = [pl.col(name).cast(pl.Float64) for name in ("says_new", "says_new_before", "kept")]
    in_turn = (pl.col("source") == "all") & (pl.col("set") == MATRICE)
    rows = run[table] if kind is None else run[table].filter(pl.col("kind") == kind)
    here = pl.col("source") == pl.col("language")
    in_all = (pl.col("source") == "all") & pl.col("known")
    rows = rows.with_columns(*real).with_columns(
        where=pl.when(here | in_all)
        .then(pl.lit(HERE))
        .when(pl.col("known"))
        .then(pl.lit(KNOWN))
        .otherwise(pl.lit(UNKNOWN)),
        set=pl.when(in_turn)
        .then(pl.lit(AGNOSTIC_IN_TURN))
        .otherwise(pl.col("set").map_elements(kind_of, return_dtype=pl.String)),
    )
    return Read(rows, made, UNKNOWN if kind == "new" else KNOWN)


def reach_answer(found: Read, question: str) -> Answer:
    """Whether a change of the language-agnostic set reaches other languages; and what others do."""
    here, there = (found.new(MATRICE, where) for where in (HERE, found.elsewhere))
    gap, lost = found.beyond_random(MATRICE), found.lost_on_the_way(MATRICE)
    if here is None or there is None or gap is None:
        return Answer(question, UNMEASURED, f"No fact was {found.made} in one language and read in others.")
    text = (
        f"{upper(found.made)} in one language, the language-agnostic set says the new answer in {portion(here)} of "
        f"queries there and in {portion(there)} of those in {found.others} (to random neurons: {gap_of(gap)})."
    )
    text += _by_string(found) + _own(found) + _spared(found)
    return Answer(question, reaches(side(gap), side(lost)), text)


def _by_string(found: Read) -> str:
    same, unlike = (found.new(MATRICE, found.elsewhere, alike) for alike in (True, False))
    if same is None or unlike is None:
        return ""
    return f" Elsewhere it is {portion(same)} where the answer is one string in both, otherwise {portion(unlike)}."


def _own(found: Read) -> str:
    """What the language's own neurons reach, there and elsewhere."""
    here, there = (found.new(OWN_HERE, where) for where in (HERE, found.elsewhere))
    if here is None or there is None:
        return ""
    return f" The language’s own neurons: {share(here.mean)} there, {share(there.mean)} elsewhere."


def _spared(found: Read) -> str:
    parts = [
        f"{share(kept.mean)} of {_SPARED[asked][0]}"
        for asked in _SPARED
        if (kept := found.kept(MATRICE, asked)) is not None
    ]
    return f" Kept: {' and '.join(parts)}." if parts else ""


def reach_heading(found: Read) -> str:
    """How far the language-agnostic set reaches, and how far a language's own."""
    parts = []
    for name in (MATRICE, OWN_HERE):
        here, there = (found.new(name, where) for where in (HERE, found.elsewhere))
        if here is not None and there is not None:
            parts.append(f"{share(there.mean)} ({share(here.mean)} there) by {_by(name)}")
    said = "; in ".join(parts) or "no query that was read"
    return f"{upper(found.made)} in one language, the new answer is said in {found.others} in {said}"


def _by(name: str) -> str:
    return "the language-agnostic set" if name == MATRICE else name_of(name)


def reach_panels(found: Read, uid: str, names: dict[str, str]) -> tuple[str, dict[str, go.Figure]]:
    """What is said anew, and what is kept, set by set: HTML and figures.

    Args:
        names: of sets, with what belongs to their rows.
    """
    where_marks = {
        HERE: ("in the language of the change", _HERE_MARK),
        found.elsewhere: (f"in {found.others}", _THERE_MARK),
    }
    said, kept = [], []
    for name in found.sets:
        for where, (label, mark) in where_marks.items():
            one = found.new(name, where)
            said += [Dot(names[name], label, one, mark)] if one is not None else []
        for asked, (label, mark) in _SPARED.items():
            one = found.kept(name, asked)
            kept += [Dot(names[name], label, one, mark)] if one is not None else []
    figures = {
        f"{uid}-new": dots(said, "queries that say the new answer", portion, (0.0, 1.0)),
        f"{uid}-kept": dots(kept, "queries whose first token stays", portion, (0.0, 1.0)),
    }
    marks = [("dot", where_marks[HERE][0]), ("diamond", where_marks[found.elsewhere][0])]
    others = [("dot kept", _SPARED["neighbour"][0]), ("diamond unrelated", _SPARED["unrelated"][0])]
    parts = [
        ("The new answer is said", legend(marks) + plot(f"{uid}-new", "Shares that say the new answer, by set")),
        ("Other facts are kept", legend(others) + plot(f"{uid}-kept", "Shares of other facts kept, by set")),
    ]
    return panels(parts), figures


def reach_head(found: Read) -> Sequence[str]:
    """The columns of `reach_table`."""
    rest = _OTHERS[_rest(found)]
    there = f"in {found.others}"
    return ("neurons", "new answer, same language", there, "there, same string", "there, two strings",
            "there, before", f"in {rest}", "neighbours kept", "unrelated kept", "n")  # fmt: skip


def _rest(found: Read) -> str:
    return KNOWN if found.elsewhere == UNKNOWN else UNKNOWN


def reach_table(found: Read) -> Iterator[Sequence[str]]:
    """The numbers of `reach_panels`, and those by string of the answer."""
    there = found.elsewhere
    for name in found.sets:
        cells = [
            found.new(name, HERE), found.new(name, there), found.new(name, there, True),
            found.new(name, there, False), found.new(name, there, column="says_new_before"),
            found.new(name, _rest(found)),
            found.kept(name, "neighbour"), found.kept(name, "unrelated"),
        ]  # fmt: skip
        facts = found.related(name)["fact"].n_unique()
        yield (name_of(name), *(portion(one) if one is not None else "–" for one in cells), count(facts))
