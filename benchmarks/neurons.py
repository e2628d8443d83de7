"""Speed of the engine, against the loops it replaces, on a model of GPT-2-small's shape with random weights.

    make bench-neurons

Everything is measured in one run, on two threads; times are medians. The plain loop is what released code does:
one layer after the other, the m points of the path as one batch of whole prompts through the whole model, and the
gradient with respect to the scaled neurons. One forward per neuron is the plain form of exact ablation; it is timed
on a sample and extrapolated. The floor is the rows' own matrix products, forward and backward, and nothing else.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import locant
from locant.models import LanguageModel

STEPS = 20
LENGTHS = (12, 64, 200)
SAMPLE = 60


def gpt2_small() -> LanguageModel:
    """A random model of GPT-2-small's shape, whose words are numbers."""
    torch.manual_seed(0)
    words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(50257)} | {"<unk>": 50257}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
    return locant.load(GPT2LMHeadModel(GPT2Config()).eval(), tokenizer=tokenizer)


def prompt(length: int) -> locant.Query:
    ids = torch.randint(0, 50257, (length,), generator=torch.Generator().manual_seed(length)).tolist()
    return locant.query(" ".join(f"w{token}" for token in ids), "w42")


def timed(work: Callable[[], object], repeats: int, warm: bool = True) -> float:
    """Median seconds of a few runs; with `warm`, after one that is not counted."""
    if warm:
        work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def peak_mib(work: Callable[[], object]) -> float:
    """Highest resident memory of a piece of work above what was there before, in MiB (Linux)."""
    # What earlier work freed but the allocator kept would hide what this work takes
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    work()
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def plain_attribution(lm: LanguageModel, ids: Tensor, answer: int) -> Tensor:
    """Dai et al.'s scores [layer neuron], one layer after the other, all points of a layer in one batch."""
    points = torch.arange(STEPS) / STEPS
    scores = []
    for down in lm.downs:
        seen: list[Tensor] = []
        handle = down.register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(inputs[0][0, -1]))
        with torch.no_grad():
            lm.model(ids)
        handle.remove()
        leaf = (points[:, None] * seen[0]).requires_grad_(True)

        def scale(module: torch.nn.Module, inputs: tuple[Tensor], leaf: Tensor = leaf) -> tuple[Tensor]:
            return (torch.cat([inputs[0][:, :-1], leaf[:, None]], dim=1),)

        handle = down.register_forward_pre_hook(scale)
        reached = lm.model(ids.expand(STEPS, -1)).logits[:, -1].softmax(-1)[:, answer]
        handle.remove()
        (slope,) = torch.autograd.grad(reached.sum(), leaf)
        scores.append(slope.mean(dim=0) * seen[0])
    return torch.stack(scores)


@torch.no_grad()
def plain_ablation(lm: LanguageModel, ids: Tensor, answer: int, units: list[tuple[int, int]]) -> Tensor:
    """P(answer) with each unit at zero, one forward pass each."""

    def silence(neuron: int) -> Callable[[torch.nn.Module, tuple[Tensor]], None]:
        def hook(module: torch.nn.Module, inputs: tuple[Tensor]) -> None:
            inputs[0][0, -1, neuron] = 0

        return hook

    left = []
    for layer, neuron in units:
        handle = lm.downs[layer].register_forward_pre_hook(silence(neuron))
        left.append(lm.model(ids).logits[0, -1].softmax(-1)[answer])
        handle.remove()
    return torch.stack(left)


def floor(lm: LanguageModel, length: int = 0) -> Callable[[], None]:
    """The rows' matrix products alone, forwards and backwards: each layer's for the rows that joined below it, then
    the logits'. With a length, those of one pass of the prompt too."""
    hidden, wide, vocabulary = lm.hidden, lm.neurons, lm.config.vocab_size
    shapes = [(hidden, 3 * hidden), (hidden, hidden), (hidden, wide), (wide, hidden)]
    work = [(STEPS * layer, *shape) for layer in range(1, lm.layers) for shape in shapes]
    work.append((STEPS * lm.layers, hidden, vocabulary))
    # Every layer has weights of its own, as in a model: they do not stay in the cache
    weights = [torch.randn(shape[1:]) for shape in work]
    rows = {shape[:2]: torch.randn(shape[:2]) for shape in work}
    pass_through = {shape[1]: torch.randn(length, shape[1]) for shape in work}

    def products() -> None:
        for (count, inner, _), weight in zip(work, weights, strict=True):
            (rows[count, inner] @ weight) @ weight.T
        for (_, inner, _), weight in zip(work[:-1], weights[:-1], strict=True):
            if length:
                pass_through[inner] @ weight

    return products


