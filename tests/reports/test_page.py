"""The page of one question: what it says, that it is safe, and that it works in a browser."""

from __future__ import annotations

import base64
import hashlib
import html as entities
import json
import re
import shlex
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
import torch
from chromium import answer_of, needs_chromium, opened
from elements import Elements
from fake_asked import fake_asked, with_setting
from pages import fits_a_narrow_screen

from locant.reports import page
from locant.reports.finding import finding, verdict
from locant.reports.heat_map import PackedGrid, pack, unpack
from locant.reports.numbers import change, probability, relative
from locant.reports.text import plotly, visible
from locant.types import Interval

EVIL = "<script>alert(1)</script> <!-- \"&' $prompt is"
EVIL_ANSWER = "</script><b>x</b>"


@pytest.fixture(scope="module")
def plain() -> str:
    return page(fake_asked())


@pytest.fixture(scope="module")
def evil() -> str:
    top = ((EVIL_ANSWER, 0.6), ("<img src=x onerror=alert(3)>", 0.2), (" ", 0.1))
    asked = fake_asked(
        prompt=EVIL,
        answer=EVIL_ANSWER,
        model="<img src=x onerror=alert(2)>",
        top_answers=top,
        language='en"><b>',
    )
    return page(with_setting(asked, "note", "<script>alert(4)</script>"))


def _embedded(html: str, name: str) -> dict:
    return json.loads(Elements(html).text("script", id=name)[0])


# Text stays text


def test_prompts_answers_models_and_settings_with_markup_stay_text(plain, evil):
    elements = Elements(evil)
    assert elements.text("h1") == [f"{EVIL} {EVIL_ANSWER}"]
    assert "<img src=x onerror=alert(2)>" in elements.text("dd")
    assert "<script>alert(4)</script>" in elements.text("dd")
    assert shlex.split(elements.text("pre")[0])[2:5] == [EVIL, "--answer", EVIL_ANSWER]
    assert sum(tag == "script" for tag, _ in elements.found) == 4
    assert not [tag for tag, _ in elements.found if tag == "img"]
    assert not [name for _, attrs in elements.found for name in attrs if name.startswith("on")]


def test_the_embedded_json_cannot_end_its_script(evil):
    start = evil.index('<script type="application/json"')
    data = evil[start : evil.index("<script>", start)]
    assert data.count("</") == 2
    assert "<!--" not in data


@needs_chromium
def test_a_browser_too_sees_markup_in_data_as_text(plain, evil):
    ours, theirs = Elements(opened(plain).dom), Elements(opened(evil).dom)
    assert theirs.text("h1") == [f"{EVIL} {EVIL_ANSWER}"]
    count = [[tag for tag, _ in one.found].count("script") for one in (ours, theirs)]
    assert count[0] == count[1]
    assert not [attrs for tag, attrs in theirs.found if tag == "img" and attrs.get("src") == "x"]
    assert opened(evil).console == ()


@needs_chromium
def test_markup_in_a_token_is_shown_as_it_is_by_plotlys_hover(plain):
    text = answer_of(
        plain,
        "Plotly.Fx.hover('map', [{curveNumber: 1, pointNumber: 0}]);"
        "answer.textContent = document.querySelector('#map .hoverlayer').textContent;",
    )
    assert "demotes the, of, <b>x</b>, a" in entities.unescape(text)


def test_reordering_characters_and_white_space_are_made_visible():
    shown = {"": "∅", " ": "␣", "\n\t": "↵⇥", " the": "␣the", "a\nb": "a↵b", "\u200b": "U+200B"}
    assert {token: visible(token) for token in shown} == shown
    assert "\u202e" not in plotly("a\u202eb") and "\x00" not in plotly("a\x00b")


def test_a_prompt_that_is_not_unicode_can_still_be_written():
    assert "cafU+DCE9 is" in page(fake_asked(prompt="caf\udce9 is")).encode().decode()


# Nothing from outside


def test_nothing_is_fetched_from_anywhere(evil):
    elements = Elements(evil)
    for tag, attrs in elements.found:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in {"src", "href", "xlink:href", "data", "action", "poster", "srcset"} & attrs.keys():
            assert (attrs[name] or "").startswith("#"), f"<{tag} {name}={attrs[name]!r}>"
    style = elements.text("style")[0]
    assert "url(" not in style and "@import" not in style


def test_the_policy_names_the_pages_own_scripts_and_no_network(plain):
    elements = Elements(plain)
    policy = next(attrs["content"] for tag, attrs in elements.found if "http-equiv" in attrs)
    assert policy is not None and policy.startswith("default-src 'none';")
    assert "http" not in policy and "connect-src" not in policy
    scripts = [
        "".join(text)
        for (tag, attrs), text in zip(elements.found, elements.texts, strict=True)
        if tag == "script" and "type" not in attrs
    ]
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    assert policy.partition("script-src ")[2].split() == [f"'sha256-{one}'" for one in hashes]


