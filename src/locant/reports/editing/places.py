"""Does localization say where to edit: facts edited at every layer, beside what tracing and attribution say of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import plotly.graph_objects as go
import polars as pl

from locant.reports.answers import UNMEASURED, Answer, verdict
from locant.reports.blocks import Block, Section, absent, as_table, caption, details, grid, legend, panels, plot
from locant.reports.editing.means import LEAST, cases_of, few, gap_of, one_of, shown
from locant.reports.editing.names import EFFECTS, colour_of, dash_of, label_of, name_of, ordered
from locant.reports.editing.run import Run
from locant.reports.lines import Line, sweep
from locant.reports.means import in_order, side, spread, values
from locant.reports.numbers import count, p_value, points, portion, share
from locant.reports.rows import Dot, dots
from locant.reports.text import upper
from locant.types import Interval

QUESTION = "Does localization say where to edit?"
REWRITE = "rewrite"
SCORES = {REWRITE: "rewrite score", "generalisation": "other wordings’ rewrite score", "kept": "neighbours kept"}
SURE = 0.05
"""The share of shuffles below which what an effect adds is called shown."""
_EXPLAINED = {
    "layer": ("by the layer", "square score", ("square", "var(--shared)")),
    "effect": ("by the effect", "diamond", ("diamond", "var(--unrelated)")),
    "both": ("by both", "dot", ("circle", "var(--located)")),
}
_FOLLOWED = {
    "anywhere": ("any layer", "hollow", ("square-open", "var(--control)")),
    "fixed": ("the layer best for others", "square score", ("square", "var(--shared)")),
    "localized": ("where localization says", "dot", ("circle", "var(--located)")),
    "best": ("its own best layer", "diamond", ("diamond", "var(--unrelated)")),
}


@dataclass(frozen=True)
class Place:
    """What one localization says of the edits of one method: numbers by what they are; see `place_rows`."""

    method: str
    effect: str
    found: Mapping[str, Interval]

    @property
    def name(self) -> str:
        return f"{name_of(self.method)}, {label_of(self.effect)}"

    @property
    def p(self) -> float:
        return self.found["p"].mean

    @property
    def adds(self) -> int:
        """1 if the effect explains more than effects of shuffled facts do."""
        return int(self.found["added"].n >= LEAST and self.p < SURE)

    @property
    def gains(self) -> int:
        """1 if following it surely is better than the one layer that is best for the other facts, -1 if worse."""
        return side(self.found["gain"], LEAST)


def places(run: Run, score: str = REWRITE) -> list[Place]:
    """Every method and localization that has all its numbers, in the page's order."""
    rows, found = run.of("places", score=score), []
    for method in ordered(values(rows, "method")):
        for effect in in_order(values(rows, "effect"), tuple(EFFECTS)):
            own = rows.filter((pl.col("method") == method) & (pl.col("effect") == effect))
            numbers = {str(row["what"]): spread(row, "mean") for row in own.iter_rows(named=True)}
            if numbers.keys() >= {*_EXPLAINED, *_FOLLOWED, "added", "chance", "p", "gain"}:
                found.append(Place(method, effect, numbers))
    return found


def answer(run: Run) -> Answer:
    """Whether following effects is better than one layer for all; what explains where edits work stands beside it."""
    found = places(run)
    if not found:
        return Answer(QUESTION, UNMEASURED, _untraced(run) or _why(run))
    said = [
        f"{one.name}: R² {one.found['layer'].mean:.2f} by the layer, "
        f"{one.found['effect'].mean:.2f} by the effect, {one.found['both'].mean:.2f} by both, so that it adds "
        f"{one.found['added'].mean:.2f}, {p_value(one.p)}"
        for one in found
    ]
    wins = "; ".join(f"{gap_of(one.found['gain'])} with {one.name}" for one in found)
    text = (
        f"Over the one layer that is best for other facts, following it wins in rewrite score {wins} "
        f"({cases_of(found[0].found['added'])}). Of that score is explained, with p against shuffled facts, "
        f"{'. '.join(said)}."
        f"{_ranges(run, found)}{_untraced(run)}"
    )
    return Answer(QUESTION, verdict([one.gains for one in found], few(one.found["gain"] for one in found)), text)


