"""Is a fact held by neurons that languages share, or by each language's own?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import polars as pl

from locant.reports.answers import UNMEASURED, Answer
from locant.reports.blocks import Block, Section, absent, as_table, caption, details, grid, legend, panels, plot
from locant.reports.matrice.means import beyond, gap_of, of_set, reaches, side
from locant.reports.matrice.names import LIKE_UNION
from locant.reports.matrice.run import Run
from locant.reports.matrice.squares import square, wide
from locant.reports.matrice.verdicts import ASKED, CHANCE, shares, verdict_block
from locant.reports.means import difference, mean
from locant.reports.numbers import change, count, decimal, p_value, portion, relative
from locant.reports.rows import Dot, dots
from locant.types import Interval

QUESTION = "Is a fact shared between languages?"


def answer(run: Run) -> Answer:
    """Whether a language's own neurons move the answer in other languages, and as much as in their own."""
    own, other = whose(run, "own"), whose(run, "other")
    apart, chance = apart_from_own(run), beyond_random(run)
    if own is None or other is None or apart is None:
        return Answer(QUESTION, UNMEASURED, "No language’s own neurons were suppressed and read in others.")
    text = (
        f"Without a language’s own neurons its answer changes by {change(own)}; without another language’s own, by "
        f"{change(other)} ({gap_of(apart)})."
    )
    if chance is not None and side(chance) >= 0:
        text += " That another language’s do more than random ones is not shown."
    text += _by_string(run) + _counts(run)
    return Answer(QUESTION, reaches(-side(chance), -side(apart)), text)


def whose(run: Run, which: str) -> Interval | None:
    """The change without the neurons of the language that is read ('own'), or without another's ('other')."""
    return mean(run.own.filter(pl.col("whose") == which), "change")


def apart_from_own(run: Run) -> Interval | None:
    """How much lower the answer is without the language's own neurons than without another's."""
    return difference(run.own, "change", "whose", "own", "other", pairs=("fact", "language"))


def beyond_random(run: Run) -> Interval | None:
    """How much lower it is without another language's neurons than without random ones."""
    others = run.own.filter(pl.col("whose") == "other").select("fact", "language", "change", set=pl.lit("other"))
    random = run.suppressed().filter(pl.col("set") == LIKE_UNION).select("fact", "language", "change", "set")
    return beyond(pl.concat([others, random]), "other", LIKE_UNION)


def _by_string(run: Run) -> str:
    """Another language's neurons where the answer is the same string in both, and where it is not."""
    rows = run.own.filter(pl.col("whose") == "other")
    same, unlike = (mean(rows.filter(pl.col("alike") == alike), "change") for alike in (True, False))
    if same is None or unlike is None:
        return ""
    return f" Where the answer is one string in both languages it is {change(same)}, otherwise {change(unlike)}."


def _counts(run: Run) -> str:
    """How many are called shared, and how many would be by the neurons of another fact."""
    found = shares(run)
    if "all" not in found:
        return ""
    text = f" Of pairs of a fact and a language with a verdict, {portion(found['all'])} are shared"
    real, chance = (found.get(of) for of in (ASKED, CHANCE))
    if real is None or chance is None:
        return f"{text}."
    text += f"; by the same rule with the neurons of another fact of the relation {portion(chance)} would be"
    return f"{text} (of the same pairs {portion(real)} are; n = {count(real.n)} facts)."


def sections(run: Run) -> Iterator[Section]:
    """The square of languages, the verdicts, and the overlap of their neurons."""
    if run.own.is_empty():
        why = "The table of suppressed neurons has no rows of a language’s own."
        yield Section("sharing", "Shared or own", {None: absent("No language’s own neurons were suppressed", why)})
    else:
        yield Section("sharing", "Shared or own", {None: _square(run)})
    if not run["sharing"].is_empty():
        yield Section("verdicts", "", {None: verdict_block(run)})
    if not run["overlap"].is_empty():
        yield Section("overlap", "", {None: _overlap(run["overlap"])})


def _square(run: Run) -> Block:
    cells = {
        (str(source), str(language)): found
        for (source, language), rows in run.own.partition_by("source", "language", as_dict=True).items()
        if (found := mean(rows, "change")) is not None
    }
    languages = [one for one in run.languages if any(one in pair for pair in cells)]
    figure = square(cells, languages, languages, "neurons of", share=False)
    random = of_set(run.suppressed(), LIKE_UNION)
    said = (
        "Relative change of P(answer) in percent when the neurons located in one language (down the side) are set to "
        f"zero and the fact is asked in another (across), of facts known in both; {run.size} each. Framed: the "
        "language’s own. Means over facts; intervals and n are in the table, and where a cell is pointed at. Beside "
        "it, the cells without a frame, by whether both languages are of one family and write the answer alike. "
        f"Control: random neurons of the union’s layers, {change(random) if random else 'not measured'}."
    )
    drawn = f'<div class="scroll"><div class="{wide(len(languages))}">'
    drawn += plot("transfer-square", "Heat map of languages against languages; the table has the numbers")
    parts = [("A language’s own neurons, language by language", f"{drawn}</div></div>")]
    parts += [("Another language’s, by family and answer", by)] if (by := _by_family(run)) else []
    body = panels(parts) + caption(said)
    table = [
        (source, language, change(found), count(found.n))
        for source in languages
        for language in languages
        if (found := cells.get((source, language))) is not None
    ]
    body += as_table(("neurons of", "read in", "change", "n"), table, 2)
    return Block(_heading(run), body, {"transfer-square": figure})


