"""LRE as published: relations with their kinds, subjects with all their objects, and files of another form."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from locant.errors import BadFile, UnknownName
from locant.queries import lre_relations, read_lre
from locant.types import Query
from unchecked import unchecked

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "lre"

CAPITALS: dict[str, object] = {
    "name": "country capital city",
    "prompt_templates": ["The capital city of {} is", "The capital of {} is the city of"],
    "prompt_templates_zs": ["The capital of {} is the city of", "What is the capital of {}? It is"],
    "properties": {"relation_type": "factual", "domain_name": "country", "range_name": "city", "symmetric": False},
    "samples": [
        {"subject": "France", "object": "Paris"},
        {"subject": "Bolivia", "object": "Sucre"},
        {"subject": "Brazil", "object": "Bras\\u00edlia "},
        {"subject": "Bolivia", "object": "La Paz"},
        {"subject": "France", "object": "Paris"},
    ],
}
OPPOSITES = CAPITALS | {
    "properties": {"relation_type": "linguistic"},
    "prompt_templates_zs": ["The opposite of {} is"],
    "prompt_templates": [],
    "samples": [{"subject": "up", "object": "down"}],
}


def write(folder: Path, **relations: object) -> Path:
    """A folder of relations; `kind__name` is a file in a folder of the kind."""
    for name, relation in relations.items():
        path = folder / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(relation))
    return folder


def told(queries: tuple[Query, ...]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(one.prompt, one.answer, one.alternatives) for one in queries]


def test_every_subject_is_asked_once_in_the_first_template_without_examples(tmp_path: Path) -> None:
    read = read_lre(write(tmp_path, factual__capital=CAPITALS))
    assert told(read) == [
        ("The capital of France is the city of", "Paris", ()),
        ("The capital of Bolivia is the city of", "Sucre", ("La Paz",)),
        ("The capital of Brazil is the city of", "Brasília", ()),
    ]
    assert {one.relation for one in read} == {"capital"}
    assert {one.template for one in read} == {"The capital of {} is the city of"}


def test_a_subject_with_several_objects_is_one_fact_that_any_of_them_answers(tmp_path: Path) -> None:
    (bolivia,) = [one for one in read_lre(write(tmp_path, capital=CAPITALS)) if one.fact.subject == "Bolivia"]
    assert (bolivia.fact.object, bolivia.answer, bolivia.alternatives) == ("Sucre", "Sucre", ("La Paz",))


def test_more_templates_ask_the_same_facts_again_and_repeat_none(tmp_path: Path) -> None:
    folder = write(tmp_path, capital=CAPITALS)
    for wordings, count in ((1, 1), (2, 2), (None, 3), (9, 3)):
        read = read_lre(folder, wordings=wordings)
        asked = [one.prompt for one in read if one.fact.subject == "France"]
        assert (
            asked
            == [
                "The capital of France is the city of",
                "What is the capital of France? It is",
                "The capital city of France is",
            ][:count]
        )
        assert len({one.uid for one in read}) == len(read) == 3 * count
        assert len({one.fact.uid for one in read}) == 3


def test_relations_are_chosen_by_name_and_by_kind(tmp_path: Path) -> None:
    folder = write(tmp_path, factual__capital=CAPITALS, linguistic__opposite=OPPOSITES)
    assert [(one.name, one.kind, len(one)) for one in lre_relations(folder)] == [
        ("capital", "factual", 3),
        ("opposite", "linguistic", 1),
    ]
    for chosen in ({"relations": ["opposite"]}, {"kinds": ["linguistic"]}):
        assert [one.fact.subject for one in read_lre(folder, **chosen)] == ["up"]
    assert read_lre(folder, ["capital"], ["linguistic"]) == ()
    assert read_lre(folder / "linguistic" / "opposite.json") == read_lre(folder, ["opposite"])


def test_what_there_is_not_is_said_with_what_there_is(tmp_path: Path) -> None:
    folder = write(tmp_path, capital=CAPITALS, opposite=OPPOSITES)
    with pytest.raises(UnknownName, match="no relation 'currency' in LRE; known: capital, opposite"):
        read_lre(folder, ["currency"])
    with pytest.raises(UnknownName, match="no kind 'bias' in LRE; known: factual, linguistic"):
        read_lre(folder, kinds=["bias"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"properties": None}, "capital.json: its 'properties' is not an object"),
        ({"properties": {}}, "capital.json, properties: its 'relation_type' is not a text"),
        ({"samples": []}, "capital.json: its 'samples' is not a list with something in it"),
        ({"samples": [{"subject": "France"}]}, "capital.json, samples 1: its 'object' is not a text"),
        ({"samples": [{"subject": " ", "object": "x"}]}, "capital.json, samples 1: its 'subject' is empty"),
        ({"prompt_templates_zs": "{} is"}, "capital.json: its 'prompt_templates_zs' is not a list of texts"),
        ({"prompt_templates": ["The capital is"]}, "capital.json: the template 'The capital is' needs {} once"),
        (
            {"prompt_templates": [], "prompt_templates_zs": []},
            "capital.json: there are no templates in its 'prompt_templates_zs' or 'prompt_templates'",
        ),
    ],
)
def test_a_file_of_another_form_is_named_with_the_field(tmp_path: Path, change: dict[str, object], said: str) -> None:
    with pytest.raises(BadFile) as caught:
        read_lre(write(tmp_path, capital=CAPITALS | change))
    assert str(caught.value).startswith(said)


def test_places_without_relations_and_relations_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no relations of LRE"):
        read_lre(tmp_path / "nowhere")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(BadFile, match="not an object"):
        read_lre(tmp_path)
    (tmp_path / "list.json").unlink()
    with pytest.raises(BadFile, match="two files are named capital"):
        read_lre(write(tmp_path, factual__capital=CAPITALS, bias__capital=CAPITALS))


def test_all_of_the_published_relations_are_read() -> None:
    if not PUBLISHED.is_dir():
        pytest.skip(f"no LRE in {PUBLISHED}")
    with unchecked():
        known, read = lre_relations(PUBLISHED), read_lre(PUBLISHED)
    assert Counter(one.kind for one in known) == {"factual": 26, "commonsense": 8, "linguistic": 6, "bias": 7}
    assert len(read) == sum(map(len, known)) == 10_997
    assert len({one.fact.uid for one in read}) == len({one.uid for one in read}) == len(read)
    assert all(one.fact.subject in one.prompt and "\\u" not in one.prompt + one.answer for one in read)
    capitals = {one.fact.subject: one for one in read if one.relation == "country_capital_city"}
    assert len(capitals) == 24 and capitals["Brazil"].answer == "Brasília"
    objects = Counter(len(one.alternatives) + 1 for one in read if one.relation == "superhero_person")
    assert objects == {1: 83, 2: 6, 5: 1}


def test_published_prompts_end_where_a_causal_model_is_asked() -> None:
    if not PUBLISHED.is_dir():
        pytest.skip(f"no LRE in {PUBLISHED}")
    asked = [one.templates for one in lre_relations(PUBLISHED)]
    assert all(template[-1].isalnum() for templates in asked for template in templates)
