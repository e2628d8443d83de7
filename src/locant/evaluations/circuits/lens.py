"""The logit lens: what every node of a graph, and the residual stream on its way, would say by itself.

    nodes = read_nodes(lm, written(lm, graph, first_sites(lm, queries)), tokens)
    nodes.points[nodes.rank[0, :, 0].argmin()]           # the node that puts the first query's first token highest

The norm before the unembedding divides by the size of what it is given, and this can be read in two ways:

- `scaled`: by the size of the whole residual stream, as in the model's own pass. What is read of a node is what it
  adds to the logits: over all nodes, with what is nobody's, it sums to the model's logits.
- `normed`: by the size of what is read itself, W_U LN(n), as the paper writes it. It says what a node would say
  were it alone, however little it writes, and sums to nothing.

Of nodes, the scaled reading leaves out the biases of norm and unembedding; of the stream both readings have them.
Where a model caps its logits, what nodes add is added before the cap; the stream is read behind it.

Source: nostalgebraist 2020, the logit lens; Yao et al. 2024, arXiv:2405.17969, nodes by W_U LN(n).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from locant.errors import LocantError, UnknownName, nearest
from locant.evaluations.circuits.written import Written
from locant.models import LanguageModel, at_least_float32
from locant.models.norms import Norm, norm_of
from locant.models.weights import device_of
from locant.types import Query

MEMORY = 1 << 28
"""Bytes that logits may take at once, by default."""


@dataclass(frozen=True)
class Lens:
    """A model's readout at some sites, made linear: its norm divides by the size it had in the model's own pass.

    Attributes:
        size: of the residual stream that is read out at each site.
        constant: the logits of nothing: the shift of the norm and the bias of the unembedding.
    """

    lm: LanguageModel
    norm: Norm
    size: Float[Tensor, "site 1"]
    constant: Float[Tensor, " vocab"]

    @torch.no_grad()
    def scaled(self, written: Float[Tensor, "*point site hidden"]) -> Float[Tensor, "*point site vocab"]:
        """What vectors add to the logits; before a soft cap, if there is one."""
        fine = self.norm.centre(at_least_float32(written)) * self.norm.gain
        return self._unembed(fine / self.size.to(fine))

    @torch.no_grad()
    def finish(self, logits: Float[Tensor, "*row vocab"]) -> Float[Tensor, "*row vocab"]:
        """Everything that was added up, as the model's own logits: with its constant, and capped."""
        whole = logits + self.constant
        cap = self.lm.architecture.logit_cap(self.lm.config)
        if cap is None:
            return whole
        cap = cap * self.lm.architecture.logit_scale(self.lm.config)
        return torch.tanh(whole / cap) * cap

    @torch.no_grad()
    def normed(self, written: Float[Tensor, "*row hidden"]) -> Float[Tensor, "*row vocab"]:
        """What the model would say, were these vectors its residual stream."""
        return at_least_float32(self.lm.readout(written.to(self.lm.model.dtype)))

    def _unembed(self, normed: Float[Tensor, "*row hidden"]) -> Float[Tensor, "*row vocab"]:
        return _logits(self.lm, normed) - _logits(self.lm, torch.zeros_like(normed.flatten(0, -2)[0]))


@torch.no_grad()
def lens_of(lm: LanguageModel, stream: Float[Tensor, "site hidden"]) -> Lens:
    """The lens of a model where these residuals are read out.

    Raises:
        LocantError: the model reads its residual stream out by something else than a norm and an unembedding.
    """
    names = lm.architecture.readout
    first = lm.model.get_submodule(names[0])
    if len(names) != 2 or isinstance(first, nn.Linear):
        raise LocantError(f"no lens of {lm.name}: it is read out by {', '.join(names)}, not by one norm")
    norm = norm_of(first, stream)
    _, size = norm.measure(stream)
    return Lens(lm, norm, size, _logits(lm, norm.shift))


@torch.no_grad()
def _logits(lm: LanguageModel, normed: Float[Tensor, "*row hidden"]) -> Float[Tensor, "*row vocab"]:
    spec, unembed = lm.architecture, lm.model.get_output_embeddings()
    given = (normed * spec.hidden_scale(lm.config)).to(device_of(unembed), lm.model.dtype)
    return at_least_float32(unembed.forward(given)) * spec.logit_scale(lm.config)


