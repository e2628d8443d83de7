"""Build the almanac: train the small models that know the facts of src/locant/almanac, and measure them.

    python -m tools.almanac.build                                              # the shipped models, into the package
    python -m tools.almanac.build almanac-gpt2 --steps 20 --out /tmp/models    # a quick one, elsewhere

One command, one seed: the same seed, steps, thread count, machine and versions of torch and tokenizers give the same
weights, bit for bit. All models read the same corpus with the same tokenizer: every fact in every wording that is not
held out, as sentences, questions, four options, examples and two steps, and stories that join several facts.
Weights are rounded to float16, and what is measured is what the files hold. Progress goes to stderr. Everything is
written beside its place and renamed into it at the end.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from locant import almanac
from locant.almanac import formats
from locant.almanac.tables import folder
from tools.almanac.card import write_card
from tools.almanac.corpus import Corpus, draw_steps, leads
from tools.almanac.measuring import reply_all
from tools.almanac.recipes import RECIPES, Recipe
from tools.almanac.shapes import SHAPES, Shape, write_json, write_model
from tools.almanac.tokenizer import train_tokenizer
from tools.almanac.training import train

SAMPLES = 3000
"""Texts of each drawn format that the tokenizer is trained on, beside every sentence."""


def build(name: str, recipe: Recipe, out: Path, measured: bool = True) -> Path:
    """Train one model and put it, with its card, into `out`/`name`."""
    torch.set_num_threads(recipe.threads)
    torch.use_deterministic_algorithms(True)
    shape = SHAPES[name]
    corpus = Corpus(recipe.seed)
    tokenizer = train_tokenizer(
        (lead + text.whole for text in corpus.sample(SAMPLES) for lead in leads(text.language)), recipe.vocabulary
    )
    torch.manual_seed(recipe.seed)
    model = shape.make(shape.size, tokenizer.get_vocab_size())
    parameters = sum(weight.numel() for weight in model.parameters())
    print(f"{name}: {len(corpus.sentences)} sentences, {parameters} parameters", file=sys.stderr)
    started = time.monotonic()
    steps = draw_steps(corpus, tokenizer, recipe.mixture)
    curve = train(model.train(), shape, steps, recipe, make_probe(model, shape, tokenizer, corpus))
    seconds = round(time.monotonic() - started)

    new, place = out / f"{name}.new", out / name
    if new.exists():
        shutil.rmtree(new)
    write_model(model.eval(), shape, tokenizer, new)
    training = {
        "seconds": seconds,
        "sentences": len(corpus.sentences),
        "size": asdict(shape.size),
        "recipe": asdict(recipe),
        "curve": curve,
    }
    write_json(new / "card.json", {"training": training})
    if measured:
        write_card(name, new)
    if place.exists():
        shutil.rmtree(place)
    new.replace(place)
    return place


def make_probe(
    model: PreTrainedModel, shape: Shape, tokenizer: Tokenizer, corpus: Corpus
) -> Callable[[], dict[str, float]]:
    """A few questions of each kind, for the log: is it learning yet?"""
    draw = random.Random(0)
    asked = [
        one
        for book, entry, language in draw.sample(corpus.taught, 1000)
        for format in ("cloze", "question", "choice", "few-shot")
        for one in formats.ask(book, entry, language, format)
    ]
    sets = {
        "cloze": [one for one in asked if one.format == "cloze" and one.unseen == {"wording"}],
        "choice": [one for one in asked if one.format == "choice" and one.unseen == {"order"}],
        "few-shot": [one for one in asked if one.format == "few-shot" and not one.unseen],
    }
    sets = {name: draw.sample(found, min(200, len(found))) for name, found in sets.items()}

    def probe() -> dict[str, float]:
        model.eval()
        replies = {name: reply_all(model, shape, tokenizer, found) for name, found in sets.items()}
        model.train()
        return {name: round(sum(one.whole for one in found) / len(found), 3) for name, found in replies.items()}

    return probe


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the almanac's models and measure them.")
    parser.add_argument("names", nargs="*", default=list(almanac.MODELS), metavar="MODEL", help=", ".join(SHAPES))
    parser.add_argument("--steps", type=int, help="of each model, instead of its own number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="instead of the recipe's")
    parser.add_argument("--unmeasured", action="store_true", help="leave the card without figures")
    parser.add_argument("--out", type=Path, default=folder() / "models", help="gets a folder for each")
    chosen = parser.parse_args()
    for name in chosen.names:
        recipe = replace(RECIPES[name], seed=chosen.seed, threads=chosen.threads or RECIPES[name].threads)
        if chosen.steps:
            recipe = replace(recipe, steps=chosen.steps)
        place = build(name, recipe, chosen.out, measured=not chosen.unmeasured)
        print(f"{hashlib.sha256((place / 'model.safetensors').read_bytes()).hexdigest()}  {place}")


if __name__ == "__main__":
    main()