def _ranges(run: Run, found: list[Place]) -> str:
    """Between which means the layers lie: where all are alike there is nothing for a place to say."""
    said = []
    for method in dict.fromkeys(one.method for one in found):
        means = run.of("layers", score=REWRITE, method=method)["edited"].to_list()
        if means:
            said.append(f"{share(min(means))} to {share(max(means))} with {name_of(method)}")
    return f" Means of the layers: {', '.join(said)}." if said else ""


def _untraced(run: Run) -> str:
    """That causal tracing names no layer here, where it names none."""
    for row in run["traces"].filter(~pl.col("measured")).iter_rows(named=True):
        return (
            f" Causal tracing was not measured: noise takes P(old) from {row['clean']:.2f} to "
            f"{row['corrupted']:.2f}, and the strongest layer brings back {row['largest']:.3f}."
        )
    return ""


def _why(run: Run) -> str:
    return (
        "Nothing was edited at every layer: none of the methods takes any layer, fewer than three facts were to be "
        "edited so, not all old objects are given, or the model is masked."
    )


def sections(run: Run) -> Iterator[Section]:
    """What edits do by layer, and what localization says of it."""
    if run["layers"].is_empty():
        block = absent("No facts were edited at every layer", _why(run))
        yield Section("layers", "Layers", {None: block})
        return
    yield Section("layers", "Layers", {None: _by_layer(run)})
    if places(run):
        yield Section("editability", "", {None: _editability(run)})


def _by_layer(run: Run) -> Block:
    rows = run.of("layers", score=REWRITE)
    methods = ordered(values(rows, "method"))
    edited = []
    for method in methods:
        own = rows.filter(pl.col("method") == method).unique("layer").sort("layer")
        mean, far = own["edited"], 1.96 * own["edited_error"].fill_null(0.0).fill_nan(0.0)
        edited.append(
            Line(name_of(method), own["layer"].to_list(), mean.to_list(), colour_of(method), (mean - far).to_list(),
                 (mean + far).to_list(), dash_of(method))
        )  # fmt: skip
    first = rows.filter(pl.col("method") == methods[0]) if methods else rows
    localized = []
    for effect, colour in zip(in_order(values(first, "effect"), tuple(EFFECTS)), ("fourth", "shared"), strict=False):
        own = first.filter(pl.col("effect") == effect).sort("layer")
        localized.append(Line(label_of(effect), own["layer"].to_list(), own["localized"].to_list(), colour))
    figures = {
        "layers-edited": _whole_layers(sweep(edited, "layer", "mean rewrite score", whole=False)),
        "layers-localized": _whole_layers(sweep(localized, "layer", "mean effect", whole=False)),
    }
    parts = [("Edits", plot("layers-edited", "Mean rewrite score by layer; the table has the numbers")),
             ("Localization", plot("layers-localized", "Mean effects by layer; see the table"))]  # fmt: skip
    said = (
        "Left: each fact edited at each layer. Rewrite score: (P after − P before) / (1 − P before) of the new "
        "object; 100% is all that could be won. Bands: mean ± 1.96 standard errors over facts. Right, of the same "
        "facts and the untouched model: the effect of causal tracing, how much of P(old object) comes back when what "
        "the layer writes at the edited position is restored under noise (a probability), and credit, the "
        "layer’s share of the answer’s attribution; means, no interval. Layers are counted from 0. Control: the "
        "layers beside each other; whether the two agree fact by fact is below. n in the table, and the share of "
        "facts whose training came to the loss it was to stop at, with its mean steps: an edit that ended before "
        f"says little of its layer.{_untraced(run)}"
    )
    body = panels(parts) + caption(said) + as_table(_LAYER_HEAD, list(_layer_rows(run)), 3)
    return Block(_layers_heading(edited, localized), body, figures)


_LAYER_HEAD = ("method", "score", "localization", "layer", "mean score", "mean effect", "rank correlation",
               "loss reached", "steps", "n")  # fmt: skip


def _layer_rows(run: Run) -> Iterator[tuple[str, ...]]:
    for row in run["layers"].sort("method", "score", "effect", "layer", maintain_order=True).iter_rows(named=True):
        yield (
            name_of(row["method"]), SCORES.get(row["score"], row["score"]), label_of(row["effect"]),
            count(row["layer"] or 0), *(_plain(row[name]) for name in ("edited", "localized", "correlation")),
            "–" if row["reached"] is None else share(row["reached"]),
            "–" if row["steps"] is None else f"{row['steps']:.0f}",
            count(row["facts"] or 0),
        )  # fmt: skip


def _plain(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.2f}".replace("-", "−")


