"""Causal tracing against a plain loop, and on a model that knows facts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import locant
from families import FAMILIES, tiny
from locant.attributions.tracing import spread_of, trace
from locant.errors import BadQuery, LocantError, UnknownName
from locant.models import LanguageModel
from locant.types import Query

CAUSAL = sorted(name for name in FAMILIES if tiny(name).architecture.kind == "causal")


def asked(prompt: str = "w3 w5 w6 w7", subject: str = "w5 w6", answer: str = "w11 w12") -> Query:
    return locant.query(prompt, answer, subject=subject)


def keep(clean: dict[int, torch.Tensor], layer: int) -> Callable[..., None]:
    return lambda module, inputs, output: clean.__setitem__(layer, output.clone())


def plainly(
    lm: LanguageModel, query: Query, noise: torch.Tensor | None, layers: set[int], at: str = "subject"
) -> float:
    """P(answer) by one pass of the whole model, with noise and with some layers' outputs as they are without it."""
    tokens = lm.tokens(query)
    ids = torch.tensor([tokens.prompt + tokens.answers[0][:-1]])
    last = lm.subject_position(query) if at == "subject" else len(tokens.prompt) - 1
    clean: dict[int, torch.Tensor] = {}
    handles = [down.register_forward_hook(keep(clean, layer)) for layer, down in enumerate(lm.downs)]
    with torch.no_grad():
        lm.model(ids)
    for handle in handles:
        handle.remove()

    def corrupt(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        changed = inputs[0].clone()
        for place, position in enumerate(lm.subject_positions(query)):
            changed[0, position] += noise[place]
        return (changed, *inputs[1:])

    def restore(layer: int) -> Callable[..., torch.Tensor]:
        def hook(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
            changed = output.clone()
            changed.view(-1, output.shape[-1])[last] = clean[layer].view(-1, output.shape[-1])[last]
            return changed

        return hook

    handles = [lm.blocks[0].register_forward_pre_hook(corrupt)] if noise is not None else []
    handles += [lm.downs[layer].register_forward_hook(restore(layer)) for layer in layers]
    with torch.no_grad():
        logits = lm.model(ids).logits[0].double().log_softmax(dim=-1)
    for handle in handles:
        handle.remove()
    first = len(tokens.prompt) - 1
    return float(sum(logits[first + place, target] for place, target in enumerate(tokens.answers[0])).exp())


@pytest.mark.parametrize("family", CAUSAL)
@pytest.mark.parametrize(("window", "at"), [(1, "subject"), (2, "subject"), (1, "last")])
def test_tracing_equals_one_pass_for_every_layer_and_draw(family: str, window: int, at: str) -> None:
    lm, query = tiny(family), asked()
    found = trace(lm, [query], noise=2.0, draws=3, window=window, at=at, seed=5)
    seen: list[torch.Tensor] = []
    handle = lm.blocks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    with torch.no_grad():
        lm.model(torch.tensor([lm.tokens(query).prompt]))
    handle.remove()
    span = lm.subject_positions(query)
    scale = 2.0 * float(seen[0][0, span.start : span.stop].std())
    noise = scale * torch.randn(3, len(span), lm.hidden, generator=torch.Generator().manual_seed(5))
    assert float(found.clean) == pytest.approx(plainly(lm, query, None, set()), rel=1e-4)
    corrupted = sum(plainly(lm, query, one, set()) for one in noise) / 3
    assert float(found.corrupted) == pytest.approx(corrupted, rel=1e-4)
    for layer in range(lm.layers):
        restored = {one for one in range(layer, layer + window) if one < lm.layers}
        mean = sum(plainly(lm, query, one, restored, at) for one in noise) / 3
        assert float(found.restored[0, layer]) == pytest.approx(mean, rel=1e-4)


def test_the_same_seed_draws_the_same_noise() -> None:
    lm = tiny("gpt2")
    first, again, other = (trace(lm, [asked()], seed=seed).restored for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_query_alone_has_the_noise_of_all_if_their_spread_is_given() -> None:
    lm = tiny("gpt2")
    queries = [asked(), asked("w3 w20 w7", "w20")]
    both = trace(lm, queries, draws=2)
    first = trace(lm, queries[:1], draws=2, spread=spread_of(lm, queries))
    assert torch.allclose(first.restored[0], both.restored[0])
    assert not torch.allclose(trace(lm, queries[:1], draws=2).restored[0], both.restored[0])


def test_noise_on_the_subject_takes_a_known_answer_away_and_the_first_layer_gives_most_of_it_back(
    almanac_lm: LanguageModel,
) -> None:
    queries = [
        locant.query(f"The capital of {country} is", capital, subject=country)
        for country, capital in (("France", "Paris"), ("Italy", "Rome"), ("Japan", "Tokyo"))
    ]
    found = trace(almanac_lm, queries)
    assert (found.clean > 0.5).all() and (found.corrupted < found.clean / 2).all()
    effect = found.effect.mean(dim=0)
    assert effect[0] > 0.01 and effect[0] > 5 * effect[1:].max()
    # What the last layer writes at the subject reaches no other position
    assert (found.effect[:, -1] == 0).all()


def test_what_cannot_be_traced_is_refused() -> None:
    lm = tiny("gpt2")
    with pytest.raises(BadQuery, match="subject"):
        trace(lm, [asked(subject="w9")])
    with pytest.raises(UnknownName, match="no queries"):
        trace(lm, [])
    with pytest.raises(UnknownName, match="draws"):
        trace(lm, [asked()], draws=0)
    with pytest.raises(UnknownName, match="no position 'first'"):
        trace(lm, [asked()], at="first")
    with pytest.raises(LocantError, match="masked"):
        trace(tiny("bert"), [asked()])
