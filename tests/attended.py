"""Tiny models whose attention weights can be reached."""

from __future__ import annotations

import torch
import transformers

from families import FAMILIES, SEQ2SEQ, tiny
from locant.models import LanguageModel

ONE_STACK = sorted(set(FAMILIES) - SEQ2SEQ)

# In transformers 4.57 these choose their attention when they are made, and only the eager one shows its weights
_CHOSEN_WHEN_MADE = {"bert", "roberta", "xlm-roberta", "stablelm", "stablelm parallel"}


def attended(family: str, dtype: torch.dtype = torch.float32) -> LanguageModel:
    """The family's tiny model with the kernel it has by default, unless that keeps its weights to itself."""
    early = transformers.__version__.startswith("4.") and family in _CHOSEN_WHEN_MADE
    return tiny(family, dtype, "eager" if early else None)
