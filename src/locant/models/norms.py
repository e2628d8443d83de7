"""Norms of the residual stream as what they all are: a gain times the stream, centred or not, over its own size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from locant.errors import LocantError
from locant.models.language_model import at_least_float32


@dataclass(frozen=True)
class Norm:
    """gain * (stream - its mean, if centred) / size + shift, found by asking the module.

    Attributes:
        centred: the stream's mean is taken off it (LayerNorm, not RMSNorm).
    """

    module: nn.Module
    gain: Float[Tensor, " hidden"]
    shift: Float[Tensor, " hidden"]
    centred: bool

    @torch.no_grad()
    def measure(
        self, stream: Float[Tensor, "*row hidden"]
    ) -> tuple[Float[Tensor, "*row hidden"], Float[Tensor, "*row 1"]]:
        """The stream as it is before gain and shift, and the size it was divided by.

        Raises:
            LocantError: the module is not such a norm.
        """
        normed = at_least_float32(self.module.forward(stream)) - self.shift
        fine = self.centre(at_least_float32(stream))
        scaled = fine * self.gain
        size = scaled.norm(dim=-1, keepdim=True) / normed.norm(dim=-1, keepdim=True)
        gap = float((scaled / size - normed).abs().max() / normed.abs().max())
        if not gap < (1e-3 if stream.dtype in (torch.float32, torch.float64) else 5e-2):
            raise LocantError(f"{type(self.module).__name__} is no LayerNorm or RMSNorm: its slope is not known")
        return fine / size, size

    def centre(self, values: Float[Tensor, "*row hidden"]) -> Float[Tensor, "*row hidden"]:
        return values - values.mean(dim=-1, keepdim=True) if self.centred else values


@torch.no_grad()
def norm_of(module: nn.Module, like: Float[Tensor, "... hidden"]) -> Norm:
    """A norm's gain and shift, on the device and in the dtype of a stream; at least float32."""
    hidden = like.shape[-1]
    # Large, so that what keeps a norm from dividing by zero does not count; two entries cancel, and it has no mean
    signs = torch.ones(hidden, dtype=like.dtype, device=like.device)
    signs[1::2] = -1
    shift, odd, even = at_least_float32(
        module.forward(torch.stack([torch.zeros_like(signs), 1024 * signs, torch.full_like(signs, 1024)]))
    )
    gain = (odd - shift) * signs
    return Norm(module, gain, shift, bool((even - shift).abs().max() < 0.01 * gain.abs().max()))
