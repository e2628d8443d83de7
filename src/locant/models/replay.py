"""Running a model's own blocks again on rows: variants of what one site's residual could have been.

Two ways, each exact:
- `SharedPrefix`: in a causal model a change at the answer position cannot reach earlier ones, so every row is
  one extra query token at that position, which attends to the prompt's cached keys and to itself alone.
- `WholeSequence`: any other model runs each row as a copy of the whole sequence, from the changed layer on.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache

from locant.errors import LocantError
from locant.models.hooks import Arguments, first
from locant.models.sites import Sites

CACHES = ("past_key_values", "past_key_value", "layer_past")


@runtime_checkable
class Replay(Protocol):
    """How rows are carried from block to block; `state` is what blocks pass on."""

    def lift(self, layer: int, rows: Float[Tensor, "site row hidden"]) -> Tensor:
        """Rows at a block's output, as a state; `layer` names the block."""

    def block(self, layer: int, state: Tensor) -> Tensor:
        """The state after a block."""

    def lower(self, state: Tensor) -> Float[Tensor, "site row hidden"]:
        """The rows of a state."""

    def answers(self, state: Tensor) -> Bool[Tensor, "sequence position"]:
        """Where answers are read in what a block is given for a state; one entry may stand for all."""


def by_name(module: nn.Module, args: tuple[object, ...], kwargs: Arguments) -> Arguments:
    """A call's arguments by name, without the residual it was given."""
    bound = inspect.signature(module.forward).bind(*args, **kwargs)
    named: Arguments = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        named |= value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
    named.pop("hidden_states")
    return named


class PrefixCache(DynamicCache):
    """Keys and values of a prompt, put before those of every row; never grows."""

    def __init__(self, keys: list[Tensor], values: list[Tensor]) -> None:
        super().__init__()
        self.prefix = list(zip(keys, values, strict=True))

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        keys, values = self.prefix[layer_idx]
        return torch.cat([keys, key_states], dim=2), torch.cat([values, value_states], dim=2)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.prefix[layer_idx][0].shape[2]


