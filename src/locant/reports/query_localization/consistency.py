"""Do the wordings of a fact share neurons: by relation and by threshold."""

from __future__ import annotations

import math
from collections.abc import Iterator

import polars as pl

from locant.reports.blocks import Block, Section, absent, as_table, caption, plot
from locant.reports.lines import Line, sweep
from locant.reports.means import apart, mean, values
from locant.reports.numbers import count, decimal, portion, share
from locant.reports.query_localization.agreement import agreement, kinds
from locant.reports.query_localization.blocks import name_of
from locant.reports.query_localization.figures import Violin, violins
from locant.reports.query_localization.means import inconsistent
from locant.reports.query_localization.run import Run
from locant.types import Interval

COLOURS = ("located", "unrelated", "shared", "fourth")


def sections(run: Run) -> Iterator[Section]:
    """Everything about consistency."""
    known = [place for place, name in enumerate(run.localizers) if not run.scores(name).is_empty()]
    if not known:
        why = "The table of consistency has no rows: no fact has two wordings with neurons of their own."
        yield Section("consistency", "Consistency", {None: absent("No fact was scored", why)})
        return
    yield Section("consistency", "Consistency", {str(place): _by_relation(run, place) for place in known})
    yield Section("thresholds", "", {None: _by_threshold(run)})
    yield Section("agreement", "", {None: agreement(run)})
    yield Section("kinds", "", {None: kinds(run)})


def equal(run: Run) -> str:
    """At which numbers facts were scored, for captions."""
    if run.matched:
        return "Facts are scored at equal numbers of queries and of neurons, which CS2 depends on"
    return "Facts are scored as found, with unequal numbers of queries and neurons, which CS2 depends on"


def _by_relation(run: Run, place: int) -> Block:
    localizer = run.localizers[place]
    rows = run.scores(localizer)
    parts = []
    for name in values(rows, "relation"):
        own = rows.filter(pl.col("relation") == name)
        found = mean(own, "cs2")
        if found is not None:
            parts.append(Violin(name, own["cs2"].to_list(), own["fact"].to_list(), found))
    parts.sort(key=lambda part: (part.mean.mean, part.name))
    null = run.null(localizer)
    lines = {
        "static threshold": (run.static, "solid"),
        "Otsu’s threshold": (run.otsu(localizer), "dot"),
        "mean of the null": (null["expected"] if null else math.nan, "dash"),
    }
    lines = {label: line for label, line in lines.items() if math.isfinite(line[0])}
    uid = f"violins-{place}"
    head = ("relation", "facts", "mean CS2", "inconsistent, static", "inconsistent, Otsu")
    table = [
        (part.name, count(len(part.scores)), decimal(part.mean), _share(own), _share(own, "otsu"))
        for part in parts
        for own in (rows.filter(pl.col("relation") == part.name),)
    ]
    said = (
        f"CS2 of each fact, located by {name_of(localizer)}: of the neurons that any of its queries uses, the share "
        f"that two or more use; no unit, from 0 to 1. {equal(run)}. A dot is a fact (n = {count(len(rows))}, by "
        "relation above each row), the violin their density, the large dot their mean with its 95% bootstrap "
        "interval over facts. A fact below a threshold is called inconsistent. Control: the dashed line is the mean "
        "score of pseudo-facts, whose queries are of different facts of the same relation."
    )
    body = plot(uid, "Violins of CS2 by relation") + caption(said) + as_table(head, table)
    return Block(_relations_apart(parts, name_of(localizer)), body, {uid: violins(parts, lines)})


def _relations_apart(parts: list[Violin], localizer: str) -> str:
    first, last = parts[0], parts[-1]
    if len(parts) == 1:
        return f"{localizer}: mean CS2 is {first.mean.mean:.2f} in the one relation, “{first.name}”"
    if apart(first.mean, last.mean):
        return (
            f"{localizer}: relations differ, from mean CS2 {first.mean.mean:.2f} for “{first.name}” to "
            f"{last.mean.mean:.2f} for “{last.name}”"
        )
    return f"{localizer}: no relation stands apart, with mean CS2 from {first.mean.mean:.2f} to {last.mean.mean:.2f}"


def _share(rows: pl.DataFrame, rule: str = "static") -> str:
    found = inconsistent(rows, rule)
    return portion(found) if found else "none"


def _by_threshold(run: Run) -> Block:
    rows = run.of("thresholds", rule="static").sort("threshold")
    names = [*(name for name in run.localizers if name in values(rows, "localizer"))]
    if not names:
        return absent("No threshold was swept", "The table of thresholds has no rows.")
    lines = [_line(rows, name, COLOURS[place % len(COLOURS)]) for place, name in enumerate(names)]
    if len(names) > 1 and "all" in values(rows, "localizer"):
        lines.append(_line(rows, "all", "ink"))
    first = lines[0]
    heading = (
        f"The share follows the threshold: {share(first.y[0])} of facts are inconsistent at {first.x[0]:g}, "
        f"{share(first.y[-1])} at {first.x[-1]:g} ({first.name})"
    )
    if not apart(*_ends(rows, names[0])):
        heading = (
            f"The threshold hardly matters: {share(min(first.y))} to {share(max(first.y))} of facts are "
            f"inconsistent, wherever it stands ({first.name})"
        )
    head = ("localizer", "rule", "threshold", "inconsistent", "n")
    table = [
        (
            _who(localizer),
            rule,
            "each its own" if threshold is None or not math.isfinite(threshold) else f"{threshold:.3g}",
            portion(Interval(value, low, high, n)),
            count(n),
        )
        for localizer, rule, threshold, value, low, high, n in run["thresholds"].iter_rows()
    ]
    said = (
        "Share of facts whose CS2 is below the threshold; bands are 95% bootstrap intervals over facts, n in the "
        "table, where Otsu’s threshold of each localizer stands as well. “All” counts facts that every localizer "
        "calls inconsistent. The dotted line is the static threshold of this run; the paper’s own is not known. The "
        "control is the null of the figure below."
    )
    figure = sweep(lines, "threshold of CS2", "share of inconsistent facts", mark=_finite(run.static))
    return Block(
        heading,
        plot("sweep", "Share of inconsistent facts against the threshold") + caption(said) + as_table(head, table, 2),
        {"sweep": figure},
    )


def _line(rows: pl.DataFrame, name: str, colour: str) -> Line:
    own = rows.filter((pl.col("localizer") == name) & pl.col("share").is_finite())
    columns = [own[column].to_list() for column in ("threshold", "share", "low", "high")]
    return Line(_who(name), columns[0], columns[1], colour, columns[2], columns[3])


def _ends(rows: pl.DataFrame, name: str) -> tuple[Interval, Interval]:
    own = rows.filter(pl.col("localizer") == name).select("share", "low", "high", "n").rows()
    return Interval(*own[0]), Interval(*own[-1])


def _who(name: str) -> str:
    return "All of them" if name == "all" else name_of(name)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
