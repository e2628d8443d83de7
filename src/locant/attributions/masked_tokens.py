"""The neurons' values when one token of the prompt is replaced: where the paths of `sig` and `amig` begin.

A masked model has the mask token put in a prompt token's place; any other the end-of-sequence token or, if its
tokenizer has none, the beginning-of-sequence or the padding token. Of a seq2seq model the encoder's tokens are
replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from locant.attributions.neurons import Starts, neurons_of
from locant.attributions.path import Integral
from locant.errors import BadQuery, LocantError
from locant.models import LanguageModel, Run, at_least_float32
from locant.models.engine import read_neurons
from locant.models.sites import Sites


@dataclass(frozen=True)
class Replaced:
    """What the neurons are when every prompt's token at one position is replaced.

    Attributes:
        present: which sites' prompts have a token to replace there.
        starts: of each layer, the neurons' values then; where nothing is replaced, what they are anyway.
    """

    present: Bool[Tensor, " site"]
    starts: list[Float[Tensor, "site neuron"]]


def mean_over_tokens(run: Run, hook: str, special: bool, integrate: Callable[[Starts], Integral]) -> Integral:
    """The mean of the integrals along the paths that begin where a token is replaced, one path per token.

    Args:
        hook: post (the down-projection's input) or pre (before the activation function).
        special: replace special tokens too.
        integrate: the integral along the paths from some starts.

    Raises:
        BadQuery: a prompt has no token to replace.
        LocantError: the tokenizer has no token to put in its place.
    """
    scores = torch.zeros(())
    explained = torch.zeros(())
    counts = torch.zeros(len(run.sites))
    for one in replaced(run, hook, special):
        found, present = integrate(one.starts), one.present.cpu()
        scores = scores + found.scores * present[:, None, None]
        explained = explained + found.explained * present[:, None]
        counts += present
    return Integral(scores / counts[:, None, None].to(scores), explained / counts[:, None].to(explained))


def mean_start(run: Run, hook: str, special: bool) -> list[Float[Tensor, "site neuron"]]:
    """Of each layer, the neurons' values when a token is replaced, averaged over the tokens of each prompt.

    Args and raises: as `mean_over_tokens`.
    """
    own = neurons_of(run, hook)
    shifts = [torch.zeros_like(own.values(layer)) for layer in range(run.lm.layers)]
    counts = torch.zeros(len(run.sites), device=run.sites.position.device)
    for one in replaced(run, hook, special):
        # Sites where nothing is replaced are not shifted
        for layer, start in enumerate(one.starts):
            shifts[layer] += at_least_float32(start) - own.values(layer)
        counts += one.present
    return [own.values(layer) + shift / counts[:, None].to(shift) for layer, shift in enumerate(shifts)]


def replaced(run: Run, hook: str, special: bool) -> Iterator[Replaced]:
    """One pass of the whole batch per position, all layers read at once; as `mean_over_tokens` needs them."""
    neurons_of(run, hook)  # refuses a hook that does not exist
    sites, token = run.sites, replacement(run.lm)
    positions = replaceable(run.lm, sites, special)
    values = run.gates if hook == "pre" else run.neurons
    for position in positions.any(dim=0).nonzero()[:, 0].tolist():
        present = positions[:, position]
        seen = read_neurons(run.lm, _with_token(sites, position, token), gates=hook == "pre")
        starts = [
            torch.where(present.to(own.device)[:, None], new, own) for new, own in zip(seen, values, strict=True)
        ]
        yield Replaced(present, starts)


def replacement(lm: LanguageModel) -> int:
    """The id of the token that stands in for another.

    Raises:
        LocantError: the tokenizer has no token for that.
    """
    tokenizer = lm.tokenizer
    if lm.architecture.kind == "masked":
        return int(tokenizer.mask_token_id)
    ids = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
    for token in ids:
        if token is not None:
            return int(token)
    raise LocantError(
        "this tokenizer has no end-of-sequence, beginning-of-sequence or padding token to put in a word's place: "
        "set its eos_token, or use a method that replaces no tokens, such as dai"
    )


def replaceable(lm: LanguageModel, sites: Sites, special: bool) -> Bool[Tensor, "site position"]:
    """Of each site, the positions of its prompt's tokens: no padding, no answer, and not the blank it fills.

    Args:
        special: special tokens too; an unknown word is a word.

    Raises:
        BadQuery: a prompt has none.
    """
    if sites.source is not None and sites.source_mask is not None:
        tokens, mask = sites.source[sites.sequence], sites.source_mask[sites.sequence]
        # The decoder begins with the blank that it fills
        inside = tokens != sites.tokens[sites.sequence, _first(sites)][:, None]
    else:
        tokens, mask = sites.tokens[sites.sequence], sites.mask[sites.sequence]
        inside = _around_answer(lm, sites)
    inside = inside & mask
    if not special:
        inside &= ~torch.isin(tokens, torch.tensor(_special(lm.tokenizer), device=tokens.device))
    for prompt, real, some in zip(tokens, mask, inside.any(dim=1).tolist(), strict=True):
        if not some:
            text = lm.tokenizer.decode(prompt[real].tolist())
            raise BadQuery(f"there is no word to replace in {text!r}: ask with more words, or by another method")
    return inside


def _around_answer(lm: LanguageModel, sites: Sites) -> Bool[Tensor, "site position"]:
    """Before the answer's tokens and, in masked models, after them."""
    at = torch.arange(sites.tokens.shape[1], device=sites.tokens.device)
    first = _first(sites)[:, None]
    if lm.architecture.kind == "causal":
        return at <= first
    count = sites.query.bincount()[sites.query][:, None]
    return (at < first) | (at >= first + count)


def _first(sites: Sites) -> Int[Tensor, " site"]:
    """Of each site, where the first token of its answer is read."""
    most = torch.full((int(sites.query.max()) + 1,), sites.tokens.shape[1], device=sites.query.device)
    return most.scatter_reduce(0, sites.query, sites.position, "amin")[sites.query]


def _special(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids that are no words; that of unknown words is one of them only where it has another use."""
    named = ("bos", "eos", "sep", "cls", "pad", "mask")
    marks = {getattr(tokenizer, f"{name}_token_id") for name in named}
    return [token for token in tokenizer.all_special_ids if token != tokenizer.unk_token_id or token in marks]


def _with_token(sites: Sites, position: int, token: int) -> Sites:
    """The same sites, with one token in every prompt's place; sequences that are shorter do not see it."""
    if sites.source is not None:
        source = sites.source.clone()
        source[:, position] = token
        return replace(sites, source=source)
    tokens = sites.tokens.clone()
    tokens[:, position] = token
    return replace(sites, tokens=tokens)
