"""Random tiny models of every family, and the almanac."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"

from functools import cache
from pathlib import Path

import pytest
import torch

import locant
from commands import Command, in_process
from families import FAMILIES, tiny
from locant.models import LanguageModel

torch.set_num_threads(1)  # the tests themselves run in parallel


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Statistics that tests read of models are kept apart from the user's."""
    os.environ["LOCANT_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    """The name of an architecture."""
    return str(request.param)


@pytest.fixture
def lm(family: str) -> LanguageModel:
    """A random tiny model of the family, in float32."""
    return tiny(family)


@cache
def _almanac() -> LanguageModel:
    return locant.load("almanac")


@pytest.fixture
def almanac_lm() -> LanguageModel:
    """The embedded model, which knows facts."""
    return _almanac()


@pytest.fixture
def locant_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)
    return in_process(monkeypatch, capsys)
