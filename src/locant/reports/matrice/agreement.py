"""In how many languages do a fact's neurons pass, and in how many if each language's were another fact's?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import plotly.graph_objects as go
import polars as pl

from locant.reports.blocks import Block, Section, as_table, caption, legend, panels, plot
from locant.reports.matrice.means import doubt, side
from locant.reports.matrice.run import Run
from locant.reports.means import mean
from locant.reports.numbers import count, portion
from locant.reports.rows import Dot, dots
from locant.types import Interval

FACT, OTHERS, GAP = "the fact", "other facts", "difference"
"""Whose neurons: one fact's in all languages; in each language another fact's; and the first less these."""
_MARKS = {FACT: ("circle", "var(--located)"), OTHERS: ("square", "var(--control)")}
_LEGEND = [("dot", "of one fact"), ("square", "of another fact of the relation in each language")]
_COLUMNS = ("of one fact", "of other facts", "difference")
Counts = Mapping[int | None, Mapping[str, Interval]]
"""By the least number of languages (None for all that know the fact) and by whose neurons: the mean over facts."""


def in_words(run: Run) -> str:
    """How many neurons pass in all the languages that know a fact, and how many would by chance."""
    some = _in_all(run)
    if some is None:
        return " How many neurons pass in all languages was not counted."
    number, none = mean(some, "value"), mean(some, "none")
    assert number is not None and none is not None
    text = f" Languages that know a fact agree on {_number(number)} neurons, in {portion(none)} of facts on none"
    found = _counts(run, _share(run)).get(None)
    if found is None:
        return f"{text}."
    text += f"; as many languages, each of another fact of the relation, on {_number(found[OTHERS])}"
    return f"{text} (difference {_signed(found[GAP])}{doubt(found[GAP])})."


def sections(run: Run) -> Iterator[Section]:
    """The number of neurons against the number of languages, at the run's share and at others."""
    if _in_all(run) is None:
        return
    yield Section("agreement", "", {None: _at_one_share(run)})
    found = {share: own for share in _shares(run) if (own := _counts(run, share))}
    if found:
        yield Section("agreement-shares", "", {None: _at_all_shares(found)})


def _at_one_share(run: Run) -> Block:
    share, alone = _share(run), _of_facts_alone(run)
    found = _counts(run, share) or {least: {FACT: own} for least, own in alone.items()}
    above = f"{share:.0%} of the language’s highest" if share is not None else "a share of the highest"
    said = (
        "Neurons of a fact that pass in so many of the languages that know it, or more, where passing is a score "
        f"above {above} in that language, less the deviation over its queries. “all” are all that know the fact; "
        "neurons that pass in one are in the table. Means over facts, at the right as numbers, with 95% bootstrap "
        "intervals; facts are those known in as many languages, so that n, beside the rows, falls downward. Control, "
        "in grey: in each language the neurons of another fact of the relation that is known in it, drawn for each "
        "language by itself, of the same facts; two languages may draw one fact, so that chance is rather too high "
        "than too low. Sets that are compared elsewhere are cut to one size whatever this share is."
    )
    body = legend(_LEGEND) + plot("agreement-dots", "Neurons by the number of languages they pass in") + caption(said)
    head = ("passes in languages", *_COLUMNS, "facts without any", "facts")
    body += as_table(head, [(_least(least), *_cells(own), _none(run, least), count(own[FACT].n))
                            for least, own in found.items()])  # fmt: skip
    return Block(_heading(run, found), body, {"agreement-dots": _dots(found)})


def _at_all_shares(found: Mapping[float, Counts]) -> Block:
    figures = {f"agreement-dots-{place}": _dots(own) for place, own in enumerate(found.values())}
    parts = [
        (f"Above {share:.0%} of the highest", plot(uid, "Neurons by the number of languages they pass in"))
        for share, uid in zip(found, figures, strict=True)
    ]
    shown = [share for share, own in found.items() if 2 in own and side(own[2][GAP]) > 0]
    said = (
        "The same count for several shares of a language’s highest score, from which a neuron passes; each panel has "
        "a scale of its own. The heading is about neurons that pass in two languages or more. Means over facts, at "
        "the right as numbers, with 95% bootstrap intervals; n beside the rows. Control: each language’s neurons "
        "are another fact’s."
    )
    head = ("share", "passes in languages", *_COLUMNS, "facts")
    table = [
        (f"{share:.0%}", _least(least), *_cells(own), count(own[FACT].n))
        for share, counts in found.items()
        for least, own in counts.items()
    ]
    heading = "That languages agree on more neurons of one fact than of several is shown at "
    heading += f"{len(shown)} of {len(found)} shares"
    body = legend(_LEGEND) + panels(parts) + caption(said) + as_table(head, table, 2)
    return Block(heading, body, figures)


