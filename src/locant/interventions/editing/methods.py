"""All editing methods by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from locant.interventions.editing.alphaedit import alphaedit
from locant.interventions.editing.editor import Editor
from locant.interventions.editing.ft import ft
from locant.interventions.editing.ft_l import ft_l
from locant.interventions.editing.ft_m import ft_m
from locant.interventions.editing.kn import kn
from locant.interventions.editing.lora import lora
from locant.interventions.editing.memit import memit
from locant.interventions.editing.neuron_tuning import neuron_tuning
from locant.interventions.editing.rome import rome

Method: TypeAlias = Callable[..., Editor]

METHODS: dict[str, Method] = {
    "rome": rome,
    "memit": memit,
    "alphaedit": alphaedit,
    "ft": ft,
    "ft_l": ft_l,
    "ft_m": ft_m,
    "kn": kn,
    "neuron_tuning": neuron_tuning,
    "lora": lora,
}
