"""One prompt's circuit as files and as a summary: what is written beside the page and what `--json` prints."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import polars as pl

from locant.files import write_text, write_whole
from locant.recipes.saved import refuse_other
from locant.recipes.traced import Standing, Traced
from locant.selections.circuits import save_circuit

RECIPE = "circuit"


def summary(traced: Traced) -> dict[str, object]:
    """What was found, as plain data."""
    standings, circuit = traced.standings, traced.circuit
    parts: dict[str, Standing | None] = {
        "model": standings.model,
        "circuit": standings.circuit,
        "complement": standings.complement,
        "nothing": standings.empty,
    }
    other = traced.counterfactual
    return {
        "prompt": traced.query.prompt,
        "answer": traced.query.answer,
        "counterfactual": None if other is None else {"prompt": other.prompt, "answer": other.answer},
        "edges": len(circuit),
        "share": circuit.share,
        "nodes": list(circuit.nodes),
        "faithfulness": traced.faithfulness.share,
        "kept": {name: asdict(one) for name, one in parts.items() if one is not None},
        "random": [asdict(one) for one in standings.random],
        "strongest": edge_table(traced).head(20).to_dicts(),
        "made_by": asdict(traced.made_by),
    }


def edge_table(traced: Traced) -> pl.DataFrame:
    """The circuit's edges, the largest |score| first: sender, receiver and score in units of the metric."""
    circuit = traced.circuit
    named = [(name, *name.split("->")) for name in circuit.edges]
    scores = [float(circuit.scores[circuit.graph.keeping([name])]) for name, _, _ in named]
    return pl.DataFrame(
        {
            "sender": [sender for _, sender, _ in named],
            "receiver": [receiver for _, _, receiver in named],
            "score": scores,
        }
    )


def save_traced(traced: Traced, page: str, folder: Path) -> Path:
    """Write a prompt's folder: its circuit in three forms, the table of edges, the page, and last the manifest.

    What an earlier prompt left there is replaced, file by file.

    Returns:
        The page's path.

    Raises:
        BadFile: the folder holds something else than a prompt's circuit, or cannot be written to.
    """
    refuse_other(folder, RECIPE)
    write_whole(folder / "tables" / "edges.parquet", edge_table(traced).write_parquet)
    for ending in (".json", ".graphml", ".safetensors"):
        save_circuit(traced.circuit, folder / f"circuit{ending}")
    place = write_text(folder / "page.html", page)
    manifest = {"recipe": RECIPE, **asdict(traced.made_by), "query": asdict(traced.query), "status": "complete"}
    write_text(folder / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    return place
