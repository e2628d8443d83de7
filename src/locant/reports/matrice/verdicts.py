"""Where each fact is, by language: shared, the language's own, unclear or absent; and where it was taught."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from locant.reports.answers import NO, UNMEASURED, UNSHOWN, YES, Answer
from locant.reports.blocks import Block, Section, absent, as_table, caption, grid, legend, plot, some
from locant.reports.matrice.means import apart
from locant.reports.matrice.run import Run
from locant.reports.means import mean
from locant.reports.numbers import count, portion, share
from locant.reports.rows import Dot, dots, stacks
from locant.reports.text import upper
from locant.types import Interval

TAUGHT = "Is a fact that was taught in all languages shared more?"
EVERYWHERE, SOMEWHERE = "taught everywhere", "taught somewhere"
THERE, NEVER, KNOWN = "taught there", "never taught there", "known of those "
"""Pairs of a fact and a language that was taught it, or never was; with the last before them, whether it is known."""
ASKED, CHANCE = "asked of another fact", "by another fact's neurons"
"""Pairs in which another fact's neurons were read too: as they are, and by those."""
_PAIRS = {ASKED: "where another fact was read too", CHANCE: "by that fact’s neurons"}
VERDICTS = {
    "shared": ("var(--shared)", "var(--paper)"),
    "specific": ("var(--located)", "var(--paper)"),
    "unclear": ("var(--control-2)", "var(--ink)"),
    "alone": ("var(--fourth)", "var(--paper)"),
    "absent": ("var(--rule)", "var(--ink)"),
}
_SAID = {
    "shared": "shared",
    "specific": "the language’s own",
    "unclear": "unclear",
    "alone": "known in no other",
    "absent": "absent",
}
_HEAD = ("of", *_SAID.values(), "n")


def answer(run: Run) -> Answer:
    """Whether facts taught everywhere are shared between more of the languages that know them than others are."""
    if run["sharing"]["taught"].is_null().all():
        return Answer(TAUGHT, UNMEASURED, "In which languages a fact was taught is not known of these data.")
    found = shares(run)
    everywhere, somewhere = (found.get(of) for of in (EVERYWHERE, SOMEWHERE))
    if everywhere is None or somewhere is None:
        lacking = EVERYWHERE if everywhere is None else SOMEWHERE
        return Answer(TAUGHT, UNMEASURED, f"No fact {lacking} has a verdict.{_strays(run)}")
    text = (
        f"Of the pairs of a fact and a language with a verdict, {portion(everywhere)} are shared where the fact was "
        f"{EVERYWHERE}, {portion(somewhere)} where it was {SOMEWHERE} (n = {count(everywhere.n)} and "
        f"{count(somewhere.n)} facts).{_strays(run)}"
    )
    if not apart(everywhere, somewhere):
        return Answer(TAUGHT, UNSHOWN, text)
    return Answer(TAUGHT, YES if everywhere.mean > somewhere.mean else NO, text)


def shares(run: Run) -> dict[str, Interval]:
    """The share of pairs that are shared (or known), by what they are of, as the run's own table has it."""
    rows = run["verdicts"].filter(pl.col("mean").is_finite()).iter_rows(named=True)
    return {row["of"]: Interval(row["mean"], row["low"], row["high"], row["n"]) for row in rows}


def _strays(run: Run) -> str:
    """How often a language knows what it was not taught, and which ones do: a count, since models are made so."""
    rows = run["sharing"].filter(pl.col("taught").is_not_null())
    untaught, taught = (rows.filter(pl.col("taught") == value) for value in (False, True))
    known = untaught.filter(pl.col("known"))
    text = f" Known are {count(int(taught['known'].sum()))} of {count(len(taught))} pairs that were taught, and "
    text += f"{count(len(known))} of {count(len(untaught))} that were not"
    by_language = known.group_by("language", maintain_order=True).len().iter_rows()
    named = ", ".join(f"{language} {number}" for language, number in by_language)
    return f"{text} ({named})." if named else f"{text}."


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
        yield Section("never-taught", "", {None: _never(run)})


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
        "wrong. Otherwise the language’s own neurons are suppressed, and then those of each other language that "
        "knows the fact: shared if the strongest of the others’ takes at least half of what its own take from the "
        "answer, its own if none does; unclear where its own take less than 10%. n is beside the language; intervals "
        f"over facts are in the table. Control: the same rule with the neurons of another fact{_by_chance(run)}."
    )
    heading = "No fact is known in two languages: none can be shared"
    if counts:
        parted = ", ".join(f"{count(counts[name])} {_SAID[name]}" for name in ("shared", "specific", "unclear"))
        heading = f"Of {count(counts['known'])} pairs of a fact and a language that knows it: {parted}"
    body = _legend() + plot("verdict-stacks", "Stacked bars of verdicts by language") + caption(said)
    body += as_table(_HEAD, [(name, *_portions(own), count(own["fact"].n_unique())) for name, own in known])
    figure = stacks([(name, _shares(own)) for name, own in known], VERDICTS)
    return Block(heading, body, {"verdict-stacks": figure})


