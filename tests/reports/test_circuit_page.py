"""The page of one prompt's circuit: its numbers are the data's, and it says no more than they allow."""

from __future__ import annotations

import html as entities
import re
from dataclasses import replace

import pytest
from chromium import needs_chromium
from elements import Elements
from fake_traced import circuit_of, fake_traced, large_circuit, with_standings
from pages import (
    EVIL,
    draws_every_figure_that_is_to_be_seen,
    every_figure_has_an_element_and_a_table,
    figures_of,
    figures_take_markup_as_text,
    fits_a_narrow_screen,
    headings,
    markup_stays_text,
    nothing_is_fetched_and_links_lead_into_the_page,
    opens_without_a_complaint,
)

from locant.models.graph import Graph
from locant.recipes.traced import HeadPattern, LayerCurve, NodeReading, Standing, Traced, Worth
from locant.reports.circuits import circuit_page
from locant.reports.circuits.finding import faithfulness, finding, verdict


@pytest.fixture(scope="module")
def plain() -> str:
    return circuit_page(fake_traced())


@pytest.fixture(scope="module")
def evil() -> str:
    traced = fake_traced(prompt=EVIL, answer=EVIL, role=EVIL, token=EVIL)
    fact = replace(traced.query.fact, subject=EVIL)
    return circuit_page(
        replace(
            traced,
            query=replace(traced.query, fact=fact),
            counterfactual=replace(traced.query, uid="o"),
            model=EVIL,
            tokens=(EVIL, *traced.tokens[1:]),
            command=EVIL,
            made_by=replace(traced.made_by, settings={EVIL: EVIL}),
        )
    )


def bare() -> Traced:
    """A prompt's circuit with no more than must be known of it."""
    traced = with_standings(fake_traced(), complement=None, empty=None, random=())
    return replace(
        traced, counterfactual=None, top_answers=(), curve=None, tokens=(), patterns=(), readings=(), command=""
    )


def table_of(html: str, section: str) -> list[list[str]]:
    """The rows of the first table of a section, as text."""
    start = html.index(f'<section id="{section}"')
    inside = html[start : html.index("</section>", start)]
    table = inside[inside.index("<tbody>") : inside.index("</tbody>")]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in table.split("</tr>") if row]
    return [[entities.unescape(re.sub(r"<[^>]+>", "", cell)) for cell in row] for row in rows]


# Safe


def test_markup_in_data_stays_text(evil: str) -> None:
    markup_stays_text(evil, f"{EVIL} ", "h1", "dd", "td", "th", "pre", "p", "span")
    figures_take_markup_as_text(evil)


def test_the_page_asks_nothing_of_the_network(plain: str, evil: str) -> None:
    for html in (plain, evil):
        nothing_is_fetched_and_links_lead_into_the_page(html)


def test_figures_have_elements_and_tables(plain: str) -> None:
    assert every_figure_has_an_element_and_a_table(plain) == 2


def test_equal_data_give_equal_bytes(plain: str) -> None:
    assert circuit_page(fake_traced()) == plain


# True


def test_the_head_says_the_numbers_of_the_circuit_and_its_controls(plain: str) -> None:
    elements = Elements(plain)
    assert elements.text("h1") == ["The capital of France is Paris"]
    graph_edges = int(fake_traced().circuit.graph.edges.sum())
    assert elements.text("dd")[:5] == ["almanac", "91.3%", "1", f"8 of {graph_edges} (17%)", "0.85"]
    assert finding(fake_traced()) == (
        f"8 of {graph_edges} edges (17%) give P(Paris) 87.1% (rank 1); the whole model gives 91.3% (rank 1); all "
        "other edges without them give 2.1% (rank 17); 3 random circuits of this size give 0.6% on average."
    )
    assert finding(fake_traced()) in elements.text("p")
    assert "Counterfactual: The capital of Germany is Berlin" in elements.text("p")


