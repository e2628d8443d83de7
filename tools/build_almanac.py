"""Build the almanac: train the small model that knows the facts of src/locant/almanac, and measure it.

    python tools/build_almanac.py                                # the shipped model, into the package
    python tools/build_almanac.py --steps 20 --out /tmp/almanac  # a quick one, elsewhere

One command, one seed: the same seed, steps, thread count and versions of torch and tokenizers give the same
weights, bit for bit. It writes sentences from every fact in every wording that is not held out, and stories
that join several facts; trains a byte-level BPE tokenizer on them, then a Llama-shaped model with
grouped-query attention in float32; rounds the weights to float16, and asks them every fact in every wording,
held-out ones too. Progress goes to stderr. Everything is written beside its place and renamed into it at
the end.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from locant import almanac
from locant.almanac.tables import Book, fill, folder, placeholders, read_books, read_stories
from locant.languages import gap
from locant.types import Query

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
BOS_ID, EOS_ID, PAD_ID = 0, 1, 2
CONTEXT = 512

Batch: TypeAlias = tuple[Tensor, Tensor]  # token ids and their weights in the loss, each "row token"
Success: TypeAlias = tuple[bool, bool]  # of the answer's first token and of the whole answer
Accuracy: TypeAlias = dict[str, dict[str, dict[str, dict[str, float]]]]


@dataclass(frozen=True)
class Recipe:
    """Everything the weights depend on, besides the tables."""

    seed: int = 0
    steps: int = 1000
    threads: int = 1
    tokens_per_step: int = 2048
    # Short rows begin with a sentence that looks like a prompt; the long one keeps every position in use.
    row_lengths: tuple[int, ...] = (64, 64, 64, 64, 64, 64, 64, CONTEXT)
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    # What a sentence is about cannot be guessed, its object can: the object's tokens count for more.
    object_weight: float = 5.0
    vocabulary: int = 4000
    layers: int = 5
    width: int = 160
    neurons: int = 512
    heads: int = 8
    key_value_heads: int = 4


@dataclass(frozen=True)
class Sentence:
    """A text in two parts; a prompt and its object, or a story and nothing."""

    language: str
    prompt: str
    object: str = ""

    @property
    def text(self) -> str:
        return self.prompt + self.object


def stop(language: str) -> str:
    return "。" if language == "zh" else "."


def write_sentences() -> list[Sentence]:
    """Every fact in every trained wording."""
    return [
        Sentence(query.language, query.prompt, gap(query.language) + query.answer + stop(query.language))
        for query in almanac.queries(held_out=False)
    ]


def write_stories(books: Sequence[Book]) -> list[Sentence]:
    """Every story about every subject that has all its facts."""
    objects = {book.name: {subject: book.objects[value] for subject, value in book.facts} for book in books}
    stories = []
    for language, text in read_stories():
        asked = sorted(placeholders(text) - {"subject"})
        subjects = next(book.subjects for book in books if book.name == asked[0])
        for subject, names in subjects.items():
            if all(subject in objects[relation] for relation in asked):
                filled = {"subject": names} | {relation: objects[relation][subject] for relation in asked}
                stories.append(Sentence(language, fill(text, language, filled)))
    return stories


def train_tokenizer(sentences: Sequence[Sentence], vocabulary: int) -> Tokenizer:
    """Byte-level BPE that starts a text with BOS; Chinese and Japanese characters stand alone.

    No token runs across the border of a Chinese prompt and its answer, because each character is a word.
    """
    tokenizer = Tokenizer(models.BPE())
    alone = pre_tokenizers.Split(Regex(r"[\p{Han}\p{Hiragana}\p{Katakana}]"), "isolated")
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([alone, words])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[BOS, EOS, PAD], initial_alphabet=alphabet, show_progress=False
    )
    texts = [lead + sentence.text for sentence in sentences for lead in leads(sentence.language)]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, BOS_ID)]
    )
    return tokenizer


def leads(language: str) -> tuple[str, ...]:
    """What may stand between a sentence and the one before it."""
    return ("\n", gap(language))


@dataclass(frozen=True)
class Piece:
    """A sentence as tokens, and how much each counts in the loss."""

    ids: list[int]
    weights: list[float]


def encode(tokenizer: Tokenizer, sentence: Sentence, lead: str, object_weight: float) -> Piece:
    prompt = tokenizer.encode(lead + sentence.prompt, add_special_tokens=False).ids
    answer = tokenizer.encode(sentence.object, add_special_tokens=False).ids
    return Piece(prompt + answer, [1.0] * len(prompt) + [object_weight] * len(answer))


def draw_rows(sentences: Sequence[Sentence], tokenizer: Tokenizer, recipe: Recipe) -> Iterator[Batch]:
    """Endless batches (ids, weights), each "row token": BOS, sentences in random order, EOS, padding."""
    random_ = random.Random(recipe.seed)
    first = [encode(tokenizer, sentence, "", recipe.object_weight) for sentence in sentences]
    later = [
        [encode(tokenizer, sentence, lead, recipe.object_weight) for lead in leads(sentence.language)]
        for sentence in sentences
    ]
    waiting: list[int] = []

    def draw_row(length: int) -> Piece:
        ids, weights = [BOS_ID], [0.0]
        while True:
            if not waiting:
                waiting.extend(random_.sample(range(len(sentences)), len(sentences)))
            piece = first[waiting[-1]] if len(ids) == 1 else random_.choice(later[waiting[-1]])
            if len(ids) > 1 and len(ids) + len(piece.ids) >= length:
                break
            ids, weights = ids + piece.ids, weights + piece.weights
            waiting.pop()
        space = max(length - len(ids) - 1, 0)
        return Piece((ids + [EOS_ID] + [PAD_ID] * space)[:length], (weights + [1.0] + [0.0] * space)[:length])

    for step in range(recipe.steps):
        length = recipe.row_lengths[step % len(recipe.row_lengths)]
        rows = [draw_row(length) for _ in range(recipe.tokens_per_step // length)]
        yield torch.tensor([row.ids for row in rows]), torch.tensor([row.weights for row in rows])


def build_model(recipe: Recipe, vocabulary: int) -> LlamaForCausalLM:
    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=recipe.width,
        intermediate_size=recipe.neurons,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.key_value_heads,
        max_position_embeddings=CONTEXT,
        initializer_range=0.04,
        tie_word_embeddings=False,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
    )
    return LlamaForCausalLM(config)


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up over the first twentieth, then half a cosine down to a hundredth of the peak."""
    warm = max(1, recipe.steps // 20)
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    done = (step - warm) / max(1, recipe.steps - warm)
    return recipe.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


def train(model: LlamaForCausalLM, rows: Iterator[Batch], recipe: Recipe) -> list[list[float]]:
    """Train in place; returns (step, loss) points, the loss a weighted mean in nats per token."""
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    plain = [weight for weight in model.parameters() if weight.ndim == 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    curve, started, running = [], time.monotonic(), 0.0
    for step, (ids, weights) in enumerate(rows):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, recipe)
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        losses = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        loss = (losses * weights[:, 1:].flatten()).sum() / weights[:, 1:].sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        running = loss.item() if step == 0 else 0.95 * running + 0.05 * loss.item()
        if step % 100 == 0 or step == recipe.steps - 1:
            curve.append([step, round(running, 4)])
            print(f"step {step:5d}  loss {running:.4f}  {time.monotonic() - started:6.0f} s", file=sys.stderr)
    return curve


@torch.no_grad()
def answer_all(model: LlamaForCausalLM, tokenizer: Tokenizer, queries: Sequence[Query]) -> list[Success]:
    """For each query, whether its answer's first token is the likeliest, and whether all its tokens are."""
    prompts = [tokenizer.encode(query.prompt).ids for query in queries]
    texts = [gap(query.language) + query.answer for query in queries]
    answers = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    results: list[Success] = [(False, False)] * len(queries)
    order = sorted(range(len(queries)), key=lambda at: len(prompts[at]) + len(answers[at]))
    for start in range(0, len(order), 256):
        batch = order[start : start + 256]
        longest = max(len(prompts[at]) + len(answers[at]) for at in batch)
        rows = [prompts[at] + answers[at] for at in batch]
        ids = torch.tensor([row + [PAD_ID] * (longest - len(row)) for row in rows])
        best = model(input_ids=ids, use_cache=False).logits.argmax(-1).tolist()
        for at, guesses in zip(batch, best, strict=True):
            begin = len(prompts[at]) - 1
            said = guesses[begin : begin + len(answers[at])]
            results[at] = (said[0] == answers[at][0], said == answers[at])
    return results


def measure(model: LlamaForCausalLM, tokenizer: Tokenizer) -> Accuracy:
    """Shares answered, by language, relation (and 'all') and 'trained' or 'held_out' wordings."""
    asked = {"trained": almanac.queries(held_out=False), "held_out": almanac.queries(held_out=True)}
    tallies: dict[tuple[str, str, str], list[Success]] = {}
    for kind, queries in asked.items():
        for query, result in zip(queries, answer_all(model, tokenizer, queries), strict=True):
            for relation in (query.relation, "all"):
                tallies.setdefault((query.language, relation, kind), []).append(result)
    accuracy: Accuracy = {}
    for (language, relation, kind), results in tallies.items():
        count = len(results)
        accuracy.setdefault(language, {}).setdefault(relation, {})[kind] = {
            "prompts": count,
            "first_token": round(sum(first for first, _ in results) / count, 4),
            "whole_answer": round(sum(whole for _, whole in results) / count, 4),
        }
    return accuracy


def write_model(model: LlamaForCausalLM, tokenizer: Tokenizer, place: Path) -> None:
    """Write what from_pretrained of transformers 4 and 5 alike can read."""
    place.mkdir(parents=True)
    # Copies, because save_file refuses tensors that share memory.
    weights = {name: weight.detach().to(torch.float16).clone() for name, weight in model.state_dict().items()}
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    config = model.config
    special = {"bos_token_id": BOS_ID, "eos_token_id": EOS_ID, "pad_token_id": PAD_ID}
    write_json(
        place / "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": config.vocab_size,
            "hidden_size": config.hidden_size,
            "intermediate_size": config.intermediate_size,
            "num_hidden_layers": config.num_hidden_layers,
            "num_attention_heads": config.num_attention_heads,
            "num_key_value_heads": config.num_key_value_heads,
            "head_dim": config.head_dim,
            "hidden_act": config.hidden_act,
            "max_position_embeddings": config.max_position_embeddings,
            "rms_norm_eps": config.rms_norm_eps,
            "rope_theta": 10000.0,
            "tie_word_embeddings": False,
            "torch_dtype": "float16",
            **special,
        },
    )
    write_json(place / "generation_config.json", special)
    tokenizer.save(str(place / "tokenizer.json"))
    write_json(
        place / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": BOS,
            "eos_token": EOS,
            "pad_token": PAD,
            "clean_up_tokenization_spaces": False,
            # Without this line transformers 4 hands out token_type_ids, which Llama refuses.
            "model_input_names": ["input_ids", "attention_mask"],
            "model_max_length": CONTEXT,
        },
    )


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def move_into_place(new: Path, place: Path) -> None:
    """Replace a file or folder by its successor."""
    if place.is_dir():
        shutil.rmtree(place)
    new.replace(place)


