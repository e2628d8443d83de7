"""Made-up runs of any size, for pages without a model."""

from __future__ import annotations

from dataclasses import replace

import torch

from locant.evaluations import Words
from locant.recipes.ask import Asked
from locant.types import Attribution, Effect, Fact, Interval, Provenance, Query, Selection

LOST = -0.968
TOKENS = ("Paris", "France", "the", "Île", "巴黎", "", " ", "\n", "ville", "Lyon", "capital", "\u202eabc")


def fake_asked(
    layers: int = 4,
    neurons: int = 512,
    *,
    prompt: str = "The capital of France is",
    answer: str = "Paris",
    language: str = "en",
    suppressed: float = LOST,
    enhanced: float = 0.008,
    unrelated_change: Interval | None = None,
    k: int = 20,
    rank: int = 1,
    answer_prob: float = 0.991,
    model: str = "almanac",
    top_answers: tuple[tuple[str, float], ...] | None = None,
) -> Asked:
    """A run whose scores are sparse, as real ones are: few large, most near zero, more in later layers."""
    generator = torch.Generator().manual_seed(layers * neurons)
    query = Query("q", Fact("capital/France", "France", "capital", answer, language), prompt, answer)
    depth = torch.linspace(0.2, 1.0, layers)[:, None]
    noise = torch.randn(layers, neurons, generator=generator)
    scores = 2e-4 * depth * noise.sign() * noise.abs() ** 5
    activations = 0.3 * torch.randn(layers, neurons, generator=generator)
    recipe = Provenance("dai", {"rule": "gauss-legendre", "steps": 8, "hook": "post", "target": "probability",
                                "baseline": None}, model, "9f2c1e0", "float32")  # fmt: skip
    attribution = Attribution(
        (query,),
        scores[None],
        activations[None],
        torch.tensor([answer_prob]),
        torch.full((1, layers), 3e-7),
        recipe,
    )
    chosen = torch.zeros(layers * neurons, dtype=torch.bool)
    chosen[scores.flatten().topk(k).indices] = True
    chosen = chosen.view(layers, neurons)
    parents = (recipe.digest(),)
    selection = Selection(
        (query,), chosen.nonzero(), scores[chosen], (layers, neurons),
        Provenance("select:top", {"k": k}, parents=parents),
    )  # fmt: skip
    unrelated = tuple(
        Query(f"u{i}", Fact(f"colour/{i}", f"thing {i}", "colour", "red"), f"The colour of thing {i} is", "red")
        for i in range(60)
    )
    settings = {**recipe.settings, "method": "dai", "top": k, "random_sets": 40, "unrelated_facts": 60}
    words = tuple(
        Words(
            tuple(TOKENS[(i + j) % len(TOKENS)] for j in range(6)),
            ("the", "of", "<b>x</b>", "a", "&amp;", "London"),
        )
        for i in range(k)
    )
    return Asked(
        query=query,
        model=model,
        answer_prob=answer_prob,
        answer_rank=rank,
        top_answers=top_answers or ((answer, answer_prob), ("Lyon", 0.004), ("the", 0.0021), ("", 0.0004),
                                    ("Marseille", 0.0002), ("\n", 0.00009), ("London", 3e-7), ("a", 0.0)),
        attribution=attribution,
        selection=selection,
        words=words,
        effects=tuple(_effects(answer_prob, suppressed, enhanced, unrelated_change)),
        unrelated=unrelated,
        made_by=Provenance("ask", settings, model, "9f2c1e0", "float32", 0, (selection.made_by.digest(),)),
    )  # fmt: skip


def with_setting(asked: Asked, name: str, value: str) -> Asked:
    return replace(asked, made_by=replace(asked.made_by, settings={**asked.made_by.settings, name: value}))


def _effects(p: float, suppressed: float, enhanced: float, unrelated: Interval | None) -> list[Effect]:
    spared = unrelated or Interval(-0.043, -0.071, -0.019, 60)

    def own(operation: str, touched: str, change: Interval) -> Effect:
        return Effect(operation, touched, "own", p, p * (1 + change.mean), change, "random sets")

    return [
        own("suppress", "located", Interval(suppressed, suppressed, suppressed, 1)),
        own("suppress", "random, layer-matched", Interval(-0.009, -0.018, -0.001, 40)),
        own("suppress", "random", Interval(-0.004, -0.007, -0.001, 40)),
        Effect("suppress", "located", "unrelated", 0.71, 0.69, spared, "facts"),
        own("enhance", "located", Interval(enhanced, enhanced, enhanced, 1)),
        own("enhance", "random, layer-matched", Interval(0.0006, -0.0002, 0.0013, 40)),
        own("enhance", "random", Interval(0.0002, -0.0002, 0.0006, 40)),
        Effect("enhance", "located", "unrelated", 0.71, 0.70, Interval(-0.012, -0.034, 0.011, 60), "facts"),
    ]