def _heading(run: Run, found: Counts) -> str:
    first, second = found.get(1), found.get(2)
    said = f"A fact has {first[FACT].mean:.1f} neurons that pass in one language or more" if first else "Neurons pass"
    if second is not None and OTHERS in second:
        said += f", {second[FACT].mean:.1f} in two (of several facts {second[OTHERS].mean:.1f})"
    some = _in_all(run)
    none = mean(some, "none") if some is not None else None
    if none is not None:
        said += f"; in {portion(none)} of the facts, none passes in all the languages that know it"
    return said.replace("\u00a0", " ")


def _dots(found: Counts) -> go.Figure:
    """From two languages on: what passes in one has nothing to agree with. At the right, both means of each row."""
    several = {f"{_least(least)} · {own[FACT].n}": own for least, own in found.items() if least != 1}
    marks = [Dot(row, of, own[of], mark) for row, own in several.items() for of, mark in _MARKS.items() if of in own]
    figure = dots(marks, "neurons", _number, (0.0, 1.0), "~g")
    for place, own in enumerate(several.values()):
        means = " / ".join(_mean(own[of]) for of in _MARKS if of in own)
        figure.add_annotation(
            text=means, x=1, xref="paper", xanchor="left", xshift=8, y=place, showarrow=False, font={"size": 12}
        )
    figure.update_layout(margin={"r": 80})
    return figure


def _least(least: int | None) -> str:
    return "all" if least is None else f"{least} or more"


def _cells(own: Mapping[str, Interval]) -> tuple[str, str, str]:
    others = (_number(own[OTHERS]), _signed(own[GAP])) if OTHERS in own else ("–", "–")
    return (_number(own[FACT]), *others)


def _share(run: Run) -> float | None:
    share = run.settings.get("share")
    return float(share) if isinstance(share, int | float) else None


def _shares(run: Run) -> list[float]:
    return sorted(run["agreeing"]["share"].drop_nulls().unique().to_list())


def _counts(run: Run, share: float | None) -> Counts:
    """What was counted at a share, as the run's own table has it."""
    rows = run["agreeing"].filter((pl.col("share") == share) & pl.col("mean").is_finite())
    found: dict[int | None, dict[str, Interval]] = {}
    for row in rows.iter_rows(named=True):
        value = Interval(row["mean"], row["low"], row["high"], row["n"])
        found.setdefault(row["least"], {})[row["of"]] = value
    return {least: own for least, own in found.items() if own.keys() == {FACT, OTHERS, GAP}}


def _of_facts_alone(run: Run) -> dict[int | None, Interval]:
    """The numbers of neurons of single facts, where they were not held against other facts."""
    rows = _sizes(run)
    leasts = sorted(rows["least"].drop_nulls().unique().to_list())
    found = {least: mean(rows.filter(pl.col("least") == least), "value") for least in leasts}
    return {least: value for least, value in found.items() if value is not None}


def _none(run: Run, least: int | None) -> str:
    """The share of facts without a neuron that passes in so many languages."""
    rows = _sizes(run).filter(pl.col("least") == least) if least is not None else _in_all(run)
    if rows is None or rows.is_empty():
        return "–"
    found = mean(rows.with_columns(none=(pl.col("value") == 0).cast(pl.Float64)), "none")
    return portion(found) if found is not None else "–"


def _in_all(run: Run) -> pl.DataFrame | None:
    """Of each fact, how many neurons pass in all the languages that it is known in."""
    sizes = _sizes(run)
    if sizes.is_empty():
        return None
    most = sizes.filter(pl.col("least") == pl.col("least").max().over("fact"))
    return most.with_columns(none=(pl.col("value") == 0).cast(pl.Float64))


def _sizes(run: Run) -> pl.DataFrame:
    return run["stability"].filter((pl.col("what") == "agreement") & pl.col("value").is_finite())


def _number(found: Interval) -> str:
    """A mean count with its interval."""
    digits = _digits(found)
    if found.n == 1:
        return f"{found.mean:.{digits}f}"
    return f"{found.mean:.{digits}f}\u00a0[{found.low:.{digits}f},\u00a0{found.high:.{digits}f}]"


def _mean(found: Interval) -> str:
    return f"{found.mean:.{_digits(found)}f}" if found.mean else "0"


def _digits(found: Interval) -> int:
    return 1 if max(found.mean, found.high) >= 1 else 2


def _signed(found: Interval) -> str:
    """A difference of two counts."""
    number = _number(found).replace("-", "−")
    return number if found.mean <= 0 else f"+{number}"
