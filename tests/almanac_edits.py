"""Capitals of the almanac to be edited, its other capitals, and sentences to read statistics in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

from locant import almanac
from locant.evaluations import answer_rank
from locant.models import LanguageModel
from locant.types import EditRequest, Query

CAPITALS = {"France": "Rome", "Japan": "Oslo", "Peru": "Berlin", "Canada": "Lima", "Kenya": "Paris", "Cuba": "Seoul"}
"""Countries, and the capitals that they are given."""


@cache
def told() -> tuple[str, ...]:
    """Sentences of all English relations."""
    return tuple(f"{one.prompt} {one.answer}." for one in almanac.queries(language="en")[::80])


def wordings(country: str) -> list[Query]:
    return [one for one in almanac.queries("capital", "en") if one.fact.subject == country]


def requests(capitals: Mapping[str, str] = CAPITALS) -> list[EditRequest]:
    return [EditRequest(wordings(country)[0], city) for country, city in capitals.items()]


def other_wordings(capitals: Mapping[str, str] = CAPITALS) -> list[Query]:
    """The wordings that are not edited, with the new capitals."""
    return [replace(one, answer=city) for country, city in capitals.items() for one in wordings(country)[1:]]


def other_capitals(lm: LanguageModel, capitals: Mapping[str, str] = CAPITALS) -> list[Query]:
    """Capitals of other countries that the model knows."""
    others = [one for one in almanac.queries("capital", "en") if one.fact.subject not in capitals][::40]
    return [one for one, rank in zip(others, answer_rank(lm, others).tolist(), strict=True) if rank == 1]


def said(lm: LanguageModel, queries: Sequence[Query]) -> float:
    """The share of queries whose answer is the model's own."""
    return float((answer_rank(lm, queries) == 1).double().mean())