@needs_chromium
def test_a_script_that_is_not_the_pages_own_does_not_run(plain):
    seen = opened(plain.replace("</body>", "<script>document.title = 'taken over'</script></body>"))
    assert Elements(seen.dom).text("title")[0] == "The capital of France is Paris"
    assert len(seen.console) == 1 and "Content Security Policy" in seen.console[0]


# In a browser


@needs_chromium
@pytest.mark.parametrize(("layers", "neurons"), [(4, 512), (32, 11008)])
def test_the_page_opens_without_a_complaint_and_draws_its_figures(layers, neurons):
    seen = opened(page(fake_asked(layers, neurons)))
    assert seen.console == ()
    elements = Elements(seen.dom)
    drawn = [attrs.get("class") or "" for tag, attrs in elements.found if tag == "svg"]
    assert sum("main-svg" in name for name in drawn) >= 4
    images = [attrs for tag, attrs in elements.found if tag == "image"]
    assert any((attrs.get("xlink:href") or "").startswith("data:image/png") for attrs in images)
    assert elements.text("output") == [f"all {neurons:,} neurons"]
    rings = re.search(r'<g class="points">(.*?)</g>', seen.dom[seen.dom.index('id="map"') :], re.S)
    assert rings is not None and rings[1].count("<path") == 20


@needs_chromium
def test_a_narrow_screen_need_not_scroll_sideways(evil):
    fits_a_narrow_screen(evil)


@needs_chromium
def test_a_neurons_link_zooms_the_map_down_to_single_neurons():
    asked = fake_asked(12, 3072)
    layer, neuron = asked.selection.units[7].tolist()
    assert f'href="#L{layer}.N{neuron}"' in page(asked)
    seen = opened(page(asked), f"#L{layer}.N{neuron}")
    assert seen.console == ()
    first = min(max(neuron - 24, 0), 3072 - 49)
    assert Elements(seen.dom).text("output") == [f"neurons {first:,}–{first + 48:,}"]


@needs_chromium
def test_zooming_to_any_range_shows_whole_neurons_with_their_own_scores(plain):
    found = answer_of(
        plain,
        "Plotly.relayout('map', {'xaxis.range': [99.8, 140.1]}).then(() => setTimeout(() => {"
        "const cells = document.getElementById('map').data[0];"
        "answer.textContent = JSON.stringify({x: cells.x, z: cells.z, text: cells.hovertext[3][0]});"
        "}, 100));",
    )
    cells = json.loads(entities.unescape(found))
    assert np.array_equal(np.diff(cells["x"]), np.ones(len(cells["x"]) - 1))
    first = int(cells["x"][0] + 0.5)
    assert first == 100 and len(cells["z"][0]) == 40
    scores = fake_asked().attribution.scores[0]
    z = torch.tensor(cells["z"], dtype=torch.float64)
    back = z.sign() * z.square() * scores.abs().max()
    assert torch.allclose(back, scores[:, 100:140].double(), atol=float(scores.abs().max()) / 32767)
    assert cells["text"].startswith("layer 3, neuron 100<br>score ")


@needs_chromium
def test_every_column_shows_its_strongest_neuron_as_numpy_finds_it():
    scores = torch.randn(3, 1000, generator=torch.Generator().manual_seed(0))
    scores[1, 40:80] = float("nan")
    grid = pack(scores)
    views = [(0, 1000, 317), (120, 457, 50), (30, 90, 400), (999, 1000, 5)]
    found = answer_of(
        f"<body><script>{(files('locant.reports') / 'bins.js').read_text()}</script></body>",
        f"const grid = {json.dumps(vars(grid))}; const scores = unpack(grid);"
        f"answer.textContent = JSON.stringify({json.dumps(views)}.map(([from, to, count]) => {{"
        "const edges = edgesOf(from, to, count); return [edges, strongest(scores, grid, edges)]; }));",
    )
    known = unpack(grid).abs().nan_to_num(-1).numpy()
    for (start, end, count), (edges, winners) in zip(views, json.loads(found), strict=True):
        assert edges[0] == start and edges[-1] == end and len(edges) == min(count, end - start) + 1
        assert min(np.diff(edges)) >= 1 and np.ptp(np.diff(edges)) <= 1
        for low, high, *column in zip(edges, edges[1:], *winners, strict=False):
            best = low + known[:, low:high].argmax(axis=1)
            best[known[:, low:high].max(axis=1) < 0] = -1
            assert column == best.tolist()


# What the page says


def test_equal_questions_give_equal_bytes():
    assert page(fake_asked()) == page(fake_asked())


