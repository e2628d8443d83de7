"""Commands of locant, run in this process: how they end and what they print."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import pytest


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Ran]


def in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """What runs a command, given its words."""

    def run(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["locant", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli().main()
        said = capsys.readouterr()
        return Ran(int(ended.value.code or 0), said.out, said.err)

    return run


@cache
def cli() -> ModuleType:
    """The command line without the type checks of tests: Typer passes a context of a class of its own."""
    spec = importlib.util.find_spec("locant.cli")
    assert spec is not None and spec.origin is not None
    plain = importlib.util.spec_from_file_location("locant.cli_unchecked", spec.origin)
    assert plain is not None and plain.loader is not None
    module = importlib.util.module_from_spec(plain)
    plain.loader.exec_module(module)
    return module