def test_the_bars_are_the_answers_standings(plain: str) -> None:
    assert [[row[0], row[2], row[3]] for row in table_of(plain, "parts")] == [
        ["all: the model", "91.3%", "1"],
        ["the circuit alone", "87.1%", "1"],
        ["all but the circuit", "2.1%", "17"],
        ["random, mean of 3", "0.6%", "210"],
        ["random, best of 3", "0.9%", "100"],
        ["none", "0.4%", "203"],
    ]
    assert 'style="width:87.10%"' in plain
    assert "with all edges, 7.50 with the circuit’s, −1.00 with none" in plain


def test_faithfulness_is_the_part_of_what_all_edges_bring() -> None:
    assert faithfulness(fake_traced()) == "0.85"
    for given, said in (((2.0, 3.0, 1.0), "2.00"), ((2.0, 0.5, 1.0), "−0.50"), ((1.0, 3.0, 1.0), "undefined")):
        assert faithfulness(replace(fake_traced(), faithfulness=Worth("kl", "nats", *given))) == said


def test_the_curves_are_the_streams_ranks_and_probabilities(plain: str) -> None:
    figures = figures_of(plain)
    curve = fake_traced().curve
    assert curve is not None
    for name, part in (("layer-rank", "rank"), ("layer-probability", "probability")):
        figure = figures[name]
        assert isinstance(figure, dict)
        drawn = [trace["y"] for trace in figure["data"]]
        assert drawn == [[getattr(one, part) for one in line] for line in (curve.answer, curve.subject)]
    assert table_of(plain, "layers")[2] == ["after m0", "1", "30.0%", "3", "10.0%"]


@pytest.mark.parametrize(
    ("ranks", "said"),
    [
        ((9, 4, 1, 2, 1), "The residual stream says “Paris” first from m1 on"),
        ((9, 4, 1, 1, 1), "The residual stream says “Paris” first from m0 on"),
        ((1, 1, 1, 1, 1), "The residual stream says “Paris” first from input on"),
        ((9, 1, 1, 1, 2), "The residual stream never says “Paris” first for good"),
    ],
)
def test_the_layer_named_is_that_from_which_the_answer_stays_first(ranks: tuple[int, ...], said: str) -> None:
    points = ("input", "after a0", "after m0", "after a1", "after m1")
    curve = LayerCurve(points, tuple(Standing(0.5, rank) for rank in ranks))
    assert said in headings(circuit_page(replace(fake_traced(), curve=curve)))


def test_the_nodes_are_listed_with_what_they_write_and_attend_to(plain: str) -> None:
    assert table_of(plain, "nodes") == [
        ["a0.h0", "relation", "12%", "75%", "812", "␣is ↵"],
        ["m0", "", "", "", "3", "␣Paris ␣Lyon"],
        ["a1.h1", "mover", "62%", "25%", "1", "␣Paris ␣France"],
    ]
    assert "Heads by what they do: 1 relation, 1 mover" in headings(plain)


def test_attention_is_shaded_and_written_by_its_weight(plain: str) -> None:
    assert table_of(plain, "patterns") == [["a1.h1", "mover", "10", "5", "", "62", "22"]]
    shades = re.findall(r'<td style="--weight:(\d+)%" title="([^"]*)"', plain)
    said = [("10", "The: 10.0%"), ("5", "␣capital: 5.0%"), ("0", "␣of: 0.1%"), ("62", "␣France: 62.5%")]
    assert shades == [*said, ("22", "␣is: 22.4%")]


def test_the_drawing_knows_the_nodes_roles(plain: str) -> None:
    mover = next(attrs for _, attrs in Elements(plain).found if attrs.get("data-node") == "a1.h1")
    assert mover["data-tip"] == "a1.h1\nrole: mover\nwrites ␣Paris  ␣France\nthe answer is number 1 of what it writes"


