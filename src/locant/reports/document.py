"""One run as one page: everything it needs is inside it, and it asks nothing of the network."""

from __future__ import annotations

from dataclasses import asdict

import plotly.graph_objects as go

from locant.recipes.ask import Asked
from locant.reports.figures import effect_bars, layer_bars
from locant.reports.finding import effects_in_brief, finding, verdict
from locant.reports.heat_map import PackedGrid, heat_map, pack
from locant.reports.numbers import count, ordinal, probability, score, share
from locant.reports.prompt import with_answer, with_answer_marked
from locant.reports.recipe import command_of, controls, made_with, python_of, score_unit, units
from locant.reports.shell import fill, plain, read, shell
from locant.reports.tables import (
    answer_bars,
    definitions,
    effect_table,
    fact_list,
    has_white_space,
    neuron_table,
)
from locant.reports.text import escape

OPERATIONS = {
    "suppress": "Silenced: activations set to zero",
    "enhance": "Enhanced: activations doubled",
}


def page(asked: Asked) -> str:
    """The page of one question, as HTML text; equal questions give equal bytes."""
    grid = pack(asked.attribution.scores[0])
    parts = _head(asked) | _answers(asked) | _effects(asked) | _credit(asked, grid) | _recipe(asked)
    return shell(
        with_answer(asked.query),
        fill("page.html", **parts),
        {"figure-data": plain(_figures(asked)), "grid-data": asdict(grid)},
        script=read("bins.js") + read("theme.js") + read("page.js"),
        style=read("page.css"),
    )


def _head(asked: Asked) -> dict[str, str]:
    query = asked.query
    return {
        "language": escape(query.language),
        "prompt": with_answer_marked(query),
        "model": escape(asked.model),
        "probability": probability(asked.answer_prob),
        "rank": count(asked.answer_rank),
        "finding": escape(finding(asked)),
        "verdict": escape(verdict(asked)),
    }


def _answers(asked: Asked) -> dict[str, str]:
    if asked.answer_rank == 1:
        heading = f"“{asked.query.answer}” is what the model says first"
    else:
        heading = f"“{asked.query.answer}” is the model’s {ordinal(asked.answer_rank)} choice"
    symbols = " ␣ ↵ ⇥ stand for white space, ∅ for a token of nothing else." if has_white_space(asked) else ""
    return {
        "answers_heading": escape(heading),
        "answers": answer_bars(asked.top_answers, asked.query.answer),
        "symbols": symbols,
    }


def _effects(asked: Asked) -> dict[str, str]:
    operations = list(dict.fromkeys(one.operation for one in asked.effects))
    panels = [
        f'<div class="panel"><h3>{escape(OPERATIONS.get(name, name))}</h3>'
        f'<div class="plot" id="effect-{place}" role="img" '
        f'aria-label="Bars of relative change; the table below has the same numbers"></div></div>'
        for place, name in enumerate(operations)
    ]
    return {
        "effects_heading": escape(effects_in_brief(asked)),
        "effects": "".join(panels),
        "effect_table": effect_table(asked),
    }


def _credit(asked: Asked, grid: PackedGrid) -> dict[str, str]:
    layers, neurons = asked.selection.grid
    scores = asked.attribution.scores[0]
    shares = asked.layer_share
    best = max(range(layers), key=lambda layer: shares[layer])
    positive = scores.nan_to_num(0).clamp(min=0)
    held = positive[asked.selection.units[:, 0], asked.selection.units[:, 1]].sum() / positive.sum().clamp(min=1e-30)
    chosen = len(asked.selection)
    some = "The located neuron holds" if chosen == 1 else f"The {count(chosen)} located neurons hold"
    return {
        "map_heading": f"{some} {share(float(held))} of the positive credit",
        "map_label": f"Heat map of scores, {layers} layers by {count(neurons)} neurons; "
        "the located neurons are listed in the table below",
        "unit": escape(score_unit(asked.attribution.made_by)),
        "method": escape(asked.attribution.made_by.method),
        "lowest": score(-32767 * grid.step),
        "highest": score(32767 * grid.step),
        "size": f"{count(layers)} layers × {count(neurons)} neurons",
        "layers_heading": f"Layer {best} holds the most credit: {share(float(shares[best]))}",
        "neurons": neuron_table(asked),
        "tall": " tall" if chosen > 50 else "",
    }


def _figures(asked: Asked) -> dict[str, go.Figure]:
    """Every figure, by the id of the element it is drawn in."""
    operations = list(dict.fromkeys(one.operation for one in asked.effects))
    figures = {
        f"effect-{place}": effect_bars(tuple(one for one in asked.effects if one.operation == name))
        for place, name in enumerate(operations)
    }
    return figures | {"map": heat_map(asked), "layers": layer_bars(asked)}


def _recipe(asked: Asked) -> dict[str, str]:
    command = command_of(asked)
    return {
        "recipe": definitions(made_with(asked)),
        "controls": definitions(controls(asked)),
        "units": definitions(units(asked)),
        "command": f"<h3>Command line</h3><pre>{escape(command)}</pre>" if command else "",
        "python": escape(python_of(asked)),
        "unrelated_count": count(len(asked.unrelated)),
        "unrelated": fact_list(asked.unrelated),
    }
