"""The drawing of a circuit: what is drawn where, and what a reader can do with it in a browser."""

from __future__ import annotations

import html as entities
import json
import math
import re
from itertools import combinations, pairwise

import networkx as nx
import pytest
from chromium import answer_of, needs_chromium, opened
from elements import Elements
from fake_traced import SMALL, circuit_of, large_circuit, small_circuit
from pages import EVIL

from locant.models.graph import Graph
from locant.reports.circuits import Note, circuit_block
from locant.reports.circuits.layout import GAP, lay_out, layer_of
from locant.reports.circuits.wiring import Line, lines_of, merged, network_of
from locant.reports.shell import read, shell
from locant.selections.circuits import Circuit, choose
from scored_graphs import scored

PACKAGE = "locant.reports.circuits"


def page_of(circuit: Circuit, notes: dict[str, Note] | None = None) -> str:
    style = read("page.css") + read("views.css") + read("circuit.css", PACKAGE)
    return shell("circuit", circuit_block(circuit, notes), {}, script=read("circuit.js", PACKAGE), style=style)


def paths(html: str, kind: str = "split") -> list[dict[str, str | None]]:
    """Attributes of the lines drawn, in the order they are drawn in."""
    found = [attrs for tag, attrs in Elements(html).found if tag == "path" and "data-place" in attrs]
    return [attrs for attrs in found if kind in (attrs["class"] or "").split()]


def crossings(lines: list[tuple[float, float]]) -> int:
    return sum((a - c) * (b - d) < 0 for (a, b), (c, d) in combinations(lines, 2))


# What is drawn


def test_every_edge_is_a_line_whose_colour_is_its_sign_and_whose_width_grows_with_its_size() -> None:
    drawn = paths(circuit_block(small_circuit()))
    names = sorted(SMALL, key=lambda name: abs(SMALL[name]))
    assert [int(one["data-place"] or "") for one in drawn] == list(reversed(range(len(SMALL))))
    tips = [(one["data-tip"] or "").split("\n")[0].replace(" → ", "->") for one in drawn]
    assert tips == names
    widths = [float(one["stroke-width"] or "") for one in drawn]
    assert all(thin < thick for thin, thick in pairwise(widths))
    for one, name in zip(drawn, names, strict=True):
        assert ("minus" in (one["class"] or "").split()) == (SMALL[name] < 0)


def test_width_follows_the_square_root_of_the_score() -> None:
    widths = {one["data-place"]: float(one["stroke-width"] or "") for one in paths(circuit_block(small_circuit()))}
    thinnest = 0.9
    strongest, quarter = widths["0"] - thinnest, widths["5"] - thinnest
    assert SMALL["a1.h1->output"] == 8 * -SMALL["a0.h0->a1.h1.q"]
    assert strongest / quarter == pytest.approx(math.sqrt(8), rel=0.01)


def test_what_a_head_reads_a_sender_for_is_told_by_dash_and_by_where_the_line_ends() -> None:
    scores = {f"m0->a1.h1.{part}": 1.0 for part in "qkv"} | {"a1.h1->output": 1.0}
    drawn = {one["class"]: one for one in paths(circuit_block(circuit_of(Graph.of_sizes(2, 2), scores)))}
    ends = {part: float((drawn[f"split plus part-{part}"]["d"] or "").split()[-2]) for part in "qkv"}
    assert ends["q"] < ends["k"] < ends["v"]
    style = read("circuit.css", PACKAGE)
    dashes = [re.search(rf"\.edges \.part-{part} {{ stroke-dasharray: (.*?);", style) for part in "qk"]
    assert all(dashes) and len({dash[1] for dash in dashes if dash}) == 2


def test_a_shared_key_is_drawn_to_the_heads_that_send_something_on() -> None:
    graph = Graph.of_sizes(2, 4, 2)
    one = lines_of(circuit_of(graph, {"m0->a1.h1.k": 1.0, "a1.h3->output": 1.0}))
    assert {line.name: line.ends for line in one}["m0->a1.h1.k"] == ("a1.h3",)
    none = lines_of(circuit_of(graph, {"m0->a1.h1.k": 1.0}))
    assert none[0].ends == ("a1.h2", "a1.h3")