def _layers_heading(edited: list[Line], localized: list[Line]) -> str:
    def top(line: Line) -> str:
        return f"{line.name} at layer {line.x[max(range(len(line.y)), key=lambda at: line.y[at])]:g}"

    if not edited:
        return "Edits at every layer have no rewrite score"
    # Where all bands have something in common, no layer is shown to be better
    apart = [line for line in edited if max(line.low) > min(line.high)]
    alike = [line.name for line in edited if line not in apart]
    parts = [f"on average edits work best by {', by '.join(map(top, apart))}"] if apart else []
    parts += [f"no layer is shown to be best for edits by {one_of(alike)}"] if alike else []
    said = upper("; ".join(parts))
    return f"{said}; effects are highest of {', of '.join(map(top, localized))}" if localized else said


def _whole_layers(figure: go.Figure) -> go.Figure:
    # Names in capitals are wider than others
    figure.update_xaxes(tickformat="d")
    figure.update_layout(margin={"r": 72})
    return figure


def _editability(run: Run) -> Block:
    found = places(run)
    explained = [Dot(one.name, _EXPLAINED[what][0], Interval(one.found[what].mean, float("nan"), float("nan"), 1),
                     _EXPLAINED[what][2]) for one in found for what in _EXPLAINED]  # fmt: skip
    followed = [Dot(one.name, _FOLLOWED[what][0], one.found[what], _FOLLOWED[what][2])
                for one in found for what in _FOLLOWED]  # fmt: skip
    figures = {
        "editability-explained": dots(explained, "share of the rewrite scores’ variance", portion, (0.0, 1.0)),
        "editability-followed": dots(followed, "mean rewrite score", portion, (0.0, 1.0)),
    }
    parts = [
        ("What explains where edits work", _legend(_EXPLAINED) + plot("editability-explained", "R²; see the table")),
        ("What an editor would win", _legend(_FOLLOWED) + plot("editability-followed", "Mean scores; see the table")),
    ]
    said = (
        "Left: R² of the rewrite score, over facts and layers, on which layer was edited, on what localization says "
        "of it, and on both; one number each. What the effect adds to the layer is never below zero, and has no "
        "interval; control: p, the share of 999 shuffles in which facts have the effects of others that add as much, "
        "and their mean. Right: mean rewrite score with each fact edited at the layer where its effect is highest; "
        "control: the one layer that is best for all other facts; beside them all layers alike, and each fact’s own "
        "best layer, which nobody knows beforehand and which is high by chance too. 95% bootstrap intervals over "
        "facts. n in the table. p and intervals are each by itself."
    )
    body = panels(parts) + caption(said) + _table(found)
    for score, name in SCORES.items():
        others = places(run, score) if score != REWRITE else []
        body += details(f"The same for another score: {name}", _grid(others)) if others else ""
    return Block(_heading(found), body, figures)


def _legend(marks: Mapping[str, tuple[str, str, tuple[str, str]]]) -> str:
    return legend([(kind, label) for label, kind, _ in marks.values()])


def _table(found: list[Place]) -> str:
    return as_table(_PLACE_HEAD, list(map(_cells, found)))


def _grid(found: list[Place]) -> str:
    return grid(_PLACE_HEAD, list(map(_cells, found)))


_PLACE_HEAD = ("edits, localization", "R² layer", "R² effect", "R² both", "added", "shuffled", "p", "localized",
               "fixed", "gain", "best", "any", "n")  # fmt: skip


def _cells(one: Place) -> tuple[str, ...]:
    plain = [f"{one.found[what].mean:.2f}" for what in _EXPLAINED]
    followed = [shown(one.found[what]) for what in ("localized", "fixed")]
    rest = [shown(one.found[what]) for what in ("best", "anywhere")]
    added, chance = (f"{one.found[what].mean:.2f}" for what in ("added", "chance"))
    gain = points(one.found["gain"]).replace("\u00a0points", "")
    n = count(one.found["added"].n)
    return one.name, *plain, added, chance, p_value(one.p).removeprefix("p = "), *followed, gain, *rest, n


def _heading(found: list[Place]) -> str:
    adds, gains = (sum(sign > 0 for sign in signs) for signs in ([one.adds for one in found],
                                                                 [one.gains for one in found]))  # fmt: skip
    return (
        f"Localization adds to what the layer explains in {adds} of {len(found)} comparisons; following it beats one "
        f"layer for all in {gains}"
    )