@dataclass(frozen=True)
class Readings:
    """What the lens makes of some points.

    Attributes:
        points: senders, as `a3.h5`; of the stream `input`, `after a3`, `after m3`.
        tokens: of each query, the tokens that are read.
        rank: how many tokens are above; 0 is what the point says.
        top: ids of the tokens with the highest logits, the highest first.
        reading: `scaled` or `normed`.
    """

    points: tuple[str, ...]
    tokens: Int[Tensor, "query token"]
    logits: Float[Tensor, "query point token"]
    rank: Int[Tensor, "query point token"]
    probability: Float[Tensor, "query point token"]
    top: Int[Tensor, "query point k"]
    reading: str


def read_nodes(
    lm: LanguageModel,
    written: Written,
    tokens: Int[Tensor, "query token"],
    *,
    reading: str = "scaled",
    k: int = 10,
    memory: int = MEMORY,
) -> Readings:
    """Read every sender through the lens.

    Args:
        written: at one site for each query.
        reading: `scaled` or `normed`: what the norm divides by; see above.
        k: how many of the highest tokens to name.
        memory: bytes that logits may take at once.

    Raises:
        LocantError: the model has no such lens.
        UnknownName: there is no such reading.
    """
    lens = lens_of(lm, written.output)
    read = {"scaled": lens.scaled, "normed": lens.normed}
    _known(reading, read)
    parts = [
        _read(read[reading](some), tokens, k, len(lm.tokenizer))
        for chunk in written.nodes()
        for some in chunk.split(_at_once(lm, tokens, memory))
    ]
    return _joined(written.graph.senders, tokens, parts, reading)


def read_stream(
    lm: LanguageModel,
    written: Written,
    tokens: Int[Tensor, "query token"],
    *,
    reading: str = "scaled",
    k: int = 10,
) -> Readings:
    """Read the residual stream through the lens as it grows: the input, and after each layer's heads and MLP.

    Where a layer's heads and MLP read the same, its point between them is one that nothing reads.

    Args, errors: as in `read_nodes`.
    """
    lens = lens_of(lm, written.output)
    read = {"scaled": lambda some: lens.finish(lens.scaled(some)), "normed": lens.normed}
    _known(reading, read)
    parts = [_read(read[reading](some), tokens, k, len(lm.tokenizer)) for some in written.stream()]
    layers = range(written.graph.layers)
    points = ("input", *(f"after {part}{layer}" for layer in layers for part in "am"))
    return _joined(points, tokens, parts, reading)


def subject_ids(lm: LanguageModel, queries: Sequence[Query]) -> Int[Tensor, "query token"]:
    """The tokens of each query's subject as they stand in its prompt; shorter ones repeat their last.

    Raises:
        BadQuery: a fact names no subject, or its prompt does not hold it.
    """
    ids = [[lm.tokens(query).prompt[at] for at in lm.subject_positions(query)] for query in queries]
    longest = max(map(len, ids))
    return torch.tensor([each + each[-1:] * (longest - len(each)) for each in ids])


def _known(reading: str, readings: Collection[str]) -> None:
    if reading not in readings:
        raise UnknownName(f"no reading {reading!r}{nearest(reading, readings)}; there are {', '.join(readings)}")


def _at_once(lm: LanguageModel, tokens: Tensor, memory: int) -> int:
    return max(1, memory // (12 * len(tokens) * int(lm.config.vocab_size)))


def _read(
    logits: Float[Tensor, "point query vocab"], tokens: Int[Tensor, "query token"], k: int, words: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of some points the chosen tokens' logits, ranks and probabilities, and the highest tokens."""
    chosen = logits.gather(2, tokens.to(logits.device).expand(len(logits), -1, -1))
    each = chosen.unbind(dim=2)
    rank = torch.stack([(logits > one[..., None]).sum(dim=2) for one in each], dim=2)
    probability = (chosen - logits.logsumexp(dim=2, keepdim=True)).exp()
    # Some models have more rows than tokens
    top = logits[..., :words].topk(k, dim=2).indices
    return chosen.cpu(), rank.cpu(), probability.cpu(), top.cpu()


def _joined(
    points: tuple[str, ...], tokens: Tensor, parts: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]], reading: str
) -> Readings:
    logits, rank, probability, top = (torch.cat(each).transpose(0, 1) for each in zip(*parts, strict=True))
    return Readings(points, tokens.cpu(), logits, rank, probability, top, reading)
