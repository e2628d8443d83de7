"""All editing methods by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from locant.interventions.editing.editor import Editor
from locant.interventions.editing.kn import kn

Method: TypeAlias = Callable[..., Editor]

METHODS: dict[str, Method] = {
    "kn": kn,
}