def attribution_row(lm: LanguageModel, length: int) -> list[str]:
    query = prompt(length)
    ids = torch.tensor([lm.tokens(query).prompt])
    answer = lm.tokens(query).answers[0][0]
    found: list[Tensor] = []
    expected: list[Tensor] = []

    def engine() -> None:
        found.append(locant.attribute(lm, [query], rule="riemann-left", steps=STEPS).scores[0])

    def plain() -> None:
        expected.append(plain_attribution(lm, ids, answer))

    # Long prompts take the plain loop minutes: one run tells both its time and its memory
    seconds: list[float] = []
    plain_memory = peak_mib(lambda: seconds.append(timed(plain, 1, warm=False)))
    slow = seconds[0] if length > 50 else timed(plain, 3)
    fast, memory = timed(engine, 7), peak_mib(engine)
    least, prompt_too = timed(floor(lm), 7), timed(floor(lm, length), 7)
    gap = float((found[-1] - expected[-1]).abs().max() / expected[-1].abs().max())
    return [
        str(length),
        f"{slow:.1f} s",
        f"{fast:.2f} s",
        f"{slow / fast:.0f}x",
        f"{gap:.0e}",
        f"{least:.2f} s",
        f"{fast / least:.2f}",
        f"{fast / prompt_too:.2f}",
        f"{plain_memory:.0f} MiB",
        f"{memory:.0f} MiB",
    ]


def ablation_row(lm: LanguageModel, length: int) -> list[str]:
    query = prompt(length)
    ids = torch.tensor([lm.tokens(query).prompt])
    answer = lm.tokens(query).answers[0][0]
    start = time.perf_counter()
    found = locant.attribute(lm, [query], "exact")
    fast = time.perf_counter() - start
    generator = torch.Generator().manual_seed(length)
    draws = torch.randint(0, lm.layers * lm.neurons, (SAMPLE,), generator=generator).tolist()
    units = [divmod(draw, lm.neurons) for draw in draws]
    seconds = []
    left = []
    for unit in units:
        start = time.perf_counter()
        left.append(plain_ablation(lm, ids, answer, [unit]))
        seconds.append(time.perf_counter() - start)
    slow = median(seconds) * lm.layers * lm.neurons
    lost = found.answer_prob - torch.cat(left)
    scores = torch.stack([found.scores[0][unit] for unit in units])
    gap = float((scores - lost).abs().max() / found.answer_prob)
    return [str(length), f"{fast:.0f} s", f"{slow:.0f} s", f"{slow / fast:.0f}x", f"{gap:.0e}"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the engine against the loops it replaces.")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="of the prompts, in tokens")
    parser.add_argument("--only", choices=("attribution", "ablation"), help="one of the two tables")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    lm = gpt2_small()
    console = Console(width=130)
    console.print(f"GPT-2-small shape, random weights, float32, 2 threads; {lm.layers} layers x {lm.neurons} neurons")
    if arguments.only != "ablation":
        table = Table(
            "tokens",
            "plain loop",
            "engine",
            "ratio",
            "gap",
            "floor",
            "engine/floor",
            "/with prompt",
            "plain peak",
            "peak",
        )
        table.title = f"Integrated gradients of every neuron, m = {STEPS}"
        for length in arguments.lengths:
            table.add_row(*attribution_row(lm, length))
        console.print(table)
    if arguments.only != "attribution":
        table = Table("tokens", "engine", f"one forward each (from {SAMPLE})", "ratio", "gap / P(answer)")
        table.title = f"Exact ablation of all {lm.layers * lm.neurons:,} neurons"
        for length in arguments.lengths:
            table.add_row(*ablation_row(lm, length))
        console.print(table)


if __name__ == "__main__":
    main()
