"""A norm is known by asking it: gain, shift, whether it centres, and the slope that follows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from families import tiny
from locant.errors import LocantError
from locant.models.branches import branches_of
from locant.models.graph_of import graph_of
from locant.models.norms import norm_of


@pytest.mark.parametrize(("family", "centred"), [("gpt2", True), ("bloom", True), ("llama", False), ("gemma", False)])
def test_a_norm_is_its_gain_times_the_stream_over_its_size(family: str, centred: bool) -> None:
    lm = tiny(family)
    module = branches_of(lm, graph_of(lm))[1].norm
    stream = torch.randn(5, 32, generator=torch.Generator().manual_seed(0)) + 0.5
    norm = norm_of(module, stream)
    unit, size = norm.measure(stream)
    assert norm.centred == centred
    with torch.no_grad():
        assert float((unit * norm.gain + norm.shift - module(stream)).abs().max()) < 1e-5
    expected = (norm.centre(stream) ** 2).mean(dim=-1, keepdim=True).sqrt()
    assert float((size - expected).abs().max()) < 1e-4


def test_what_is_no_such_norm_is_refused() -> None:
    class Squash(nn.Module):
        def forward(self, stream: Tensor) -> Tensor:
            return stream.tanh()

    stream = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    with pytest.raises(LocantError, match="Squash is no LayerNorm or RMSNorm"):
        norm_of(Squash(), stream).measure(stream)
