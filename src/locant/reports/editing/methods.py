"""Every method in one table: what its edits win, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from locant.reports.blocks import Block, Section, absent, caption, number_cell
from locant.reports.editing.means import LEAST, best_of, shown
from locant.reports.editing.names import RANDOM, name_of
from locant.reports.editing.run import Run
from locant.reports.editing.spared import perplexity
from locant.reports.editing.taken import firsts
from locant.reports.means import mean_over, side
from locant.reports.numbers import change, count, decimal, portion, seconds, share
from locant.reports.text import escape
from locant.types import Interval


@dataclass(frozen=True)
class Column:
    """One measure of every method.

    Attributes:
        group, name: above it.
        less: whether less of it is better.
    """

    group: str
    name: str
    asked: str
    metric: str
    less: bool = False

    def of(self, run: Run, method: str) -> Interval | None:
        """Its mean, or the relative change of perplexity."""
        if self.metric == "perplexity":
            return perplexity(run, method)
        return run.mean(method, self.asked, self.metric)

    def text(self, found: Interval | None) -> str:
        return shown(found, {"perplexity": change, "kl": decimal}.get(self.metric, portion))


COLUMNS = (
    Column("requests", "score", "request", "score"),
    Column("requests", "first", "request", "first"),
    Column("requests", "written", "request", "written"),
    Column("other wordings", "score", "paraphrase", "score"),
    Column("other wordings", "first", "paraphrase", "first"),
    Column("neighbours", "score", "neighbour", "score"),
    Column("neighbours", "kept", "neighbour", "kept"),
    Column("unrelated", "kept", "unrelated", "kept"),
    Column("unrelated", "KL", "unrelated", "kl", less=True),
    Column("portability", "first", "portability", "first"),
    Column("running text", "perplexity", "texts", "perplexity", less=True),
    Column("all scores", "S", "all", "harmonic"),
)


def sections(run: Run) -> Iterator[Section]:
    """The table of methods."""
    if run["methods"].is_empty():
        why = "The table of methods has no rows: every case was refused, or none was edited alone."
        yield Section("methods", "Methods", {None: absent("No methods were compared", why)})
        return
    yield Section("methods", "Methods", {None: _block(run)})


def _block(run: Run) -> Block:
    columns = [one for one in COLUMNS if any(one.of(run, method) is not None for method in run.every)]
    leading = {one: _leading(run, one) for one in columns}
    lines = [_untouched(run, columns), *(_line(run, method, columns, leading) for method in run.every)]
    table = (
        f'<div class="scroll"><table class="methods"><thead>{_head(columns)}</thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
    said = (
        "Each case edited alone by each method, and all of it read before and after. Score: the right text is more "
        "probable than the other one, by the mean over tokens (ROME’s efficacy, paraphrase and neighbourhood score). "
        "First: every token of it is the model’s first choice. Written: the model, writing freely, begins with it. "
        f"Kept: the first token is as before.{_of_kl(columns)} "
        "Perplexity: its relative change, less is better. S: harmonic mean of the three scores. Time: median of an "
        "edit, on one machine. Means over cases with 95% bootstrap intervals. "
        f"Bold: not shown to be worse than the best of its column, paired over {LEAST} cases or more. Controls: the "
        "untouched model, in the first row"
    )
    said += "; random neurons, edited as knowledge neurons (KN) are, in the last." if RANDOM in run.every else "."
    return Block(_heading(run), table + caption(said))


def _of_kl(columns: list[Column]) -> str:
    there = any(one.metric == "kl" for one in columns)
    return " KL: divergence of its distribution from that before, in nats, less is better." if there else ""


def _head(columns: list[Column]) -> str:
    groups: dict[str, int] = {}
    for one in columns:
        groups[one.group] = groups.get(one.group, 0) + 1
    above = "".join(f'<th scope="colgroup" colspan="{size}">{escape(name)}</th>' for name, size in groups.items())
    below = "".join(f'<th scope="col" class="number">{escape(one.name)}</th>' for one in columns)
    return (
        f'<tr><th></th>{above}<th scope="colgroup" colspan="2">of it all</th></tr>'
        f'<tr><th scope="col">method</th>{below}<th scope="col" class="number">time</th>'
        '<th scope="col" class="number">n</th></tr>'
    )


def _untouched(run: Run, columns: list[Column]) -> str:
    """What there is before any edit, of the cases of the method that edited most."""
    method = max(run.every, key=lambda name: _cases(run, name))
    cells = "".join(f'<td class="number">{number_cell(_before(run, method, one))}</td>' for one in columns)
    n = count(_cases(run, method))
    return (
        f'<tr class="beside"><th scope="row">untouched model</th>{cells}'
        f'<td class="number">–</td><td class="number">{n}</td></tr>'
    )


def _before(run: Run, method: str, column: Column) -> str:
    unmoved = {"kept": "100%", "perplexity": "0%", "kl": "0"}
    if column.metric in unmoved:
        return unmoved[column.metric]
    return shown(run.mean(method, column.asked, column.metric, "before"))


def _line(run: Run, method: str, columns: list[Column], leading: dict[Column, set[str]]) -> str:
    cells = []
    for one in columns:
        bold = " leading" if method in leading[one] else ""
        cells.append(f'<td class="number{bold}">{number_cell(one.text(one.of(run, method)))}</td>')
    rest = (_time(run, method), count(_cases(run, method)))
    cells += [f'<td class="number">{escape(text)}</td>' for text in rest]
    kind = ' class="beside"' if method == RANDOM else ""
    return f'<tr{kind}><th scope="row">{escape(name_of(method))}</th>{"".join(cells)}</tr>'


def _leading(run: Run, column: Column) -> set[str]:
    """The methods that are not shown to be worse than the best; none if too few cases were edited to show it."""
    found = {name: one for name in run.methods if (one := column.of(run, name)) is not None}
    rows = run.single(column.asked, column.metric)
    if len(found) < 2 or rows.is_empty():
        return set()
    sign = -1.0 if column.less else 1.0
    best = best_of({name: Interval(sign * one.mean, 0.0, 0.0, one.n) for name, one in found.items()})
    gaps = {name: _gap(rows, best, name) for name in found if name != best}
    if any(gap is None or gap.n < LEAST for gap in gaps.values()):
        return set()
    return {best} | {name for name, gap in gaps.items() if gap and sign * side(gap, LEAST) <= 0}


def _gap(rows: pl.DataFrame, first: str, second: str) -> Interval | None:
    sides = [rows.filter(pl.col("method") == name).select("fact", "after") for name in (first, second)]
    both = sides[0].join(sides[1], on="fact", maintain_order="left")
    return mean_over(both.with_columns(gap=pl.col("after") - pl.col("after_right")), "gap", "fact")


def _time(run: Run, method: str) -> str:
    rows = run.of("costs", method=method, noted="seconds")
    median = rows["median"].drop_nulls()
    return seconds(float(median[0])) if len(median) else "–"


def _cases(run: Run, method: str) -> int:
    found = run.of("methods", method=method, asked="request")["n"].max()
    return found if isinstance(found, int) else 0


def _heading(run: Run) -> str:
    found = firsts(run, "request")
    if not found:
        return "What methods win and what they cost"
    harmonic = {name: one for name in run.methods if (one := run.mean(name, "all", "harmonic")) is not None}
    best = best_of(harmonic or found)
    what = "of requests, other wordings and neighbours together (S)" if harmonic else "of first choices of requests"
    value = (harmonic or found)[best]
    count_of = f"Of {count(len(found))} methods, " if len(found) > 1 else ""
    verb = "has the highest mean score" if len(found) > 1 else "has a mean score"
    return f"{count_of}{name_of(best)} {verb} {what}: {share(value.mean)}"