SPANS = Graph.of_sizes(3, 4, 2, spans=("before", "subject", "last"))
"""A graph of three spans."""


def spanned(size: int = 150) -> Circuit:
    return choose(scored(SPANS), size)


def test_spans_are_columns_in_the_order_of_the_prompt_and_labels_leave_them_out() -> None:
    lines = lines_of(spanned())
    layout = lay_out(network_of(lines), 3, SPANS.spans)
    assert list(layout.spans) == list(SPANS.spans)
    for one, other in pairwise(layout.spans.values()):
        assert one[0] < one[1] == other[0] < other[1] <= layout.width
    for node, (x, _) in layout.nodes.items():
        left, right = layout.spans[SPANS.node(node).span or "last"]
        assert left < x < right, node
    rows = {(place[1], node.partition("@")[0]) for node, place in layout.nodes.items()}
    assert len(rows) == len({name for _, name in rows})
    block = circuit_block(spanned())
    assert re.findall(r'class="span"[^>]*>(\w+)<', block) == list(SPANS.spans)
    assert set(re.findall(r'<text y="4">(.*?)<', block)) == {name for _, name in rows}
    assert "m3@subject is an MLP at the subject" in block and "m3@subject" not in circuit_block(small_circuit())


def test_a_key_is_drawn_to_its_head_at_its_own_span_and_in_later_columns() -> None:
    key = "m0@subject->a1.h1.k@subject"
    names = [key, "a1.h3@last->output", "a1.h3@subject->m2@subject", "a1.h3@before->m2@before"]
    ends = {line.name: line.ends for line in lines_of(circuit_of(SPANS, dict.fromkeys(names, 1.0)))}
    assert ends[key] == ("a1.h3@subject", "a1.h3@last")


def test_merged_lines_have_the_sum_of_the_scores_of_their_parts() -> None:
    lines = merged(lines_of(small_circuit()))
    scores = {line.name: (line.part, line.score) for line in lines}
    assert scores["m0->a1.h1"] == ("kv", 1.75)
    assert scores["a0.h0->a1.h1"] == ("q", -0.5)
    assert [line.name for line in lines[:3]] == ["a1.h1->output", "input->a0.h0", "a0.h0->m0"]
    assert len(paths(circuit_block(small_circuit()), "merged")) == len(lines) == len(SMALL) - 1


def test_a_graph_whose_heads_read_once_has_nothing_to_merge() -> None:
    block = circuit_block(circuit_of(Graph.of_sizes(2, 2, split=False), {"input->a0.h0": 1.0, "a0.h0->output": 1.0}))
    assert not paths(block, "merged") and "Merge" not in block


def test_scores_that_are_no_numbers_are_drawn_thinnest() -> None:
    block = circuit_block(circuit_of(Graph.of_sizes(1, 1), {"input->m0": float("nan"), "m0->output": 1.0}))
    assert [one["stroke-width"] for one in paths(block)] == ["0.90", "6.00"]


def test_no_edges_are_said_in_words() -> None:
    block = circuit_block(circuit_of(Graph.of_sizes(2, 2), {}))
    assert Elements(block).text("p") == [
        "No edge is kept: nothing of the input reaches the output but what is ablated."
    ]
    assert "<svg" not in block


def test_the_table_lists_the_strongest_edges_with_their_scores() -> None:
    elements = Elements(circuit_block(small_circuit()))
    cells = elements.text("td")
    rows = [cells[at : at + 3] for at in range(0, len(cells), 3)]
    strongest = sorted(SMALL, key=lambda name: -abs(SMALL[name]))
    assert [row[1].replace(" → ", "->") for row in rows] == strongest
    assert [float(row[2].replace("−", "-")) for row in rows] == [SMALL[name] for name in strongest]
    assert elements.text("th")[2] == "score, logits"


# Where it is drawn


