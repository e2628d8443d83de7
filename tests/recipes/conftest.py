"""Whole runs are made without the checks of types: every stage's own tests have them, and runs would take longer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from unchecked import unchecked


@pytest.fixture(autouse=True, scope="module")
def _unchecked() -> Iterator[None]:
    with unchecked():
        yield