def test_the_embedded_grid_is_the_scores_to_half_a_step():
    asked = fake_asked(12, 3072)
    grid = PackedGrid(**_embedded(page(asked), "grid-data"))
    scores = asked.attribution.scores[0].double()
    assert (unpack(grid) - scores).abs().max() <= grid.step * 0.5000001
    assert grid.step == pytest.approx(float(scores.abs().max()) / 32767)


def test_scores_that_are_not_finite_are_missing_and_zeros_are_zero():
    scores = torch.tensor([[0.5, float("nan")], [float("-inf"), 0.0]])
    assert unpack(pack(scores)).nan_to_num(9.0).tolist() == [[pytest.approx(0.5), 9.0], [9.0, 0.0]]
    assert unpack(pack(torch.zeros(2, 3))).tolist() == torch.zeros(2, 3).tolist()


def test_the_finding_gives_the_numbers_of_the_effect_and_of_both_controls(plain):
    said = (
        "Silencing 20 of 2,048 neurons takes P(Paris) from 99.1% to 3.2% (−97%); 20 random neurons of the "
        "same layers change it by −1% [−2, 0]; 60 unrelated facts change by −4% [−7, −2]."
    )
    assert finding(fake_asked()).replace("\u00a0", " ") == said
    assert Elements(plain).text("p", **{"class": "finding"})[0].replace("\u00a0", " ") == said


@pytest.mark.parametrize(
    ("suppressed", "unrelated", "said"),
    [
        (
            -0.968,
            -0.043,
            "Random neurons do not do this, and unrelated facts change less than a tenth as much.",
        ),
        (-0.6, -0.2, "Random neurons do not do this, and unrelated facts change less than half as much."),
        (-0.6, -0.5, "Random neurons do not do this, but unrelated facts change at least half as much"),
        (-0.6, 0.5, "Random neurons do not do this, but unrelated facts change at least half as much"),
        (-0.012, 0.0, "Random neurons do as much: this run does not show that the located neurons carry"),
        (0.012, 0.0, "Random neurons do as much: this run does not show that the located neurons carry"),
        (0.0, 0.0, "Random neurons do as much: this run does not show that the located neurons carry"),
        (0.6, 0.0, "The answer gains when they are silenced: these neurons work against it."),
    ],
)
def test_the_verdict_is_no_stronger_than_the_controls_allow(suppressed, unrelated, said):
    asked = fake_asked(
        suppressed=suppressed, unrelated_change=Interval(unrelated, unrelated - 0.01, unrelated - 0.005, 60)
    )
    assert verdict(asked).startswith(said)
    assert said.rstrip(".") in entities.unescape(page(asked))


def test_a_sure_but_small_effect_is_called_small():
    asked = fake_asked(suppressed=-0.03)
    quiet = tuple(
        replace(one, change=Interval(-0.001, -0.0012, -0.0008, 40)) if one.touched != "located" else one
        for one in asked.effects
    )
    assert verdict(replace(asked, effects=quiet)).startswith("The effect is small")


def test_without_controls_or_effects_the_page_says_so():
    asked = fake_asked()
    alone = replace(asked, effects=asked.effects[:1])
    assert verdict(alone) == "There is no control to compare this with."
    assert "unrelated" not in finding(alone)
    untouched = replace(asked, effects=(), unrelated=())
    assert "nothing was done to them" in page(untouched)


def test_the_table_lists_located_neurons_from_the_highest_score(plain):
    asked = fake_asked()
    rows = re.findall(r'href="#L(\d+)\.N(\d+)"', plain)
    units = [(int(layer), int(neuron)) for layer, neuron in rows]
    scores = [float(asked.attribution.scores[0][unit]) for unit in units]
    assert sorted(units) == [tuple(unit) for unit in asked.selection.units.tolist()]
    assert scores == sorted(scores, reverse=True)
    assert "A negative activation\nturns the value vector round." in plain


def test_the_answer_stands_where_the_mask_was_and_chinese_takes_no_space():
    masked = fake_asked(prompt="The capital of [MASK] is Paris.", answer="France")
    assert Elements(page(masked)).text("h1") == ["The capital of France is Paris."]
    chinese = fake_asked(prompt="法国的首都是", answer="巴黎", language="zh")
    assert Elements(page(chinese)).text("h1") == ["法国的首都是巴黎"]


def test_numbers_never_claim_all_or_nothing_unless_it_is_so():
    assert [probability(p) for p in (1.0, 0.9999, 0.5, 0.000123, 2e-9, 0.0)] == [
        "100%", ">99.9%", "50.0%", "0.012%", "2.0·10⁻⁹", "0%"
    ]  # fmt: skip
    shown = {
        -1.0: "−100%",
        -0.9972: "−99.7%",
        -0.99999: "−99.999%",
        0.004: "+0.4%",
        0.0: "0%",
        24.0: "×25",
    }
    assert {value: relative(value) for value in shown} == shown
    assert change(Interval(float("nan"), 0.0, 0.0, 3)) == "undefined"