@pytest.mark.parametrize("edges", [30, 400])
def test_every_line_runs_upwards_and_heads_of_a_row_do_not_touch(edges: int) -> None:
    lines = lines_of(large_circuit(edges))
    places = lay_out(network_of(lines), 12).nodes
    assert all(places[line.start][1] > places[end][1] for line in lines for end in line.ends)
    rows: dict[float, list[float]] = {}
    for node, (x, y) in places.items():
        if node[0] == "a":
            rows.setdefault(y, []).append(x)
    gaps = [right - left for row in rows.values() for left, right in pairwise(sorted(row))]
    assert gaps and min(gaps) >= GAP - 1e-6


def test_nodes_stand_by_layer_and_inside_the_drawing() -> None:
    layout = lay_out(network_of(lines_of(large_circuit(400))), 12)
    heads = sorted((layer_of(node), -y) for node, (_, y) in layout.nodes.items() if node[0] == "a")
    assert heads == sorted(heads, key=lambda one: one[1])
    assert all(0 < x < layout.width and 0 < y < layout.height for x, y in layout.nodes.values())


def test_heads_that_are_joined_crosswise_are_put_where_their_lines_do_not_cross() -> None:
    lines = [Line("", f"a0.h{at}", (f"a1.h{5 - at}",), "v", 1.0) for at in range(6)]
    x = {node: place[0] for node, place in lay_out(network_of(lines), 2).nodes.items()}
    assert crossings([(at, 5 - at) for at in range(6)]) == 15
    assert crossings([(x[line.start], x[line.ends[0]]) for line in lines]) == 0


def test_layers_without_a_node_are_narrow() -> None:
    lines = [Line("", "a0.h0", ("a20.h0",), "v", 1.0)]
    layout = lay_out(network_of(lines), 24)
    assert layout.empty == frozenset(range(24)) - {0, 20}
    assert layout.layers[0] - layout.layers[20] < 24 * 20


# In a browser


def said(html: str, script: str) -> dict[str, object]:
    found = json.loads(entities.unescape(answer_of(html, script)))
    assert isinstance(found, dict)
    return found


READ = (
    "const lit = () => [...new Set([...document.querySelectorAll('.edges path:not(.off):not(.dim)')]"
    ".filter((one) => getComputedStyle(one).display !== 'none')"
    ".map((one) => one.dataset.tip.split('\\n')[0]))].sort();"
    "const say = (found) => { answer.textContent = JSON.stringify(found); };"
    "const node = (name) => document.querySelector(`[data-node='${name}']`);"
    "const press = (one, key) => one.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));"
    "const click = (one) => one.dispatchEvent(new MouseEvent('click', {bubbles: true}));"
)


def spelled(names: list[str]) -> list[str]:
    return sorted(name.replace("->", " → ") for name in names)


def boxed(found: object) -> list[float]:
    """The view box of a drawing: x, y, width and height."""
    assert isinstance(found, list) and len(found) == 4
    return found


@needs_chromium
def test_the_slider_shows_the_strongest_edges_alone() -> None:
    found = said(
        page_of(small_circuit()),
        READ + "const slider = document.querySelector('input'); const first = lit(); slider.value = 3;"
        "slider.dispatchEvent(new Event('input')); say({first, lit: lit(),"
        "shown: document.querySelector('.shown').textContent,"
        "dim: [...document.querySelectorAll('.node.dim')].map((one) => one.dataset.node)});",
    )
    strongest = sorted(SMALL, key=lambda name: -abs(SMALL[name]))[:3]
    assert found["first"] == spelled(list(SMALL))
    assert found["lit"] == spelled(strongest)
    assert found["shown"] == "3 of 8 edges"
    assert found["dim"] == []


