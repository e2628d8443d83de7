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
import json
import random
import shutil
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from locant import almanac
from locant.almanac import formats
from locant.almanac.tables import folder
from tools.almanac.card import load, write_card
from tools.almanac.corpus import Corpus, draw_steps, leads
from tools.almanac.hints import Hinter
from tools.almanac.measuring import reply_all
from tools.almanac.recipes import RECIPES, Recipe
from tools.almanac.shapes import SHAPES, Shape, write_json, write_model
from tools.almanac.tokenizer import train_tokenizer
from tools.almanac.training import Curve, Keep, Probe, train

SAMPLES = 3000
"""Texts of each drawn format that the tokenizer is trained on, beside every sentence."""


def build(
    name: str,
    recipe: Recipe,
    out: Path,
    measured: bool = True,
    start: Path | None = None,
    first: int = 0,
    keep: Path | None = None,
) -> Path:
    """Train one model and put it, with its card, into `out`/`name`.

    Args:
        start: folder of what the stages before the `first` made; it and those after are trained.
        keep: gets a folder of the model each time it is probed.
    """
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
    seconds, curve = 0, Curve()
    if start is not None:
        model.load_state_dict(load(shape, start)[0].state_dict())
        earlier = json.loads((start / "card.json").read_text(encoding="utf-8"))["training"]
        seconds, curve = earlier["seconds"], earlier["curve"]
    started = time.monotonic()
    probe = make_probe(model, shape, tokenizer, corpus)

    def write(place: Path) -> None:
        if place.exists():
            shutil.rmtree(place)
        write_model(model, shape, tokenizer, place)
        training = {
            "seconds": seconds + round(time.monotonic() - started),
            "sentences": len(corpus.sentences),
            "size": asdict(shape.size),
            "recipe": asdict(recipe),
            "curve": curve,
        }
        write_json(place / "card.json", {"training": training})

    def write_kept() -> None:
        if keep is not None:
            write(keep / f"{name}-{curve[-1]['step']:.0f}")

    for number in range(first, len(recipe.stages)):
        train_stage(number, model, shape, tokenizer, corpus, recipe, probe, curve, write_kept)

    new, place = out / f"{name}.new", out / name
    write(new)
    if measured:
        write_card(name, new)
    if place.exists():
        shutil.rmtree(place)
    new.replace(place)
    return place


def train_stage(
    number: int,
    model: PreTrainedModel,
    shape: Shape,
    tokenizer: Tokenizer,
    corpus: Corpus,
    recipe: Recipe,
    probe: Probe,
    curve: Curve,
    keep: Keep,
) -> None:
    """Train one stage of a recipe, from weights as a file would hold them."""
    stage = recipe.stages[number]
    torch.set_num_threads(stage.threads or recipe.threads)
    if number:
        corpus = Corpus(recipe.seed + number)
        model.load_state_dict({name: weight.half() for name, weight in model.state_dict().items()})
    steps = draw_steps(corpus, tokenizer, stage.mixture)
    hinter = Hinter(tokenizer, stage.mixture, stage.hints) if stage.hints else None
    train(model.train(), shape, steps, stage, recipe, probe, curve, hinter, keep)


def make_probe(model: PreTrainedModel, shape: Shape, tokenizer: Tokenizer, corpus: Corpus) -> Probe:
    """A few questions of each kind, for the log: is it learning yet?"""
    draw = random.Random(0)
    asked = [
        one
        for book, entry, language in draw.sample(corpus.taught, 1000)
        for format in ("cloze", "question", "choice", "few-shot")
        for one in formats.ask(book, entry, language, format)
    ]
    chosen = [one for one in asked if one.format == "choice" and one.unseen == {"order"}]
    sets = {
        "cloze": [one for one in asked if one.format == "cloze" and one.unseen == {"wording"}],
        "choice": [one for one in chosen if one.language == "en"],
        "choice elsewhere": [one for one in chosen if one.language != "en"],
        "few-shot": [one for one in asked if one.format == "few-shot" and not one.unseen],
    }
    sets = {name: draw.sample(found, min(150, len(found))) for name, found in sets.items()}

    def probe() -> dict[str, float]:
        model.eval()
        replies = {name: reply_all(model, shape, tokenizer, found) for name, found in sets.items()}
        model.train()
        return {name: round(sum(one.whole for one in found) / len(found), 3) for name, found in replies.items()}

    return probe


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the almanac's models and measure them.")
    parser.add_argument("names", nargs="*", default=list(almanac.MODELS), metavar="MODEL", help=", ".join(SHAPES))
    parser.add_argument("--steps", type=int, help="of each stage, instead of its own number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="instead of the recipe's")
    parser.add_argument("--every", type=int, help="steps between two looks at how it does, instead of the recipe's")
    parser.add_argument("--start", type=Path, metavar="FOLDER", help="a model to go on from, with --first")
    parser.add_argument("--first", type=int, default=0, metavar="STAGE", help="the first stage to train, from 0")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="gets the weights at each of these looks")
    parser.add_argument("--unmeasured", action="store_true", help="leave the card without figures")
    parser.add_argument("--out", type=Path, default=folder() / "models", help="gets a folder for each")
    chosen = parser.parse_args()
    for name in chosen.names:
        recipe = replace(RECIPES[name], seed=chosen.seed, threads=chosen.threads or RECIPES[name].threads)
        recipe = replace(recipe, every=chosen.every or recipe.every)
        if chosen.steps:
            recipe = replace(recipe, stages=tuple(replace(one, steps=chosen.steps) for one in recipe.stages))
        place = build(
            name, recipe, chosen.out, not chosen.unmeasured, start=chosen.start, first=chosen.first, keep=chosen.keep
        )
        print(f"{hashlib.sha256((place / 'model.safetensors').read_bytes()).hexdigest()}  {place}")


if __name__ == "__main__":
    main()