class SharedPrefix:
    """Rows as extra tokens beside the prompt's cached keys.

    Args:
        arguments: what each block was called with, by name.
        cache: the keys and values that run left.
    """

    def __init__(
        self,
        blocks: list[nn.Module],
        sites: Sites,
        arguments: list[Arguments],
        cache: DynamicCache | EncoderDecoderCache,
    ) -> None:
        self.blocks = blocks
        self.sites = sites
        self.arguments = arguments
        self.length = int(sites.position.max())
        self.cache = self._prefix(cache)
        self._made: dict[tuple[int, int], object] = {}

    def lift(self, layer: int, rows: Float[Tensor, "site row hidden"]) -> Tensor:
        return rows

    def lower(self, state: Tensor) -> Float[Tensor, "site row hidden"]:
        return state

    def answers(self, state: Tensor) -> Bool[Tensor, "sequence position"]:
        return torch.ones(1, 1, dtype=torch.bool, device=state.device)

    def block(self, layer: int, state: Tensor) -> Tensor:
        recorded = self.arguments[layer]
        kwargs = {name: self._for_rows(name, value, state, recorded) for name, value in recorded.items()}
        return first(self.blocks[layer](state, **kwargs))

    def _prefix(self, cache: DynamicCache | EncoderDecoderCache) -> PrefixCache | EncoderDecoderCache:
        own = cache.self_attention_cache if isinstance(cache, EncoderDecoderCache) else cache
        prefix = PrefixCache(
            [self._each(layer.keys)[:, :, : self.length] for layer in own.layers],
            [self._each(layer.values)[:, :, : self.length] for layer in own.layers],
        )
        if not isinstance(cache, EncoderDecoderCache):
            return prefix
        cross = DynamicCache()
        for index, layer in enumerate(cache.cross_attention_cache.layers):
            cross.update(self._each(layer.keys), self._each(layer.values), index)
        return EncoderDecoderCache(prefix, cross)

    def _for_rows(self, name: str, value: object, state: Tensor, recorded: Arguments) -> object:
        """One of a block's arguments, as it must be for rows at the answer position."""
        if name in CACHES:
            return self.cache
        if name == "attention_mask":
            return self._once(value, state, lambda: self._mask(value, state))
        make = _ROW_ARGUMENTS.get(name)
        if make is None or value is None:
            return value
        return self._once(value, state, lambda: make(self, value, state.shape[1], recorded))

    def _once(self, value: object, state: Tensor, make: Callable[[], object]) -> object:
        """Blocks share their arguments: make each only once per number of rows."""
        key = (id(value), state.shape[1])
        if key not in self._made:
            self._made = {kept: made for kept, made in self._made.items() if kept[1] == key[1]}
            self._made[key] = make()
        return self._made[key]

    def _visible(self, mask: object) -> Bool[Tensor, "site key"]:
        """Which of the prompt's positions the answer position sees in a block."""
        position = self.sites.position
        seen = torch.arange(self.length, device=position.device) < position[:, None]
        if mask is None:
            return seen
        if not isinstance(mask, Tensor) or mask.ndim != 4:
            raise LocantError(f"this model's attention mask is not a tensor of four axes but {type(mask).__name__}")
        own = self._own(mask[:, :1], 2)[:, 0, 0, : self.length]
        return seen & (own if own.dtype == torch.bool else own > torch.finfo(own.dtype).min / 2)

    def _mask(self, mask: object, state: Tensor) -> Float[Tensor, "site 1 row key"]:
        """Additive mask: every row sees the prompt before it, and of the rows itself alone."""
        visible = self._visible(mask).to(state.device)
        count = state.shape[1]
        own = torch.eye(count, dtype=torch.bool, device=state.device).expand(len(visible), 1, -1, -1)
        seen = torch.cat([visible[:, None, None].expand(-1, -1, count, -1), own], dim=-1)
        shut = torch.finfo(state.dtype).min
        return torch.zeros(seen.shape, dtype=state.dtype, device=state.device).masked_fill(~seen, shut)

    def _own(self, value: Tensor, axis: int) -> Tensor:
        """Each site's slice of a tensor over sequences (axis 0) and positions (`axis`); either may broadcast."""
        return self._at_position(self._each(value), axis)

    def _each(self, value: Tensor) -> Tensor:
        """Each site's entry of a tensor over sequences, which may have one entry for all."""
        sequence = self.sites.sequence.to(value.device)
        return value[sequence if value.shape[0] > 1 else torch.zeros_like(sequence)]

    def _at_position(self, each: Tensor, axis: int) -> Tensor:
        """A tensor over sites, at each one's position; a single position broadcasts."""
        if each.shape[axis] == 1:
            return each
        at = self.sites.position.to(each.device).view(-1, *[1] * (each.ndim - 1))
        shape = list(each.shape)
        shape[axis] = 1
        return each.gather(axis, at.expand(shape))

    def _positions(self, value: object, rows: int, recorded: Arguments) -> object:
        """Position ids, or rotary tables: every row is at its site's position."""
        if isinstance(value, tuple):
            return tuple(self._positions(one, rows, recorded) for one in value)
        assert isinstance(value, Tensor)
        return self._own(value, 1).expand(-1, rows, *value.shape[2:])

    def _alibi(self, value: Tensor, rows: int, recorded: Arguments) -> Tensor:
        """BLOOM's bias per key: the prompt's, then the answer position's for every row."""
        heads = value.shape[0] // len(self.sites.mask)
        per_key = value.view(-1, heads, value.shape[-1])
        own = self._own(per_key, 2).expand(-1, -1, rows)
        before = self._each(per_key)[:, :, : self.length]
        return torch.cat([before, own], dim=-1).flatten(0, 1)[:, None]

    def _bias(self, value: Tensor, rows: int, recorded: Arguments) -> Tensor:
        """T5's bias per query and key; each row's own key is at distance zero."""
        per_key = self._own(value, 2)
        own = self._at_position(per_key, 3).expand(-1, -1, -1, rows)
        both = torch.cat([per_key[..., : self.length], own], dim=-1).expand(-1, -1, rows, -1)
        mask = self._mask(recorded["attention_mask"], both[:, 0])
        return (both + mask).clamp(min=torch.finfo(both.dtype).min)

    def _source(self, value: Tensor, rows: int, recorded: Arguments) -> Tensor:
        """What the encoder left, once per site."""
        return self._each(value)

    def _source_bias(self, value: Tensor, rows: int, recorded: Arguments) -> Tensor:
        return self._own(value, 2)

    def _cache_position(self, value: Tensor, rows: int, recorded: Arguments) -> Tensor:
        return torch.full((rows,), self.length, device=value.device)


