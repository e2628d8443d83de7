"""The circuits themselves: each drawn, with what its heads do, and how much of every layer is in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import plotly.graph_objects as go
import polars as pl

from locant.reports.answers import UNMEASURED, Answer
from locant.reports.blocks import Block, Section, absent, as_table, caption, note, panels, plot, some
from locant.reports.circuits import Note, circuit_block
from locant.reports.knowledge_circuits.cells import cells
from locant.reports.knowledge_circuits.graphs import DRAWN, layer_shares, strongest
from locant.reports.knowledge_circuits.means import gap_of, judged, n_of, sure
from locant.reports.knowledge_circuits.names import method_of, relation_of, scored_by
from locant.reports.knowledge_circuits.run import Run, over_relations
from locant.reports.numbers import count, portion, share
from locant.reports.text import plotly
from locant.selections.circuits import Circuit
from locant.types import Interval

QUESTION = "Are lower layers more in circuits than upper ones?"
_KINDS = {"heads": "Heads", "mlp": "MLPs"}


def halves(circuits: Mapping[str, Circuit]) -> dict[str, Interval]:
    """Of the nodes of the lower and of the upper half of layers, what is in circuits, and by how much more below."""
    rows = []
    for relation, circuit in circuits.items():
        nodes = [one["nodes"] for one in layer_shares(circuit)]
        half = len(nodes) // 2
        if half:
            low, high = sum(nodes[:half]) / half, sum(nodes[-half:]) / half
            rows.append({"relation": relation, "lower": low, "upper": high, "gap": low - high})
    if not rows:
        return {}
    table = pl.DataFrame(rows)
    found = {name: over_relations(table, name) for name in ("lower", "upper", "gap")}
    return {name: one for name, one in found.items() if one is not None}


def answer(run: Run) -> Answer:
    """The paper's Figure 2: nodes of lower layers are activated most."""
    found = halves(run.circuits)
    if not found:
        return Answer(QUESTION, UNMEASURED, "No edges were scored.")
    text = (
        f"{portion(found['lower'])} of the nodes in the lower half of the layers are in a relation’s circuit, and "
        f"{portion(found['upper'])} of those in the upper half: difference {gap_of(found['gap'], 'relation')} "
        f"({n_of(found['gap'], 'relation')})."
    )
    return Answer(QUESTION, judged(found["gap"]), text)


def sections(run: Run) -> Iterator[Section]:
    """A drawing of each relation's circuit, and the layers of all."""
    blocks: dict[str | None, Block] = {
        run.key_of(relation): _drawing(run, relation, circuit)
        for relation, circuit in run.circuits.items()
        if relation in run.relations
    }
    if not blocks:
        why = "The table of edges has no rows of a relation that the run names."
        yield Section("circuit", "The circuits", {None: absent("No edges were scored", why)})
        return
    yield Section("circuit", "The circuits", blocks if len(blocks) > 1 else {None: next(iter(blocks.values()))})
    yield Section("layers", "", {None: _layers(run.circuits)})


def notes_of(run: Run, relation: str) -> dict[str, Note]:
    """Roles of a relation's heads."""
    rows = run.of("heads", relation=relation).filter(pl.col("role") != "none")
    return {head: Note(role) for head, role in rows.select("head", "role").unique(maintain_order=True).iter_rows()}


def _drawing(run: Run, relation: str, circuit: Circuit) -> Block:
    drawn = strongest(circuit)
    notes = {name: own for name, own in notes_of(run, relation).items() if name in drawn.nodes}
    body = _examples(run, relation)
    body += circuit_block(drawn, notes)
    cut = f" Drawn are the strongest {DRAWN} of its {count(len(circuit))} edges." if len(drawn) < len(circuit) else ""
    body += caption(
        f"Scores are means over validation facts by {method_of(str(run.settings.get('method')))}, "
        f"of the {scored_by(run.metric)}; no intervals.{cut} Roles are told on test facts, see the heads below."
    )
    heading = (
        f"The circuit of {relation_of(relation)} has {some(len(circuit), 'edge')} ({share(circuit.share)}) between "
        f"{count(len(circuit.nodes))} of {count(circuit.graph.nodes)} nodes"
    )
    return Block(heading, body)


def _examples(run: Run, relation: str) -> str:
    rows = run.of("relations", relation=relation)
    if rows.is_empty():
        return ""
    row = rows.row(0, named=True)
    return note(f"For example “{row['example']}”, where edges are cut as in “{row['counterfactual']}”.")


def _layers(circuits: Mapping[str, Circuit]) -> Block:
    shares = {relation: layer_shares(circuit) for relation, circuit in circuits.items()}
    figures: dict[str, go.Figure] = {}
    parts = []
    for kind, title in _KINDS.items():
        uid = f"layers-{kind}"
        figures[uid] = _map(shares, kind)
        parts.append(
            (f"{title} in the circuit, %", plot(uid, f"{title} in circuits, by layer; the table has the numbers"))
        )
    layers = max(map(len, shares.values()))
    head = ("relation", "nodes", *(f"layer {layer}" for layer in range(layers)))
    table = [
        (relation_of(relation), "heads, MLP", *(f"{share(one['heads'])}, {one['mlp']:.0f}" for one in own))
        for relation, own in shares.items()
    ]
    said = (
        "Of each layer’s heads the share that is in the relation’s circuit; of its MLP, whether it is. A node is in "
        "a circuit if an edge from it or to it is. One circuit a relation, no interval in a cell; n counts "
        "relations. No control: what writes early has more edges to be kept by."
    )
    return Block(_heading(circuits), panels(parts) + caption(said) + as_table(head, table, 2), figures)


def _map(shares: Mapping[str, list[dict[str, float]]], kind: str) -> go.Figure:
    names = [relation_of(relation) for relation in shares]
    values = [[one[kind] for one in own] for own in shares.values()]
    columns = [str(layer) for layer in range(max(map(len, values)))]
    hovers = [
        [f"{plotly(name)}, layer {layer}<br>{value:.0%} in the circuit" for layer, value in enumerate(row)]
        for name, row in zip(names, values, strict=True)
    ]
    return cells(values, names, columns, hovers, "layer")


def _heading(circuits: Mapping[str, Circuit]) -> str:
    found = halves(circuits)
    if not found:
        return "How much of each layer is in circuits"
    said = (
        f"{found['lower'].mean:.0%} of the nodes of the lower half of layers are in a relation’s circuit, "
        f"{found['upper'].mean:.0%} of the upper half’s"
    )
    return said + sure(found["gap"], "relation")
