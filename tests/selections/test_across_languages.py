"""Language-agnostic and language-specific neurons, against loops over plain lists and Python's own sets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

import locant
from locant import almanac
from locant.errors import UnknownName
from locant.interventions import scale
from locant.models import LanguageModel
from locant.selections import intersection, random_set, select
from locant.selections.across_languages import agreed, agreement_sizes, language_agnostic, language_specific
from locant.selections.uncertainty import RULES, LanguageScores, by_language, over_languages, over_queries
from locant.types import Attribution, Provenance, Selection

LANGUAGES = ("en", "fr", "ja", "zh")
GRID = (3, 10)
UNITS = [(layer, neuron) for layer in range(GRID[0]) for neuron in range(GRID[1])]
QUERIES = tuple(locant.query(f"p {language}", "a", uid=f"q/{language}", language=language) for language in LANGUAGES)
Unit = tuple[int, int]


def own_scores(seed: int) -> Tensor:
    """S_k with neurons that are high in all languages, and in some."""
    numbers = torch.Generator().manual_seed(seed)
    common = torch.rand(GRID, generator=numbers).double() ** 4
    return common + 0.3 * torch.randn(len(LANGUAGES), *GRID, generator=numbers, dtype=torch.float64)


def units(found: Selection) -> list[Unit]:
    return [tuple(unit) for unit in found.units.tolist()]  # type: ignore[misc]


def by_weight(found: Selection) -> dict[Unit, float]:
    return dict(zip(units(found), found.weight.tolist(), strict=True))


def passing(own: Tensor, shares: Sequence[float]) -> list[set[Unit]]:
    """Of each language, the neurons above its share of its highest score."""
    found = []
    for row, share in zip(own.tolist(), shares, strict=True):
        highest = max(max(layer) for layer in row)
        found.append({(a, b) for a, b in UNITS if row[a][b] > share * highest and highest > 0})
    return found


# One score for all languages


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.0, 0.2, 0.7])
def test_agnostic_neurons_score_more_than_a_share_of_the_highest(seed: int, share: float) -> None:
    scores = own_scores(seed).mean(dim=0)
    (expected,) = passing(scores[None], [share])
    found = language_agnostic(scores, QUERIES, share=share)
    assert units(found) == sorted(expected) and 0 < len(expected) < len(UNITS)
    assert found.weight.tolist() == [float(scores[unit]) for unit in units(found)]
    assert found.grid == GRID and found.queries == QUERIES and found.kind == "neuron"


def test_more_than_a_fifth_is_asked_for_if_nothing_else_is() -> None:
    scores = torch.zeros(GRID, dtype=torch.float64)
    scores[0, 1], scores[1, 2], scores[1, 3], scores[2, 0] = 1.0, 0.21, 0.2, 0.19
    assert units(language_agnostic(scores, QUERIES)) == [(0, 1), (1, 2)]
    assert units(agreed(scores[None], QUERIES, least=1)) == [(0, 1), (1, 2)]


@pytest.mark.parametrize("size", [1, 7, 30])
def test_as_many_agnostic_neurons_as_asked_for_are_the_highest(size: int) -> None:
    scores = own_scores(1)[1]
    expected = sorted(sorted(UNITS, key=lambda unit: -float(scores[unit]))[:size])
    assert units(language_agnostic(scores, QUERIES, size=size)) == expected
    assert units(language_agnostic(scores, QUERIES, share=None, size=size)) == expected
    ties = torch.ones(GRID)
    assert units(language_agnostic(ties, QUERIES, size=size)) == UNITS[:size]


def test_where_no_score_is_above_zero_no_neuron_is_agnostic() -> None:
    for scores in (torch.zeros(GRID), -own_scores(0)[0].abs() - 1):
        for given in ({"share": 0.0}, {"share": 0.5}, {"size": 4}):
            assert len(language_agnostic(scores, QUERIES, **given)) == 0


@pytest.mark.parametrize("rule", RULES)
def test_a_neuron_of_one_language_is_not_agnostic_and_is_specific(rule: str) -> None:
    mean = torch.zeros(4, *GRID, dtype=torch.float64)
    mean[:, 0, 0] = 0.6
    mean[2, 1, 1] = 1.0
    found = LanguageScores(LANGUAGES, mean, torch.zeros_like(mean))
    assert units(language_agnostic(over_languages(found, rule=rule), QUERIES)) == [(0, 0)]
    own = by_language(found)
    assert units(agreed(own, QUERIES, least=2)) == [(0, 0)]
    assert units(language_specific(own, LANGUAGES, "ja", QUERIES)) == [(1, 1)]
    assert all(len(language_specific(own, LANGUAGES, other, QUERIES)) == 0 for other in ("en", "fr", "zh"))


# Many languages that agree


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("least", [1, 2, 3, 4])
def test_agreed_neurons_pass_in_so_many_languages(seed: int, least: int) -> None:
    own = own_scores(seed)
    sets = passing(own, [0.3] * 4)
    count = {unit: sum(unit in one for one in sets) for unit in UNITS}
    found = agreed(own, QUERIES, least=least, share=0.3)
    assert by_weight(found) == {unit: count[unit] for unit in UNITS if count[unit] >= least}
    assert units(found) == sorted(units(found)) and units(found)


@pytest.mark.parametrize("seed", range(3))
def test_of_all_languages_what_is_agreed_is_the_intersection_of_their_own_sets(seed: int) -> None:
    own = own_scores(seed)
    sets = [
        select(
            Attribution((query,), row[None], row[None], torch.ones(1), None, Provenance("by hand")),
            "share",
            share=0.3,
        )
        for query, row in zip(QUERIES, own, strict=True)
    ]
    found = agreed(own, QUERIES, least=4, share=0.3)
    assert units(found) == units(intersection(sets)) and units(found)


def test_languages_may_have_shares_of_their_own() -> None:
    own = own_scores(4)
    shares = {"en": 0.6, "fr": 0.1, "ja": 0.3, "zh": 0.0, "xx": 0.9}
    expected = set.intersection(*passing(own, [0.6, 0.1, 0.3, 0.0]))
    found = agreed(own, QUERIES, least=4, share=shares, languages=LANGUAGES)
    assert units(found) == sorted(expected) and expected
    assert expected != set.intersection(*passing(own, [0.1, 0.6, 0.3, 0.0]))
    assert found.made_by.settings["share of en"] == 0.6
    same = agreed(own, QUERIES, least=2, share=dict.fromkeys(LANGUAGES, 0.3), languages=LANGUAGES)
    assert by_weight(same) == by_weight(agreed(own, QUERIES, least=2, share=0.3))
    # A language that was drawn twice has its share twice
    twice = agreed(own[[0, 0]], QUERIES, least=2, share=shares, languages=("en", "en"))
    assert set(units(twice)) == passing(own, [0.6, 0.1, 0.3, 0.0])[0]


@pytest.mark.parametrize("size", [1, 5, 9, 30])
def test_of_agreed_neurons_those_of_most_languages_come_first_and_then_the_highest(size: int) -> None:
    own = own_scores(5)
    sets = passing(own, [0.2] * 4)
    count = {unit: sum(unit in one for one in sets) for unit in UNITS}
    ranked = sorted(UNITS, key=lambda unit: (-count[unit], -float(own[:, unit[0], unit[1]].mean())))
    expected = [unit for unit in ranked if count[unit] >= 2]
    assert len({count[unit] for unit in expected}) == 3 and 9 < len(expected) < 30
    found = agreed(own, QUERIES, least=2, size=size)
    assert units(found) == sorted(expected[:size])
    assert by_weight(found) == {unit: count[unit] for unit in expected[:size]}


def test_a_neuron_of_more_languages_comes_before_one_that_is_higher() -> None:
    own = torch.zeros(4, *GRID)
    own[:2, 0, 0] = 1.0
    own[:, 1, 1] = 0.3
    own[:3, 2, 1], own[:3, 2, 2] = 0.4, 0.5
    own[2:, 2, 9] = 1.0
    assert own[:, 0, 0].mean() > own[:, 1, 1].mean()
    sets = [units(agreed(own, QUERIES, least=2, size=size)) for size in (1, 2, 3, 4)]
    assert sets[0] == [(1, 1)] and sets[1] == [(1, 1), (2, 2)] and sets[2] == [(1, 1), (2, 1), (2, 2)]
    assert sets[3] == [(0, 0), (1, 1), (2, 1), (2, 2)]  # as good as (2, 9), and before it


@pytest.mark.parametrize("seed", range(3))
def test_the_more_languages_must_agree_the_fewer_neurons_are_left_and_all_of_them_were_there(seed: int) -> None:
    own = own_scores(seed)
    sizes = agreement_sizes(own, 0.3)
    sets = [set(units(agreed(own, QUERIES, least=least, share=0.3))) for least in (1, 2, 3, 4)]
    assert sizes == tuple(map(len, sets))
    assert all(more >= fewer for more, fewer in itertools.pairwise(sets)) and sets[0] > sets[1] > sets[3]
    assert agreement_sizes(own) == agreement_sizes(own, dict.fromkeys(LANGUAGES, 0.2), LANGUAGES) != sizes


def test_a_language_without_a_score_above_zero_agrees_to_nothing() -> None:
    own = own_scores(0)
    own[1] = -own[1].abs()
    for share in (0.0, 0.5):
        assert agreement_sizes(own, share)[3] == 0
        assert agreement_sizes(own, share)[2] == len(set.intersection(*passing(own[[0, 2, 3]], [share] * 3)))


# One language alone


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("share", "low"), [(0.2, 0.1), (0.3, 0.3), (0.5, 0.0)])
def test_specific_neurons_pass_in_one_language_and_are_low_in_all_others(
    seed: int, language: str, share: float, low: float
) -> None:
    own = own_scores(seed)
    here = LANGUAGES.index(language)
    rows = own.tolist()
    highest = [max(max(layer) for layer in row) for row in rows]
    expected = [
        (a, b)
        for a, b in UNITS
        if rows[here][a][b] > share * highest[here]
        and all(rows[k][a][b] <= low * highest[k] for k in range(4) if k != here)
    ]
    found = language_specific(own, LANGUAGES, language, QUERIES, share=share, low=low)
    assert by_weight(found) == {unit: float(own[here, unit[0], unit[1]]) for unit in expected}
    assert units(found) == expected
    best = sorted(expected, key=lambda unit: -float(own[here, unit[0], unit[1]]))[:1]
    assert units(language_specific(own, LANGUAGES, language, QUERIES, share=share, low=low, size=1)) == best


def test_low_is_at_most_a_share_and_passing_is_more_than_one() -> None:
    own = torch.zeros(2, *GRID)
    own[:, 0, 0] = 1.0
    own[0, 1, 1:4] = torch.tensor([1.0, 0.75, 0.5])
    own[1, 1, 1:4] = torch.tensor([0.5, 0.625, 0.0])
    found = language_specific(own, ("en", "fr"), "en", QUERIES[:2], share=0.5, low=0.5)
    assert units(found) == [(1, 1)]
    assert units(language_specific(own, ("en", "fr"), "en", QUERIES[:2], share=0.25, low=0.0)) == [(1, 3)]


def test_no_neuron_is_specific_to_two_languages_and_some_are_to_each() -> None:
    own = own_scores(2)
    sets = [set(units(language_specific(own, LANGUAGES, name, QUERIES, low=0.2))) for name in LANGUAGES]
    assert all(sets) and sum(map(len, sets)) == len(set.union(*sets))
    least = set(units(agreed(own, QUERIES, least=2)))
    assert not least & set.union(*sets)


def test_a_language_that_credits_no_neuron_stands_in_no_other_languages_way() -> None:
    own = own_scores(2)
    own[3] = -own[3].abs() - 0.1
    own[3, 0, 0] = 0.0
    found = language_specific(own, LANGUAGES, "fr", QUERIES)
    assert units(found) == units(language_specific(own[:3], LANGUAGES[:3], "fr", QUERIES)) and units(found)
    assert len(language_specific(own, LANGUAGES, "zh", QUERIES)) == 0


# What a set knows of itself


def test_a_set_says_what_it_was_made_from() -> None:
    own = own_scores(0)
    sets = [
        language_agnostic(own[0], QUERIES, size=3, parents=("a", "b")),
        agreed(own, QUERIES, least=2, parents=["a", "b"]),
        language_specific(own, LANGUAGES, "en", QUERIES, parents=("a", "b")),
    ]
    assert [one.made_by.method for one in sets] == ["language_agnostic", "agreed", "language_specific"]
    settings = [{name: value for name, value in one.made_by.settings.items() if name != "values"} for one in sets]
    assert settings == [
        {"share": None, "size": 3},
        {"least": 2, "share": 0.2, "size": None},
        {"language": "en", "share": 0.2, "low": 0.1, "size": None, "languages": "en, fr, ja, zh"},
    ]
    assert all(one.made_by.parents == ("a", "b") and one.queries == QUERIES for one in sets)
    assert agreed(own, QUERIES, least=2).made_by != agreed(own + 1e-9, QUERIES, least=2).made_by
    assert agreed(own, QUERIES, least=2).made_by == agreed(own.clone(), QUERIES, least=2).made_by


def test_the_scores_are_left_as_they_were() -> None:
    own = own_scores(0)
    before = own.clone()
    language_agnostic(own[0], QUERIES)
    agreed(own, QUERIES, least=1, size=2)
    language_specific(own, LANGUAGES, "en", QUERIES, size=2)
    assert torch.equal(own, before)


# Refusals


def test_sets_that_make_no_sense_are_refused() -> None:
    own = own_scores(0)
    with pytest.raises(UnknownName, match="either a share or a size, not both"):
        language_agnostic(own[0], QUERIES, share=0.2, size=3)
    for share in (-0.1, 1.0, math.nan):
        for refuses in (
            lambda share: language_agnostic(own[0], QUERIES, share=share),
            lambda share: agreed(own, QUERIES, least=1, share=share),
            lambda share: agreement_sizes(own, share),
            lambda share: language_specific(own, LANGUAGES, "en", QUERIES, share=share),
        ):
            with pytest.raises(UnknownName, match=f"a share is at least 0 and less than 1, not {share}"):
                refuses(share)
    for size in (0, 31):
        for refuses in (
            lambda size: language_agnostic(own[0], QUERIES, size=size),
            lambda size: agreed(own, QUERIES, least=1, size=size),
            lambda size: language_specific(own, LANGUAGES, "en", QUERIES, size=size),
        ):
            with pytest.raises(UnknownName, match=f"cannot take {size} neurons: there are 1 to 30"):
                refuses(size)
    for least in (0, 5):
        with pytest.raises(UnknownName, match=f"no neuron can pass in {least} of 4 languages"):
            agreed(own, QUERIES, least=least)
    for low in (-0.1, 0.21, math.nan):
        with pytest.raises(UnknownName, match=r"low is at least 0 and at most the share 0\.2"):
            language_specific(own, LANGUAGES, "en", QUERIES, low=low)


def test_languages_that_are_not_there_are_refused() -> None:
    own = own_scores(0)
    with pytest.raises(UnknownName, match="'xx' is not one of several"):
        language_specific(own, LANGUAGES, "xx", QUERIES)
    with pytest.raises(UnknownName, match="'en' is not one of several different languages: there are en, en, ja, zh"):
        language_specific(own, ("en", "en", "ja", "zh"), "en", QUERIES)
    with pytest.raises(UnknownName, match="'en' is not one of several"):
        language_specific(own[:1], ("en",), "en", QUERIES)
    with pytest.raises(UnknownName, match="the scores are of 4 languages, and 2 are named"):
        language_specific(own, ("en", "fr"), "en", QUERIES)
    with pytest.raises(UnknownName, match="the scores are of 4 languages, and 0 are named"):
        agreed(own, QUERIES, least=1, share={"en": 0.3})
    with pytest.raises(UnknownName, match="there is no share for 'fr', only for en"):
        agreed(own, QUERIES, least=1, share={"en": 0.3}, languages=LANGUAGES)


def test_scores_that_are_not_finite_or_not_there_are_refused() -> None:
    own = own_scores(0)
    own[1, 1, 1] = math.nan
    with pytest.raises(UnknownName, match="of 120 scores, 1 are not finite"):
        agreed(own, QUERIES, least=1)
    with pytest.raises(UnknownName, match="of 30 scores, 1 are not finite"):
        language_agnostic(own[1], QUERIES)
    with pytest.raises(UnknownName, match="there are no scores"):
        agreement_sizes(own[:0])


# The model that knows facts


def test_without_its_agnostic_neurons_the_almanac_forgets_a_fact_in_every_language(almanac_lm: LanguageModel) -> None:
    asked = {
        language: [query for query in almanac.queries("capital", language) if query.fact.uid == "capital/france"][:4]
        for language in ("en", "fr", "ja")
    }
    found = over_queries({name: locant.attribute(almanac_lm, own, "dai").scores for name, own in asked.items()})
    queries = [query for own in asked.values() for query in own]
    chosen = language_agnostic(over_languages(found, rule="entropy"), queries, size=20)

    def known(silent: Selection) -> list[float]:
        with scale(almanac_lm, silent, 0.0):
            return [float(locant.answer_probability(almanac_lm, own).mean()) for own in asked.values()]

    without = known(chosen)
    for seed in range(3):
        control = known(random_set(chosen, seed))
        assert all(lost < kept - 0.02 for lost, kept in zip(without, control, strict=True))
    assert min(without) < 0.5