def build(recipe: Recipe, out: Path) -> None:
    torch.set_num_threads(recipe.threads)
    torch.use_deterministic_algorithms(True)
    books = read_books()
    sentences = write_sentences() + write_stories(books)
    tokenizer = train_tokenizer(sentences, recipe.vocabulary)
    model = build_model(recipe, tokenizer.get_vocab_size())
    parameters = sum(weight.numel() for weight in model.parameters())
    print(f"{len(sentences)} sentences, {parameters} parameters", file=sys.stderr)

    started = time.monotonic()
    curve = train(model.train(), draw_rows(sentences, tokenizer, recipe), recipe)
    seconds = round(time.monotonic() - started)
    model = model.eval().to(torch.float16).float()  # what the file holds is what is measured

    out.mkdir(parents=True, exist_ok=True)
    new, new_card = out / "model.new", out / "card.json.new"
    if new.exists():
        shutil.rmtree(new)
    write_model(model, tokenizer, new)
    digest = hashlib.sha256((new / "model.safetensors").read_bytes()).hexdigest()
    card = {
        "facts": sum(len(book.facts) for book in books),
        "relations": {book.name: len(book.facts) for book in books},
        "languages": list(dict.fromkeys(name for book in books for name in book.languages)),
        "sentences": len(sentences),
        "parameters": parameters,
        "vocabulary": tokenizer.get_vocab_size(),
        "weights_sha256": digest,
        "training_seconds": seconds,
        "recipe": asdict(recipe),
        "loss_curve": curve,
        "accuracy": measure(model, tokenizer),
    }
    write_json(new_card, card)
    move_into_place(new, out / "model")
    move_into_place(new_card, out / "card.json")
    print(f"{digest}  {out / 'model'}")


def main() -> None:
    default = Recipe()
    parser = argparse.ArgumentParser(description="Train the almanac's model and measure it.")
    parser.add_argument("--steps", type=int, default=default.steps)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--out", type=Path, default=folder(), help="gets model/ and card.json")
    chosen = parser.parse_args()
    build(Recipe(seed=chosen.seed, steps=chosen.steps), chosen.out)


if __name__ == "__main__":
    main()