def test_the_settings_are_those_of_the_choice_and_of_the_judging(plain: str) -> None:
    start = plain.index("<h3>Settings</h3>")
    terms = Elements(plain[start : plain.index("</dl>", start)])
    said = dict(zip(terms.text("dt"), terms.text("dd"), strict=True))
    assert (said["chosen by"], said["k"], said["metric"], said["random circuits"]) == (
        "top",
        "9",
        "logit_difference",
        "3",
    )
    assert said["graph"] == "2 layers × 2 heads, queries, keys and values apart"
    assert Elements(plain).text("pre") == ["locant circuit 'The capital of France is' --answer Paris"]


@pytest.mark.parametrize(
    ("circuit", "random", "complement", "said"),
    [
        (0.9, (0.1, 0.2), 0.01, "and no random circuit of its size does as well; without it the answer is lost."),
        (0.9, (0.1, 0.2), 0.8, "but the model also answers without it: other edges carry the answer too."),
        (0.9, (0.1, 0.95), 0.01, "1 of 2 random circuits of this size do as well: this does not show"),
        (0.9, (), 0.01, "There is no random circuit to compare this with."),
        (0.9, (0.1,), None, "Whether the model could do without it was not measured."),
        (0.3, (0.1,), 0.01, "The circuit alone does not bring the answer"),
    ],
)
def test_the_verdict_is_no_stronger_than_the_controls_allow(
    circuit: float, random: tuple[float, ...], complement: float | None, said: str
) -> None:
    traced = with_standings(
        fake_traced(),
        circuit=Standing(circuit, 1),
        random=tuple(Standing(one, 5) for one in random),
        complement=None if complement is None else Standing(complement, 5),
    )
    assert said in verdict(traced)
    assert said in Elements(circuit_page(traced)).text("p", **{"class": "verdict"})[0]


def test_what_was_not_measured_has_no_place_on_the_page() -> None:
    html = circuit_page(bare())
    assert re.findall(r'<section id="([^"]*)"', html) == ["circuit", "parts"]
    assert [row[0] for row in table_of(html, "parts")] == ["all: the model", "the circuit alone"]
    assert figures_of(html) == {} and "<pre>" not in html and "Counterfactual" not in html
    assert "what is written ablated is brought" in html.replace("\n", " ")


def test_nodes_that_only_write_are_listed_without_attention() -> None:
    html = circuit_page(replace(fake_traced(), readings=(NodeReading("m0", tokens=(" Paris",), rank=2),)))
    assert table_of(html, "nodes") == [["m0", "", "2", "␣Paris"]]
    assert "What the circuit’s nodes write" in headings(html)


def test_an_empty_circuit_has_a_page_too() -> None:
    html = circuit_page(fake_traced(circuit_of(Graph.of_sizes(2, 2), {})))
    assert "The circuit: 0 edges between 0 nodes" in headings(html)
    assert "No edge is kept" in html


# In a browser


@needs_chromium
def test_the_page_opens_without_a_complaint_and_draws_its_figures(plain: str, evil: str) -> None:
    for html in (plain, evil, circuit_page(bare()), circuit_page(fake_traced(large_circuit(300)))):
        opens_without_a_complaint(html)
    assert draws_every_figure_that_is_to_be_seen(plain) == 2


@pytest.mark.slow
@needs_chromium
def test_a_narrow_screen_need_not_scroll_sideways(evil: str) -> None:
    fits_a_narrow_screen(evil)
    many = tuple(HeadPattern("a1.h1", (0.025,) * 40) for _ in range(3))
    long = replace(fake_traced(large_circuit(300)), tokens=(" word",) * 40, patterns=many)
    fits_a_narrow_screen(circuit_page(long))


def test_a_divergence_is_told_as_one_whose_zero_is_the_model():
    found = Worth("kl", "nats", 0.0, -0.5, -2.0)
    assert (found.share, found.divergence) == (0.75, (0.5, 2.0))
    assert Worth("logit_difference", "logits", 9.0, 8.0, 0.0).divergence is None
    said = circuit_page(replace(fake_traced(), faithfulness=found))
    assert "the divergence is 2.00 nats with no edge, 0.500 with the circuit’s, and 0 is as the model" in said
