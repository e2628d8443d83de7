"""A circuit comes back from its file as it was, and whatever else is in a file is refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import networkx as nx
import pytest
import torch
from safetensors.torch import save_file

from locant.errors import BadFile
from locant.selections.circuits import Circuit, choose, load_circuit, network, random_circuit, save_circuit
from scored_graphs import GRAPHS, scored


@pytest.fixture(params=sorted(GRAPHS))
def circuit(request: pytest.FixtureRequest) -> Circuit:
    return choose(scored(GRAPHS[request.param]), 25)


@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_a_circuit_comes_back_as_it_was(circuit: Circuit, ending: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / f"one.{ending}"
    assert save_circuit(circuit, path) == path and [one.name for one in path.parent.iterdir()] == [path.name]
    found = load_circuit(path)
    assert found.graph == circuit.graph and found.made_by == circuit.made_by
    assert torch.equal(found.keep, circuit.keep) and found.edges == circuit.edges
    kept = circuit.scores if ending == "safetensors" else circuit.scores * circuit.keep
    assert torch.equal(found.scores, kept)
    random = random_circuit(circuit, 0)
    assert torch.equal(load_circuit(save_circuit(random, path)).keep, random.keep)


def test_a_json_file_reads_as_a_list_of_edges_the_strongest_first(tmp_path: Path) -> None:
    circuit = choose(scored(GRAPHS["split"]), 12)
    content = json.loads(save_circuit(circuit, tmp_path / "one.json").read_text(encoding="utf-8"))
    assert tuple(content["edges"]) == circuit.edges
    strengths = [abs(score) for score in content["edges"].values()]
    assert strengths == sorted(strengths, reverse=True) and strengths[0] > 0


def test_networkx_reads_the_drawing_with_every_edge_and_where_nodes_are(circuit: Circuit, tmp_path: Path) -> None:
    found = nx.read_graphml(save_circuit(circuit, tmp_path / "one.graphml"), force_multigraph=True)
    assert set(found.nodes) == set(circuit.nodes)
    edges = {(sender, about["receiver"]): about["score"] for sender, _, about in found.edges(data=True)}
    expected = dict(zip(circuit.edges, circuit.scores[circuit.keep], strict=True)).keys()
    assert {f"{sender}->{receiver}" for sender, receiver in edges} == expected
    for (sender, receiver), score in edges.items():
        assert score == pytest.approx(float(circuit.scores[circuit.graph.keeping([f"{sender}->{receiver}"])]))
    for sender, node, about in found.edges(data=True):
        fed = circuit.graph.feeds[circuit.graph.receiver(about["receiver"])]
        assert node == "output" or bool(fed[circuit.graph.sender(node)]), (sender, node)
    for name, about in found.nodes(data=True):
        assert about.get("span", "") == name.partition("@")[2]
    kinds = {name.partition("@")[0]: (about["kind"], about["layer"]) for name, about in found.nodes(data=True)}
    assert kinds["input"] == ("input", -1) and kinds["output"] == ("output", circuit.graph.layers)
    for name, (kind, layer) in kinds.items():
        assert kind in ("input", "output") or name.startswith(f"{'a' if kind == 'head' else 'm'}{layer}")
    assert json.loads(found.graph["made_by"])["method"] == "choose"


def test_a_head_may_be_reached_as_query_key_and_value_and_a_shared_key_reaches_all_that_send() -> None:
    graph = GRAPHS["shared keys"]
    names = ["input->a1.h0.q", "input->a1.h0.k", "input->a1.h0.v", "a1.h0->output", "a1.h1->output"]
    keep = graph.keeping(names)
    made = network(Circuit(graph, keep, keep.double(), choose(scored(graph), 1).made_by))
    assert set(made["input"]["a1.h0"]) == {"q", "k", "v"} and set(made["input"]["a1.h1"]) == {"k", "v"}
    assert set(made.nodes) == {"input", "a1.h0", "a1.h1", "output"} and set(made["a1.h0"]["output"]) == {"output"}
    assert made.nodes["a1.h0"] == {"kind": "head", "layer": 1, "head": 0}


def test_endings_without_a_form_are_refused(tmp_path: Path) -> None:
    circuit = choose(scored(GRAPHS["split"]), 5)
    with pytest.raises(BadFile, match=r"cannot write a circuit to '.*one.txt': .* none of .json, .safetensors"):
        save_circuit(circuit, tmp_path / "one.txt")
    with pytest.raises(BadFile, match=r"cannot read a circuit from '.*one.graphml': .* none of .json, .safetensors"):
        load_circuit(save_circuit(circuit, tmp_path / "one.graphml"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: content.pop("graph"), "it has no 'graph'"),
        (lambda content: content["graph"].update(layers=0), "no graph of 0 layers"),
        (lambda content: content["graph"].update(layers="2"), "no saved circuit"),
        (lambda content: content["edges"].update({"m1->m0": 1.0}), "no edge 'm1->m0'"),
        (lambda content: content["edges"].update({"m0->m1": "much"}), "could not convert"),
        (lambda content: content.update(edges=[]), "no saved circuit"),
        (lambda content: content["made_by"].pop("parents"), "it has no 'parents'"),
        (lambda content: content.update(made_by=3), "no saved circuit"),
    ],
)
def test_a_file_that_is_no_circuit_is_refused(change: object, says: str, tmp_path: Path) -> None:
    path = save_circuit(choose(scored(GRAPHS["split"]), 5), tmp_path / "one.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)  # type: ignore[operator]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(BadFile, match="no saved circuit") as refused:
        load_circuit(path)
    assert says in str(refused.value)


@pytest.mark.parametrize("text", [None, "", "[1]", "{", "\xff"])
@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_a_file_that_is_missing_or_something_else_is_refused(text: str | None, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"one.{ending}"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadFile, match="is no saved circuit"):
        load_circuit(path)


def test_dense_files_of_another_graph_are_refused(tmp_path: Path) -> None:
    circuit = choose(scored(GRAPHS["split"]), 5)
    path = save_circuit(circuit, tmp_path / "one.safetensors")
    other = choose(scored(GRAPHS["merged"]), 5)
    about = {"graph": json.dumps({"layers": 2, "heads": 2, "groups": 2, "split": True, "parallel": False})}
    about["made_by"] = json.dumps({"method": "choose", "parents": []})
    save_file({"keep": other.keep, "scores": other.scores}, path, metadata=about)
    with pytest.raises(BadFile, match=r"its keep are \(10, 10\), its graph is \(7, 15\)"):
        load_circuit(path)
    save_file({"keep": ~circuit.keep, "scores": circuit.scores}, path, metadata=about)
    with pytest.raises(BadFile, match="edges that its graph has not"):
        load_circuit(path)
