"""Circuits on disk: readable, for drawing, or with the score of every edge.

save_circuit(circuit, Path("capital.json"))           # the edges kept, with their scores
save_circuit(circuit, Path("capital.safetensors"))    # all edges' scores and which are kept
save_circuit(circuit, Path("capital.graphml"))        # for networkx, Gephi, yEd, Cytoscape
circuit = load_circuit(Path("capital.json"))
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NotRequired, TypedDict

import networkx as nx
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from locant.errors import BadFile, LocantError
from locant.files import write_text, write_whole
from locant.models.graph import Graph
from locant.selections.circuits.circuit import Circuit
from locant.types import Provenance


def save_circuit(circuit: Circuit, path: Path | str) -> Path:
    """Write a circuit in the form that the path's ending names.

    Raises:
        BadFile: the ending names none, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in WRITE:
        raise BadFile(f"cannot write a circuit to {str(path)!r}: its ending is none of {', '.join(WRITE)}")
    WRITE[path.suffix](circuit, path)
    return path


def load_circuit(path: Path | str) -> Circuit:
    """Read a circuit that was saved as .json (scores of edges that are not kept are zero then) or .safetensors.

    Raises:
        BadFile: the file is missing or no circuit.
    """
    path = Path(path)
    if path.suffix not in READ:
        raise BadFile(f"cannot read a circuit from {str(path)!r}: its ending is none of {', '.join(READ)}")
    try:
        return READ[path.suffix](path)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, AttributeError, LocantError) as error:
        raise BadFile(f"{str(path)!r} is no saved circuit: {_reason(error)}") from error


def network(circuit: Circuit) -> nx.MultiDiGraph:
    """The circuit between nodes: heads, MLPs, the input and the output.

    An edge is keyed by what it is read as (`q`, `k`, `v`, `h` where the three are merged, `m` or `output`), so that
    a head may be reached three times. An edge into a key that heads of the circuit share is there for each of them.
    """
    graph, made = circuit.graph, nx.MultiDiGraph(**_plain(circuit.made_by))
    for name in circuit.nodes:
        made.add_node(name, **_about(graph, name))
    for sender, receiver in circuit.keep.nonzero().tolist():
        fed = circuit.fed[receiver].nonzero()[:, 0].tolist()
        for name in [graph.senders[one] for one in fed] or ["output"]:
            made.add_edge(
                graph.senders[sender],
                name,
                key=graph.read_as(receiver),
                receiver=graph.receivers[receiver],
                score=float(circuit.scores[sender, receiver]),
            )
    return made


def _about(graph: Graph, name: str) -> dict[str, str | int]:
    """What kind of node it is, and where."""
    about = graph.node(name)._asdict()
    return {what: value for what, value in about.items() if value not in (None, "")}


def _plain(made_by: Provenance) -> dict[str, str]:
    return {"made_by": json.dumps(asdict(made_by), sort_keys=True)}


# Each form


def _write_json(circuit: Circuit, path: Path) -> None:
    scores = circuit.scores[circuit.keep].tolist()
    kept = zip(circuit.keep.nonzero().tolist(), scores, strict=True)
    edges = {circuit.graph.edge_name(*at): score for at, score in kept}
    ordered = {name: edges[name] for name in circuit.edges}
    content = {"graph": asdict(circuit.graph), "made_by": asdict(circuit.made_by), "edges": ordered}
    write_text(path, json.dumps(content, indent=1) + "\n")


def _read_json(path: Path) -> Circuit:
    content = json.loads(path.read_text(encoding="utf-8"))
    graph, edges = _graph(content["graph"]), content["edges"]
    keep, scores = graph.keeping(list(edges)), torch.zeros(graph.edges.shape, dtype=torch.float64)
    for name, score in edges.items():
        sender, _, receiver = name.partition("->")
        scores[graph.sender(sender), graph.receiver(receiver)] = float(score)
    return Circuit(graph, keep, scores, _made_by(json.dumps(content["made_by"])))


def _write_safetensors(circuit: Circuit, path: Path) -> None:
    about = {"graph": json.dumps(asdict(circuit.graph)), **_plain(circuit.made_by)}
    tensors = {"keep": circuit.keep.contiguous(), "scores": circuit.scores.contiguous()}
    write_whole(path, lambda beside: save_file(tensors, beside, metadata=about))


def _read_safetensors(path: Path) -> Circuit:
    with safe_open(path, framework="pt") as file:
        about = file.metadata() or {}
        graph = _graph(json.loads(about["graph"]))
        made_by = _made_by(about["made_by"])
        keep, scores = file.get_tensor("keep"), file.get_tensor("scores")
    for name, values in (("keep", keep), ("scores", scores)):
        if values.shape != graph.edges.shape:
            raise ValueError(f"its {name} are {tuple(values.shape)}, its graph is {tuple(graph.edges.shape)}")
    if keep.dtype != torch.bool or bool((keep & ~graph.edges).any()):
        raise ValueError("it keeps edges that its graph has not")
    return Circuit(graph, keep, scores, made_by)


def _write_graphml(circuit: Circuit, path: Path) -> None:
    write_whole(path, lambda beside: nx.write_graphml(network(circuit), beside))


class _Sizes(TypedDict):
    """A graph, as it is saved; files that were written before there were spans have none."""

    layers: int
    heads: int
    groups: int
    split: bool
    parallel: bool
    spans: NotRequired[list[str]]


def _graph(sizes: _Sizes) -> Graph:
    return Graph.of_sizes(
        sizes["layers"],
        sizes["heads"],
        sizes["groups"],
        split=bool(sizes["split"]),
        parallel=bool(sizes["parallel"]),
        spans=sizes.get("spans", ()),
    )


def _made_by(text: str) -> Provenance:
    recorded = json.loads(text)
    return Provenance(**recorded | {"parents": tuple(recorded["parents"])})


def _reason(error: Exception) -> str:
    return f"it has no {error.args[0]!r}" if isinstance(error, KeyError) else str(error)


WRITE: dict[str, Callable[[Circuit, Path], None]] = {
    ".json": _write_json,
    ".safetensors": _write_safetensors,
    ".graphml": _write_graphml,
}
READ: dict[str, Callable[[Path], Circuit]] = {".json": _read_json, ".safetensors": _read_safetensors}