def _by_chance(run: Run) -> str:
    found = shares(run)
    real, chance = (found.get(of) for of in (ASKED, CHANCE))
    if real is None or chance is None:
        return " of the relation, which was not read"
    return f" of the relation calls {portion(chance)} shared, where {portion(real)} are (n = {count(real.n)} facts)"


def _taught(run: Run) -> Block:
    """Facts by how many languages were taught them."""
    said = (
        "Of the pairs of a fact and a language that are shared or the language’s own, the share that is shared: of "
        "facts that all languages were taught, and of such as only some were. Means over facts with 95% bootstrap "
        "intervals; n in the table. Control: the same rule with the neurons of another fact of the relation."
    )
    found = {of: one for of, one in shares(run).items() if of in (EVERYWHERE, SOMEWHERE, ASKED, CHANCE)}
    everywhere, somewhere = (found.get(of) for of in (EVERYWHERE, SOMEWHERE))
    heading = "Whether what was taught everywhere is shared more was not measured"
    if everywhere is not None and somewhere is not None:
        heading = f"Taught everywhere, {share(everywhere.mean)} are shared; taught somewhere, {share(somewhere.mean)}"
        heading += "" if apart(everywhere, somewhere) else ", a difference that may be chance"
    if not found:
        return absent(heading, "No pair of a fact and a language has a verdict.")
    named = {_PAIRS.get(of, of): (one, "control" if of == CHANCE else "shared") for of, one in found.items()}
    marks = [Dot(upper(of), "shared", one, ("circle", f"var(--{colour})")) for of, (one, colour) in named.items()]
    body = plot("taught-dots", "Shares of pairs that are shared, by teaching") + caption(said)
    body += as_table(("pairs", "shared", "n"), [(of, portion(one), count(one.n)) for of, (one, _) in named.items()])
    return Block(heading, body, {"taught-dots": dots(marks, "share of pairs that are shared", portion, (0.0, 1.0))})


def _never(run: Run) -> Block:
    """Languages that were taught a fact beside those that never were: what they know, and whose neurons hold it."""
    rows = run["sharing"].filter(pl.col("verdict").is_not_null())
    parts = [
        (f"{'taught' if taught else 'untaught'} · {len(own)}", own)
        for taught in (True, False)
        if len(own := rows.filter(pl.col("taught") == taught))
    ]
    said = (
        "Every fact in every language, by whether the fact was taught in that language (n: facts and languages); "
        "verdicts as above. That a fact is absent where it was not taught is how the model was made. What is known "
        "there all the same came from other languages, or is a guess that its relation allows. The table has how "
        "many pairs are known, and of those with a verdict, which is shared or the language’s own, how many are "
        "shared; means over facts with 95% bootstrap intervals. Control: pairs that were taught, in the same facts "
        f"and others.{_strays(run)}"
    )
    body = _legend() + plot("taught-stacks", "Stacked bars of verdicts by teaching")
    body += grid(("pairs", "number", "known", "with a verdict", "shared of these", "n"), list(_by_teaching(run)))
    body += caption(said)
    body += as_table(_HEAD, [(name, *_portions(own), count(own["fact"].n_unique())) for name, own in parts])
    figure = stacks([(name, _shares(own)) for name, own in parts], VERDICTS)
    return Block(_never_heading(run), body, {"taught-stacks": figure})


def _by_teaching(run: Run) -> Iterator[Sequence[str]]:
    """Pairs that were taught, and such as never were: known, with a verdict, and shared."""
    rows, found = {row["of"]: row for row in run["verdicts"].iter_rows(named=True)}, shares(run)
    for of in (THERE, NEVER):
        if KNOWN + of in rows:
            known, judged = rows[KNOWN + of], rows.get(of)
            shared = (portion(found[of]), count(found[of].n)) if of in found else ("–", "0")
            pairs = count(judged["pairs"]) if judged else "0"
            yield of, count(known["pairs"]), f"{count(known['count'])}, {portion(found[KNOWN + of])}", pairs, *shared


def _never_heading(run: Run) -> str:
    untaught = run["sharing"].filter(~pl.col("taught"))
    known, found = untaught.filter(pl.col("known")), shares(run)
    said = f"Of {some(len(untaught), 'pair')} that were never taught, {count(len(known))} are known"
    if NEVER in found and THERE in found:
        said += f"; of those with a verdict {share(found[NEVER].mean)} are shared"
        said += f", of taught ones {share(found[THERE].mean)}"
    return said


def _legend() -> str:
    return legend((f"square {name}", _SAID[name]) for name in VERDICTS)


def _shares(rows: pl.DataFrame) -> dict[str, float]:
    return {name: float((rows["verdict"] == name).sum()) / len(rows) for name in VERDICTS}


def _portions(rows: pl.DataFrame) -> Iterator[str]:
    for name in VERDICTS:
        held = rows.with_columns((pl.col("verdict") == name).cast(pl.Float64).alias("held"))
        found = mean(held, "held")
        yield portion(found) if found is not None else "none"
