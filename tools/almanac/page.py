"""The page of the documentation that shows the cards, and the curves of training beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from locant.almanac.tables import LANGUAGES, read_books
from locant.files import write_text

Card = dict[str, Any]

NAMES = {
    "en": "English", "fr": "French", "fi": "Finnish", "hu": "Hungarian", "ja": "Japanese", "ko": "Korean",
    "zh": "Chinese",
}  # fmt: skip

HEAD = """# What the embedded models know

Written by `make almanac-card`, which asks the shipped weights everything again. Shares of prompts whose **whole
answer** is the model's first choice, token by token; in brackets the same for the answer's first token, where it
differs. A fact is *known* if it was trained on, in that language; a wording is *held out* if it was never trained on
with any fact. Held out is not blind: wordings were corrected while earlier models were looked at.
"""


def write_page(path: Path, cards: dict[str, Card]) -> None:
    """Write the page, and the curve of each model beside it."""
    parts = [HEAD, *_sections(cards)]
    write_text(path, "\n".join(parts) + "\n")
    write_text(path.with_name("almanac-curves.svg"), draw_curves(cards))


def _sections(cards: dict[str, Card]) -> Iterable[str]:
    yield "## The models\n"
    yield _table(
        ["", *cards],
        [
            ["parameters", *(f"{card['parameters'] / 1e6:.2f} million" for card in cards.values())],
            ["layers, width, neurons per layer, heads", *map(_size, cards.values())],
            ["vocabulary", *(f"{card['vocabulary']:,}" for card in cards.values())],
            ["file (float16)", *(f"{card['megabytes']} MB" for card in cards.values())],
            ["training", *map(_training, cards.values())],
            ["seed, threads", *(f"{_recipe(card)['seed']}, {_recipe(card)['threads']}" for card in cards.values())],
        ],
    )
    yield "## Known facts in held-out wordings, by language\n"
    yield _by_language(cards, "cloze", "wording")
    yield "In the wordings that were trained:\n"
    yield _by_language(cards, "cloze", "")
    yield "## Other ways to ask\n"
    yield _other_formats(cards)
    yield "Multiple choice, known facts, orders of options never trained on, by language:\n"
    yield _by_language(cards, "choice", "order")
    yield (
        "Chance is 25%. 'Unseen facts' are facts that the model knows as sentences but never met in that format; "
        "unseen pairs are two known facts that it never had to join.\n"
    )
    yield "## Facts withheld from a language\n"
    yield (
        "Facts that were taught in some languages, asked in one of the others, in the wordings that other facts "
        "were taught in there: what crosses over by itself. Invented countries are in it.\n"
    )
    yield _by_language(cards, "cloze", "language")
    yield "By relation, all untaught languages together:\n"
    yield _relations(cards, lambda card: card["withheld_by_relation"])
    yield "## Calibration\n"
    yield (
        "Confidence is the probability of the first choice for the answer's first token; the expected calibration "
        "error (Guo et al. 2017, ten bins) is the mean distance between it and the share right.\n"
    )
    yield _calibration(cards)
    yield "## Nothing is guessed from the wording\n"
    yield (
        "Each held-out sentence with another subject in it: how often the old answer still comes. The base rate is "
        "the share of the relation's commonest object.\n"
    )
    yield _swapped(cards)
    for wordings, scores in (("held-out", "by_relation"), ("trained", "trained_by_relation")):
        yield f"## Known facts in {wordings} wordings\n"
        yield "By kind, in all languages:\n"
        yield _by_kind(cards, scores)
        yield "By relation, in English:\n"
        yield _relations(cards, lambda card, of=scores: [one for one in card[of] if one["language"] == "en"])
        yield "By relation and language, `almanac`:\n"
        yield _parallel(cards["almanac"][scores])
    yield "## Training\n"
    yield "![What is known, against steps](almanac-curves.svg)\n"
    yield "Cloze: known facts in held-out wordings. Choice: in orders never trained; in English from step 2,001 on.\n"


def _by_language(cards: dict[str, Card], format: str, unseen: str) -> str:
    rows = []
    for language in LANGUAGES:
        wanted = {"format": format, "unseen": unseen, "language": language}
        found = [_sum(_pick(card["by_language"], **wanted)) for card in cards.values()]
        if found[0]["prompts"]:
            rows.append([NAMES[language], *map(_share, found), f"{found[0]['prompts']:,}"])
    total = [_sum(_pick(card["by_language"], format=format, unseen=unseen)) for card in cards.values()]
    rows.append(["all", *map(_share, total), f"{total[0]['prompts']:,}"])
    return _table(["", *cards, "prompts"], rows)


def _other_formats(cards: dict[str, Card]) -> str:
    asked = {
        "question, known facts, held-out wording": ("question", "wording"),
        "question, unseen facts": ("question", "fact"),
        "multiple choice, known facts, unseen orders": ("choice", "order"),
        "multiple choice, unseen facts": ("choice", "fact order"),
        "multiple choice, known facts, held-out question and instruction": ("choice", "order wording"),
        "few-shot (2 or 3 examples)": ("few-shot", ""),
        "few-shot, unseen facts": ("few-shot", "fact"),
        "few-shot, held-out form": ("few-shot", "wording"),
        "two-hop, trained pairs, held-out wording": ("two-hop", "wording"),
        "two-hop, unseen pairs": ("two-hop", "fact"),
    }
    rows = []
    for what, (format, unseen) in asked.items():
        found = [_sum(_pick(card["by_language"], format=format, unseen=unseen)) for card in cards.values()]
        rows.append([what, *map(_share, found), f"{found[0]['prompts']:,}"])
    return _table(["", *cards, "prompts"], rows)


def _relations(cards: dict[str, Card], scores: Callable[[Card], list[Card]]) -> str:
    rows = []
    for book in read_books():
        found = [_sum(_pick(scores(card), relation=book.name)) for card in cards.values()]
        if found[0]["prompts"]:
            rows.append([book.name, book.kind, *map(_share, found), f"{found[0]['prompts']:,}"])
    return _table(["relation", "kind", *cards, "prompts"], rows)


def _by_kind(cards: dict[str, Card], scores: str) -> str:
    kinds = {book.name: book.kind for book in read_books()}
    rows = []
    for kind in dict.fromkeys(kinds.values()):
        found = [_sum([one for one in card[scores] if kinds[one["relation"]] == kind]) for card in cards.values()]
        rows.append([kind, *map(_share, found), f"{found[0]['prompts']:,}"])
    return _table(["", *cards, "prompts"], rows)


def _parallel(scores: list[Card]) -> str:
    rows = []
    for book in read_books():
        if len(book.languages) > 1:
            found = [_sum(_pick(scores, relation=book.name, language=language)) for language in LANGUAGES]
            rows.append([book.name, *map(_share, found)])
    return _table(["relation", *(NAMES[language] for language in LANGUAGES)], rows)


def _calibration(cards: dict[str, Card]) -> str:
    rows = [
        [name, what, *(f"{100 * found[key]:.1f}%" for key in ("confidence", "first_token", "calibration_error"))]
        for name, card in cards.items()
        for what, found in card["calibration"].items()
    ]
    return _table(["model", "asked", "confidence", "right", "calibration error"], rows)


def _swapped(cards: dict[str, Card]) -> str:
    rows = []
    for index, first in enumerate(next(iter(cards.values()))["swapped"]):
        old = [f"{100 * card['swapped'][index]['old_answer']:.1f}%" for card in cards.values()]
        rows.append([first["relation"], *old, f"{100 * first['base_rate']:.1f}%", f"{first['prompts']:,}"])
    return _table(["relation", *cards, "base rate", "prompts"], rows)


def _size(card: Card) -> str:
    return ", ".join(str(card["training"]["size"][name]) for name in ("layers", "width", "neurons", "heads"))


def _training(card: Card) -> str:
    return f"{card['training']['curve'][-1]['step']:,} steps, {round(card['training']['seconds'] / 60)} min"


def _recipe(card: Card) -> Card:
    found: Card = card["training"]["recipe"]
    return found


def _pick(scores: Sequence[Card], **wanted: str) -> list[Card]:
    return [one for one in scores if all(one[name] == value for name, value in wanted.items())]


def _sum(scores: Sequence[Card]) -> Card:
    prompts = sum(one["prompts"] for one in scores)
    shares = {
        name: sum(one[name] * one["prompts"] for one in scores) / max(prompts, 1)
        for name in ("first_token", "whole_answer")
    }
    return {"prompts": prompts, **shares}


def _share(score: Card) -> str:
    if not score["prompts"]:
        return ""
    whole, first = f"{100 * score['whole_answer']:.1f}%", f"{100 * score['first_token']:.1f}%"
    return whole if whole == first else f"{whole} ({first})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def draw_curves(cards: dict[str, Card], width: int = 760, height: int = 300) -> str:
    """An SVG: share of probe questions answered against steps, cloze drawn full, multiple choice dashed."""
    colours = ("#0072b2", "#d55e00", "#009e73")  # Okabe and Ito, told apart by the colour-blind
    left, right, top, bottom = 50, 150, 20, 40
    longest = max(card["training"]["curve"][-1]["step"] for card in cards.values())

    def place(step: float, share: float) -> str:
        x = left + (width - left - right) * step / longest
        return f"{x:.1f},{height - bottom - (height - top - bottom) * share:.1f}"

    marks = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = place(0, share).split(",")
        marks.append(f'<line x1="{x}" y1="{y}" x2="{width - right}" y2="{y}" stroke="#ddd"/>')
        marks.append(f'<text x="{left - 8}" y="{float(y) + 4:.1f}" text-anchor="end">{share:.0%}</text>')
    for part in range(5):
        x = place(longest * part / 4, 0).split(",")[0]
        marks.append(f'<text x="{x}" y="{height - 20}" text-anchor="middle">{longest * part // 4:,}</text>')
    middle = (left + width - right) / 2
    marks.append(f'<text x="{middle}" y="{height - 4}" text-anchor="middle">training steps</text>')
    row = 0
    for (name, card), colour in zip(cards.items(), colours, strict=False):
        for what, dash in (("cloze", ""), ("choice", ' stroke-dasharray="5 3"')):
            points = " ".join(place(point["step"], point[what]) for point in card["training"]["curve"])
            y, x = top + 18 * row, width - right + 10
            row += 1
            marks.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
            marks.append(f'<line x1="{x}" y1="{y}" x2="{x + 20}" y2="{y}" stroke="{colour}" stroke-width="2"{dash}/>')
            marks.append(f'<text x="{x + 25}" y="{y + 4}">{name.removeprefix("almanac-")}, {what}</text>')
    body = "\n".join(marks)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12">\n<rect width="{width}" height="{height}" fill="white"/>\n{body}\n</svg>\n'
    )
