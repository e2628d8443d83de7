"""Where each fact is, by language: shared, the language's own, unclear or absent; and where it was taught."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from locant.reports.answers import NO, UNMEASURED, UNSHOWN, YES, Answer
from locant.reports.blocks import Block, Section, absent, as_table, caption, legend, plot
from locant.reports.matrice.figures import stacks
from locant.reports.matrice.run import Run
from locant.reports.means import apart
from locant.reports.numbers import count, portion, share
from locant.reports.query_localization.means import mean
from locant.types import Interval

TAUGHT = "Are languages told apart in which a fact was taught?"
VERDICTS = {
    "shared": ("var(--shared)", "var(--paper)"),
    "specific": ("var(--located)", "var(--paper)"),
    "unclear": ("var(--control-2)", "var(--ink)"),
    "absent": ("var(--rule)", "var(--ink)"),
}
_SAID = {"shared": "shared", "specific": "the language’s own", "unclear": "unclear", "absent": "absent"}
_HEAD = ("of", *_SAID.values(), "n")


def answer(run: Run) -> Answer:
    """Whether a fact is found absent where it was not taught, and not where it was."""
    taught, untaught = absent_where(run, True), absent_where(run, False)
    if taught is None and untaught is None:
        return Answer(TAUGHT, UNMEASURED, "In which languages a fact was taught is not known of these data.")
    if taught is None or untaught is None:
        lacking = "taught" if taught is None else "not taught"
        return Answer(TAUGHT, UNMEASURED, f"There is no language in which a fact was {lacking}.")
    text = (
        f"A fact is found absent in {portion(untaught)} of the languages in which it was not taught, and in "
        f"{portion(taught)} of those in which it was (n = {count(untaught.n)} and {count(taught.n)} facts)."
    )
    known = run["sharing"].filter(pl.col("taught") & (pl.col("verdict") != "absent"))
    shared = mean(known.with_columns((pl.col("verdict") == "shared").cast(pl.Float64).alias("shared")), "shared")
    if shared is not None:
        text += f" Of those taught and known, {portion(shared)} are shared with the other languages’ neurons."
    if not apart(taught, untaught):
        return Answer(TAUGHT, UNSHOWN, text)
    return Answer(TAUGHT, YES if untaught.mean > taught.mean else NO, text)


def absent_where(run: Run, taught: bool) -> Interval | None:
    """The share of a fact's languages in which it is absent, of those in which it was taught, or was not."""
    rows = run["sharing"].filter(pl.col("taught") == taught)
    return mean(rows.with_columns((pl.col("verdict") == "absent").cast(pl.Float64).alias("absent")), "absent")


def among_known(run: Run) -> dict[str, int]:
    """How many (fact, language) have each verdict, of facts known in several languages; and how many are known."""
    rows = judged(run).filter(pl.col("verdict") != "absent")
    if rows.is_empty():
        return {}
    return {name: int((rows["verdict"] == name).sum()) for name in VERDICTS} | {"known": len(rows)}


def judged(run: Run) -> pl.DataFrame:
    """Verdicts on facts that are known in two languages or more; of the others nothing was suppressed."""
    several = pl.col("known").fill_null(False).sum().over("fact") > 1
    return run["sharing"].filter(several & pl.col("verdict").is_not_null())


def sections(run: Run) -> Iterator[Section]:
    """The verdicts against where a fact was taught, where that is known."""
    if run["sharing"]["taught"].is_null().all():
        why = "In which languages a fact was taught is known of made-up facts, and of models trained for it."
        yield Section("taught", "Taught", {None: absent("Where a fact was taught is not known of these data", why)})
    else:
        yield Section("taught", "Taught", {None: _taught(run)})


def verdict_block(run: Run) -> Block:
    """Verdicts by language, of facts known in two languages or more."""
    rows = judged(run)
    parts = [(one, rows.filter(pl.col("language") == one)) for one in run.languages]
    known = [(f"{name} · {len(own)}", own) for name, own in parts if len(own)]
    if len(known) > 1:
        known.insert(0, (f"all · {len(rows)}", rows))
    counts = among_known(run)
    said = (
        "Of every fact known in two languages or more, in each language. Absent: most locating queries are answered "
        "wrong. Otherwise the language’s own neurons are suppressed, and as many that all its other languages agree "
        "on: shared if the others’ take at least half of what its own take from the answer, its own if less; unclear "
        "where its own take less than 10%. n is beside the language; intervals over facts are in the table. Where "
        "own neurons do little nothing can be said, which is the control of this verdict."
    )
    heading = "No fact is known in two languages: none can be shared"
    if counts:
        parted = ", ".join(f"{count(counts[name])} {_SAID[name]}" for name in ("shared", "specific", "unclear"))
        heading = f"Of {count(counts['known'])} pairs of a fact and a language that knows it: {parted}"
    body = _legend() + plot("verdict-stacks", "Stacked bars of verdicts by language") + caption(said)
    body += as_table(_HEAD, [(name, *_portions(own), count(own["fact"].n_unique())) for name, own in known])
    figure = stacks([(name, _shares(own)) for name, own in known], VERDICTS)
    return Block(heading, body, {"verdict-stacks": figure})


def _taught(run: Run) -> Block:
    rows = run["sharing"].filter(pl.col("verdict").is_not_null())
    parts = [
        (f"{'taught' if taught else 'not taught'} · {len(own)}", own)
        for taught in (True, False)
        if len(own := rows.filter(pl.col("taught") == taught))
    ]
    said = (
        "Every fact in every language, by whether the fact was taught in that language (n: facts and languages). "
        "Verdicts as above; a fact known in one language only counts as that language’s own. Intervals over facts "
        "are in the table. Control: each row is the other’s."
    )
    found = {taught: absent_where(run, taught) for taught in (False, True)}
    heading = "Where a fact was taught is known in part"
    untaught, told = found[False], found[True]
    if untaught is not None and told is not None:
        heading = (
            f"Facts are found absent in {share(untaught.mean)} of languages they were not taught in, and in "
            f"{share(told.mean)} of those they were taught in"
        )
    body = _legend() + plot("taught-stacks", "Stacked bars of verdicts by teaching") + caption(said)
    body += as_table(_HEAD, [(name, *_portions(own), count(own["fact"].n_unique())) for name, own in parts])
    figure = stacks([(name, _shares(own)) for name, own in parts], VERDICTS)
    return Block(heading, body, {"taught-stacks": figure})


def _legend() -> str:
    return legend((f"square {name}", _SAID[name]) for name in VERDICTS)


def _shares(rows: pl.DataFrame) -> dict[str, float]:
    return {name: float((rows["verdict"] == name).sum()) / len(rows) for name in VERDICTS}


def _portions(rows: pl.DataFrame) -> Iterator[str]:
    for name in VERDICTS:
        held = rows.with_columns((pl.col("verdict") == name).cast(pl.Float64).alias("held"))
        found = mean(held, "held")
        yield portion(found) if found is not None else "none"