_ROW_ARGUMENTS: dict[str, Callable[..., object]] = {
    "position_ids": SharedPrefix._positions,
    "position_embeddings": SharedPrefix._positions,
    "position_embeddings_global": SharedPrefix._positions,
    "position_embeddings_local": SharedPrefix._positions,
    "cache_position": SharedPrefix._cache_position,
    "alibi": SharedPrefix._alibi,
    "position_bias": SharedPrefix._bias,
    "encoder_hidden_states": SharedPrefix._source,
    "encoder_attention_mask": SharedPrefix._source_bias,
    "encoder_decoder_position_bias": SharedPrefix._source_bias,
}


class WholeSequence:
    """Rows as copies of their whole sequence, changed at the answer position.

    Args:
        residuals: each block's output for every position.
    """

    def __init__(
        self,
        blocks: list[nn.Module],
        sites: Sites,
        arguments: list[Arguments],
        residuals: list[Float[Tensor, "sequence position hidden"]],
    ) -> None:
        self.blocks = blocks
        self.sites = sites
        self.arguments = arguments
        self.residuals = residuals

    def lift(self, layer: int, rows: Float[Tensor, "site row hidden"]) -> Tensor:
        residual = self.residuals[layer]
        whole = residual[self.sites.sequence.to(residual.device)]
        copies = whole[:, None].expand(-1, rows.shape[1], -1, -1)
        return torch.where(self._changed(whole), rows[:, :, None], copies)

    def lower(self, state: Tensor) -> Float[Tensor, "site row hidden"]:
        return state[torch.arange(len(state)), :, self.sites.position.to(state.device)]

    def block(self, layer: int, state: Tensor) -> Tensor:
        which = self.sites.sequence.repeat_interleave(state.shape[1])
        kwargs = {name: self._repeat(name, value, which) for name, value in self.arguments[layer].items()}
        return first(self.blocks[layer](state.flatten(0, 1), **kwargs)).view(state.shape)

    def answers(self, state: Tensor) -> Bool[Tensor, "sequence position"]:
        return self.sites.answer_positions[self.sites.sequence].repeat_interleave(state.shape[1], dim=0)

    def _changed(self, whole: Tensor) -> Bool[Tensor, "site 1 position 1"]:
        at = torch.arange(whole.shape[1], device=whole.device)
        return (at == self.sites.position.to(whole.device)[:, None])[:, None, :, None]

    def _repeat(self, name: str, value: object, which: Tensor) -> object:
        if name in CACHES:
            return None
        if isinstance(value, tuple):
            return tuple(self._repeat(name, one, which) for one in value)
        if name == "alibi" and isinstance(value, Tensor):  # BLOOM's, of every head of every sequence
            return value.unflatten(0, (len(self.sites.mask), -1))[which.to(value.device)].flatten(0, 1)
        # What has one entry for all sequences broadcasts as it is
        if isinstance(value, Tensor) and value.ndim > 1 and value.shape[0] == len(self.sites.mask) > 1:
            return value[which.to(value.device)]
        return value