@needs_chromium
@pytest.mark.parametrize("circuit", [large_circuit(100, 4, 4), spanned(60)], ids=["plain", "spans"])
def test_a_node_that_is_pressed_leaves_all_edges_on_ways_through_it_and_no_others(circuit: Circuit) -> None:
    network = nx.DiGraph()
    for line in lines_of(circuit):
        network.add_edges_from((line.start, end) for end in line.ends)
    nodes = sorted(network)
    inputs = [name for name in nodes if name.startswith("input")]
    ways = [way for one in inputs for way in nx.all_simple_edge_paths(network, one, "output")]
    found = said(
        page_of(circuit),
        READ + "const slider = document.querySelector('input'); slider.value = slider.max;"
        "slider.dispatchEvent(new Event('input'));"
        f"const found = {{}}; for (const name of {json.dumps(nodes)}) {{ click(node(name));"
        "found[name] = [...document.querySelectorAll('.edges .split:not(.dim)')]"
        ".map((one) => one.dataset.from + '>' + one.dataset.to); click(node(name)); } say(found);",
    )
    for name in nodes:
        through = {edge for way in ways if any(name in edge for edge in way) for edge in way}
        lit = found[name]
        assert isinstance(lit, list)
        assert set(lit) == {">".join(edge) for edge in through}, name
    assert len(ways) > 20 and any(found[name] for name in nodes)
    # What is chosen has no dead ends
    assert any(not found[name] for name in nodes) != bool(circuit.graph.spans)


@needs_chromium
def test_the_toggle_draws_one_line_for_query_key_and_value() -> None:
    found = said(
        page_of(small_circuit()),
        READ + "const button = document.querySelector('[data-do=merge]'); button.click(); const one = lit();"
        "const pressed = button.getAttribute('aria-pressed'); const most = document.querySelector('input').max;"
        "button.click(); say({merged: one, pressed, most, apart: lit()});",
    )
    assert found["merged"] == spelled([line.name for line in merged(lines_of(small_circuit()))])
    assert (found["pressed"], found["most"]) == ("true", "7")
    assert found["apart"] == spelled(list(SMALL))


@needs_chromium
def test_keys_move_from_node_to_node_press_it_and_let_it_go() -> None:
    found = said(
        page_of(small_circuit()),
        READ + "const at = () => document.activeElement.dataset.node; const seen = []; node('input').focus();"
        "for (const key of ['ArrowUp', 'ArrowUp', 'ArrowUp', 'ArrowDown', 'ArrowDown', 'ArrowRight'])"
        "{ press(document.activeElement, key); seen.push(at()); }"
        "press(document.activeElement, 'Enter'); const told = document.querySelector('.through').textContent;"
        "const stops = document.querySelectorAll('.node[tabindex=\"0\"]').length;"
        "press(document.activeElement, 'Escape'); say({seen, told, stops, after: lit().length,"
        "rest: document.querySelector('.through').textContent});",
    )
    assert found["seen"] == ["a0.h0", "a1.h1", "output", "a1.h1", "a0.h0", "m0"]
    assert found["told"] == "7 edges on ways through m0"
    assert (found["stops"], found["after"], found["rest"]) == (1, 8, "Press a node to see the ways through it.")


@needs_chromium
def test_buttons_keys_and_the_wheel_zoom_and_never_leave_the_drawing() -> None:
    found = said(
        page_of(small_circuit()),
        READ + "const svg = document.querySelector('svg.wires'); const box = () => svg.getAttribute('viewBox')"
        ".split(' ').map(Number); const zoom = (name) => document.querySelector(`[data-do=${name}]`).click();"
        "const wheel = () => svg.dispatchEvent(new WheelEvent('wheel', {deltaY: -300, bubbles: true,"
        "cancelable: true, clientX: svg.getBoundingClientRect().x, clientY: svg.getBoundingClientRect().y}));"
        "const all = box(); const unfocused = wheel(); const same = box(); zoom('in'); const near = box();"
        "svg.focus(); for (let i = 0; i < 40; i++) press(svg, 'ArrowRight'); const right = box();"
        "for (let i = 0; i < 40; i++) press(svg, '+'); const nearest = box(); press(svg, '0'); const back = box();"
        "const focused = wheel(); say({all, unfocused, same, near, right, nearest, back, focused, wheeled: box()});",
    )
    whole, near, right, nearest, wheeled = (
        boxed(found[name]) for name in ("all", "near", "right", "nearest", "wheeled")
    )
    assert found["same"] == found["back"] == whole and found["unfocused"] is True and found["focused"] is False
    assert near[2] == pytest.approx(whole[2] / 1.5, rel=1e-3)
    assert near[0] + near[2] / 2 == pytest.approx(whole[2] / 2, rel=1e-3)
    assert right[0] + right[2] == pytest.approx(whole[2], rel=1e-3) and right[0] > near[0]
    assert nearest[2] == pytest.approx(whole[2] / 12, rel=1e-3)
    assert wheeled[2] < whole[2] and wheeled[0] == pytest.approx(0, abs=1)