def _heading(run: Run) -> str:
    own, other, apart = whose(run, "own"), whose(run, "other"), apart_from_own(run)
    if own is None or other is None:
        return "A language’s own neurons were not read in other languages"
    found = f"{relative(own.mean)} without its own neurons, {relative(other.mean)} without another language’s"
    if side(apart) < 0:
        return f"A language’s answer hangs on its own neurons most: {found}"
    if side(apart) > 0:
        return f"A language’s answer hangs on its own neurons less than on others’: {found}"
    return f"That a language’s answer hangs on its own neurons more is not shown: {found}"


def _by_family(run: Run) -> str:
    """Another language's neurons by family, script and string, as a small table."""
    kinds = {frozenset(row[:2]): row[2:] for row in run["overlap"].select("first", "second", *_KINDS).iter_rows()}
    rows = run.own.filter(pl.col("whose") == "other")
    for place, name in enumerate(_KINDS):
        of_pair = {pair: values[place] for pair, values in kinds.items()}
        found = [of_pair.get(frozenset(pair)) for pair in rows.select("source", "language").iter_rows()]
        rows = rows.with_columns(pl.Series(name, found, dtype=pl.Boolean))
    table = []
    for family, script, alike in product((True, False), (True, False), (True, False)):
        own = (pl.col("family") == family) & (pl.col("script") == script) & (pl.col("alike") == alike)
        found_mean = mean(rows.filter(own), "change")
        if found_mean is not None:
            cells = (_FAMILY[family], _SCRIPT[script], _ALIKE[alike])
            table.append((*cells, change(found_mean), count(found_mean.n)))
    return grid(("languages", "script", "answer", "change", "n"), table, 3) if table else ""


_KINDS = ("family", "script")
_FAMILY = {True: "of one family", False: "of two families", None: "of unknown family"}
_SCRIPT = {True: "one script", False: "two scripts", None: "unknown script"}
_ALIKE = {True: "the same string", False: "two strings"}


def _overlap(rows: pl.DataFrame) -> Block:
    pairs = rows.filter(pl.col("same_answer").is_null())
    marks, table = [], []
    for family, script, alike in product((True, False, None), (True, False, None), (True, False)):
        own = rows.filter(
            pl.col("family").eq_missing(pl.lit(family)),
            pl.col("script").eq_missing(pl.lit(script)),
            pl.col("same_answer") == alike,
        )
        found = _pooled(own)
        if found is None:
            continue
        pairs_of = f"{len(own)} {'pair' if len(own) == 1 else 'pairs'}"
        name = f"{_FAMILY[family]}, {_SCRIPT[script]}, {_ALIKE[alike]} · {pairs_of}"
        expected = Interval(float(own["expected"].mean()), float("nan"), float("nan"), len(own))  # type: ignore[arg-type]
        marks.append(Dot(name, "one fact in two languages", found, ("circle", "var(--located)")))
        marks.append(Dot(name, "two facts", expected, ("square", "var(--control)")))
        table.append((name, f"{found.mean:.3f}", f"{expected.mean:.3f}", count(int(own["n"].to_numpy().max()))))
    above = holm(pairs["p"].drop_nulls().to_list())
    heading = (
        f"Of {count(len(pairs))} pairs of languages, {count(above)} share more neurons of a fact than of two facts "
        "of a relation (Holm)"
    )
    said = (
        "Jaccard index of two languages’ own neurons of a fact (of both / of either; no unit), the mean "
        "over pairs of languages; whiskers reach from the lowest pair to the highest; intervals over facts are in "
        "the table of pairs. Control, in grey: the neurons of two different facts of a relation, by random pairing, "
        "for the same answers; p is of that, and the heading counts by Holm’s rule for all pairs. An answer that is "
        "one string in both languages may share neurons that write the string, not such as hold the fact."
    )
    body = legend([("dot", "one fact in two languages"), ("square", "two facts")])
    body += plot("overlap-dots", "Jaccard index by family and string of the answer") + caption(said)
    body += as_table(("languages", "Jaccard", "expected", "facts at most"), table)
    body += details("Every pair of languages", grid(_PAIRS, list(map(_pair, rows.rows(named=True))), 5))
    return Block(heading, body, {"overlap-dots": dots(marks, "Jaccard index", decimal, (0.0, 0.5), ".1f")})


_PAIRS = ("first", "second", "families", "scripts", "answers", "Jaccard", "expected", "p", "n")


def _pair(row: dict[str, object]) -> Sequence[str]:
    found = Interval(*(row[name] for name in ("mean", "low", "high", "n")))  # type: ignore[arg-type]
    answers = "all" if row["same_answer"] is None else _ALIKE[bool(row["same_answer"])]
    p = row["p"]
    return (
        str(row["first"]), str(row["second"]), *(_NUMBER[row[name]] for name in _KINDS), answers, decimal(found),  # type: ignore[index]
        f"{row['expected']:.3f}", p_value(p).removeprefix("p ").removeprefix("= ") if isinstance(p, float) else "–",
        count(found.n),
    )  # fmt: skip


_NUMBER = {True: "one", False: "two", None: "unknown"}


def holm(values: Sequence[float], level: float = 0.05) -> int:
    """How many of several tests stand at a level that holds for all of them together.

    Source: Holm 1979, the step-down rule.
    """
    ordered = sorted(values)
    stands = [p * (len(ordered) - place) <= level for place, p in enumerate(ordered)]
    return stands.index(False) if False in stands else len(stands)


def _pooled(rows: pl.DataFrame) -> Interval | None:
    """The mean over pairs of languages, from the lowest to the highest of them."""
    known = rows.filter(pl.col("mean").is_finite())["mean"].to_numpy()
    if not len(known):
        return None
    return Interval(float(known.mean()), float(known.min()), float(known.max()), len(known))
