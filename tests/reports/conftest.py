"""Pages are drawn without the checks of types: they would take longer than the pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from unchecked import unchecked

pytest.register_assert_rewrite("pages")


@pytest.fixture(autouse=True, scope="module")
def _unchecked() -> Iterator[None]:
    with unchecked():
        yield