@needs_chromium
def test_dragging_moves_what_is_in_view_and_presses_nothing() -> None:
    found = said(
        page_of(small_circuit()),
        READ + "const svg = document.querySelector('svg.wires'); svg.setPointerCapture = () => {};"
        "const at = () => svg.getAttribute('viewBox').split(' ').map(Number);"
        "const box = svg.getBoundingClientRect(); const send = (type, x, buttons) =>"
        "svg.dispatchEvent(new PointerEvent(type, {clientX: box.x + x,"
        "clientY: box.y + 50, buttons, bubbles: true, isPrimary: true}));"
        "document.querySelector('[data-do=in]').click();"
        "const before = at(); send('pointerdown', 100, 1); send('pointermove', 140, 1); click(node('m0'));"
        "say({before, after: at(), scale: svg.getScreenCTM().a, pressed: node('m0').getAttribute('aria-pressed')});",
    )
    before, after, scale = boxed(found["before"]), boxed(found["after"]), found["scale"]
    assert isinstance(scale, float) and before[0] - after[0] == pytest.approx(40 / scale, rel=0.02)
    assert before[1:] == after[1:] and found["pressed"] == "false"


@needs_chromium
def test_what_is_pointed_at_is_described_and_markup_in_it_is_text() -> None:
    notes = {"a1.h1": Note(EVIL, ("<b>x</b>", " Paris"), 2)}
    html = page_of(small_circuit(), notes)
    found = said(
        html,
        READ + "const tip = document.querySelector('.tip'); const point = (one) => { const box ="
        " one.getBoundingClientRect(); document.querySelector('svg.wires').dispatchEvent(new PointerEvent("
        "'pointermove', {clientX: box.x + box.width / 2, clientY: box.y + box.height / 2, bubbles: true}));"
        "return [...tip.children].map((one) => one.textContent); };"
        "const told = point(node('a1.h1')); const inside = tip.querySelectorAll('img, b b, script').length;"
        "const wire = document.querySelector('.edges .minus'); const middle = wire.getPointAtLength("
        "wire.getTotalLength() / 2).matrixTransform(wire.getScreenCTM());"
        "document.querySelector('svg.wires').dispatchEvent(new PointerEvent('pointermove',"
        "{clientX: middle.x, clientY: middle.y, bubbles: true})); say({told, inside, edge: [...tip.children]"
        ".map((one) => one.textContent), pointed: document.querySelectorAll('.pointed').length});",
    )
    assert found["told"] == [
        "a1.h1", f"role: {EVIL}", "writes <b>x</b>  ␣Paris", "the answer is number 2 of what it writes"
    ]  # fmt: skip
    assert found["inside"] == 0
    assert found["edge"] == ["a0.h0 → a1.h1.q", "score −0.500 logits", "read for q"] and found["pointed"] == 1
    assert not [attrs for _, attrs in Elements(html).found for name in attrs if name.startswith("on")]


@needs_chromium
def test_an_edge_of_the_table_is_shown_in_the_drawing() -> None:
    found = said(
        page_of(small_circuit()),
        READ + "const button = document.querySelectorAll('button[data-edge]')[2]; const tips = () =>"
        " [...document.querySelectorAll('.pointed')].map((one) => one.dataset.tip.split('\\n')[0]);"
        "button.focus(); const apart = tips(); button.blur(); const none = tips();"
        "document.querySelector('[data-do=merge]').click(); button.focus(); say({apart, none, merged: tips(),"
        "text: button.textContent});",
    )
    assert found["apart"] == found["merged"] == [found["text"]] == ["a0.h0 → m0"]
    assert found["none"] == []


@needs_chromium
@pytest.mark.parametrize("edges", [30, 1500])
def test_circuits_of_any_size_open_without_a_complaint(edges: int) -> None:
    seen = opened(page_of(large_circuit(edges, 24, 16)))
    assert seen.console == ()
    assert Elements(seen.dom).text("output")[0] == f"{min(edges, 40)} of {edges:,} edges"
