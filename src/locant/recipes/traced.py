"""What one prompt's circuit brought to light; the page of it is made from this."""

from __future__ import annotations

from dataclasses import dataclass

from locant.selections.circuits import Circuit
from locant.types import Provenance, Query


@dataclass(frozen=True)
class Standing:
    """How an answer stands among all that could be said.

    Attributes:
        rank: 1 is the most probable.
    """

    probability: float
    rank: int


@dataclass(frozen=True)
class Standings:
    """The answer in the model and in parts of it; of all other edges, ablated activations are brought.

    Attributes:
        circuit: where only the circuit's edges are kept.
        complement: where all but the circuit's are.
        empty: where none is.
        random: in random circuits with as many edges.
    """

    model: Standing
    circuit: Standing
    complement: Standing | None = None
    empty: Standing | None = None
    random: tuple[Standing, ...] = ()


@dataclass(frozen=True)
class Worth:
    """A metric of the model, of its circuit, and of no edge at all.

    Attributes:
        metric: its name.
        unit: of the three, as `logits`.
    """

    metric: str
    unit: str
    model: float
    circuit: float
    empty: float

    @property
    def share(self) -> float:
        """The part of what all edges bring that the circuit's bring; nan if all bring nothing.

        Source: Hanna et al. 2024, arXiv:2403.17806, normalised faithfulness.
        """
        whole = self.model - self.empty
        return (self.circuit - self.empty) / whole if whole else float("nan")

    @property
    def divergence(self) -> tuple[float, float] | None:
        """Of the circuit and of no edge, how far they are from the model, whose own is 0; None by another metric."""
        return (0.0 - self.circuit, 0.0 - self.empty) if self.metric == "kl" else None


@dataclass(frozen=True)
class LayerCurve:
    """The residual stream read through the unembedding on its way, where the answer is predicted.

    Attributes:
        points: as `input`, `after a3`, `after m3`, in order.
        subject: whichever of the subject's tokens stands highest; none if the prompt names no subject.
        reading: how it was read, as `scaled`.
    """

    points: tuple[str, ...]
    answer: tuple[Standing, ...]
    subject: tuple[Standing, ...] = ()
    reading: str = "scaled"


@dataclass(frozen=True)
class HeadPattern:
    """What a head attends to where the answer is predicted: a weight for each of the prompt's tokens."""

    head: str
    weights: tuple[float, ...]


@dataclass(frozen=True)
class NodeReading:
    """What a node writes, read through the unembedding, and what it does.

    Attributes:
        role: as `mover` or `relation`; empty if it has none, or is no head.
        confirmed: ablating it does what the role says.
        subject, relation: attention to the subject's tokens, and to the others but the first.
        tokens: the highest first.
        rank: of the answer, 1 the highest.
    """

    node: str
    role: str = ""
    subject: float | None = None
    relation: float | None = None
    tokens: tuple[str, ...] = ()
    rank: int | None = None
    confirmed: bool = False


@dataclass(frozen=True)
class Traced:
    """A prompt, the circuit of its answer, and what that circuit is worth.

    Attributes:
        counterfactual: the query whose activations stand in for those of edges that are cut; None where nothing or
            a mean does.
        top_answers: the model's first tokens with their probabilities, untouched.
        tokens: of the prompt, as the patterns count them.
        readings: of nodes of the circuit, in order of computing.
        made_by: of the whole; the circuit knows what it was chosen by, and from which scores.
        command: that makes this again, if there is one.
    """

    query: Query
    counterfactual: Query | None
    model: str
    circuit: Circuit
    faithfulness: Worth
    standings: Standings
    made_by: Provenance
    top_answers: tuple[tuple[str, float], ...] = ()
    curve: LayerCurve | None = None
    tokens: tuple[str, ...] = ()
    patterns: tuple[HeadPattern, ...] = ()
    readings: tuple[NodeReading, ...] = ()
    command: str = ""
