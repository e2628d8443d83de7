"""Stage 2: a frozen model, opened.

`load` opens it; `record` runs it once and gives the rows from which everything at the answer position is
computed (`engine`). Only `hooks` attaches anything to a model.
"""

from locant.models.architectures import ARCHITECTURES, Architecture
from locant.models.engine import Run, record
from locant.models.graph import Graph
from locant.models.graph_of import graph_of
from locant.models.language_model import LanguageModel, at_least_float32
from locant.models.load import load
from locant.models.sample import sample

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Graph",
    "LanguageModel",
    "Run",
    "at_least_float32",
    "graph_of",
    "load",
    "record",
    "sample",
]
