"""One question as tables and as a summary: what is written beside the page and what `--json` prints."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import polars as pl

from locant.errors import BadFile
from locant.files import refuse_file, write_text, write_whole
from locant.recipes.ask import Asked

RECIPE = "ask"


def summary(asked: Asked) -> dict[str, object]:
    """What was found, as plain data."""
    return {
        "prompt": asked.query.prompt,
        "answer": asked.query.answer,
        "probability": asked.answer_prob,
        "rank": asked.answer_rank,
        "top_answers": [{"token": text, "probability": p} for text, p in asked.top_answers],
        "neurons": neuron_table(asked).to_dicts(),
        "effects": effect_table(asked).to_dicts(),
        "made_by": asdict(asked.made_by),
    }


def neuron_table(asked: Asked) -> pl.DataFrame:
    """The located neurons, highest score first: a row each."""
    activations = asked.attribution.activations[0]
    rows = [
        {
            "layer": layer,
            "neuron": neuron,
            "score": score,
            "activation": float(activations[layer, neuron]),
            "promotes": list(words.promoted),
            "demotes": list(words.demoted),
        }
        for (layer, neuron), score, words in zip(
            asked.selection.units.tolist(), asked.selection.weight.tolist(), asked.words, strict=True
        )
    ]
    return pl.DataFrame(rows).sort("score", descending=True)


def effect_table(asked: Asked) -> pl.DataFrame:
    """Every effect with its control and interval: a row each."""
    rows = [
        {
            "operation": one.operation,
            "touched": one.touched,
            "asked": one.asked,
            "before": one.before,
            "after": one.after,
            "change": one.change.mean,
            "change_low": one.change.low,
            "change_high": one.change.high,
            "n": one.change.n,
            "over": one.over,
        }
        for one in asked.effects
    ]
    return pl.DataFrame(rows)


def save(asked: Asked, page: str, folder: Path) -> Path:
    """Write a question's folder: tables, the page, whose path is returned, and last the manifest.

    What an earlier question left there is replaced, file by file.

    Raises:
        BadFile: the folder holds something else than a question, or cannot be written to.
    """
    refuse_other(folder, RECIPE)
    write_whole(folder / "tables" / "neurons.parquet", neuron_table(asked).write_parquet)
    write_whole(folder / "tables" / "effects.parquet", effect_table(asked).write_parquet)
    manifest = {"recipe": RECIPE, **asdict(asked.made_by), "query": asdict(asked.query), "status": "complete"}
    place = write_text(folder / "page.html", page)
    write_text(folder / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    return place


def refuse_other(folder: Path, recipe: str) -> None:
    """Refuse a place that holds no page of this recipe, and is not empty.

    Raises:
        BadFile: it is a file, or a folder that holds something else.
    """
    refuse_file(folder)
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    manifest = folder / "manifest.json"
    try:
        found = json.loads(manifest.read_text(encoding="utf-8")).get("recipe") if manifest.is_file() else None
    except (ValueError, AttributeError):
        found = None
    if found != recipe:
        raise BadFile(f"the folder {str(folder)!r} holds something else than a page of locant {recipe}; name another")
