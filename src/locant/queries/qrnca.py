"""QRNCA's questions as published: a file of prompts in three templates each, by domain or by language."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

from locant.errors import BadFile, BadQuery
from locant.queries.choice import ChoicePrompt, ChoiceQuestion, find_options, letters_of
from locant.queries.lines import read_json
from locant.types import Fact, Query

_HEADER_END = re.compile(r"[:：]\s*")


def read_qrnca(path: str | Path) -> tuple[ChoiceQuestion, ...]:
    """Read a published file: subject_qa.json, language_qa.json or the sample of the first.

    Prompts are as published. Questions, options and answers are read from them; the letters of a question must all
    point at one text, which in the file of languages must be the recorded answer. The group is the subject or the
    language.

    Raises:
        BadFile: no such file, or one of another form; the sentence names the record.

    Source: Chen, Dejl and Toni 2025, arXiv:2406.10868; github.com/tigerchen52/qrneuron, folder data.
    """
    path = Path(path)
    if path.is_dir():
        there = ", ".join(sorted(one.name for one in path.glob("*.json"))) or "none"
        raise BadFile(f"{str(path)!r} is a folder; name one of its files of questions: {there}")
    if not path.is_file():
        raise BadFile(f"no file {str(path)!r}")
    records = read_json(path)
    if not isinstance(records, dict) or not records:
        raise BadFile(f"{path.name}: not an object of records, each under its uid")
    return tuple(_read(record, uid, f"{path.name}, record {uid!r}") for uid, record in records.items())


def _read(record: object, uid: str, where: str) -> ChoiceQuestion:
    if not isinstance(record, dict):
        raise BadFile(f"{where}: not an object with sentences, obj_label and relation_name")
    prompts, letters = (_texts(record, name, where) for name in ("sentences", "obj_label"))
    if len(prompts) != len(letters):
        raise BadFile(f"{where}: it has {len(prompts)} sentences, but {len(letters)} letters in 'obj_label'")
    group = _text(record, "relation_name", where)
    said = _text(record, "ori_label", where) if "ori_label" in record else None
    options = [_options(prompt, where) for prompt in prompts]
    fact = Fact(
        uid,
        relation=_text(record, "relation", where) if "relation" in record else group,
        object=_find_answer(options, letters, said, where),
        # Only the file of languages records its answers; the other is English
        language="en" if said is None else group,
    )
    asked = zip(prompts, letters, options, strict=True)
    found = [
        ChoicePrompt(Query(f"{uid}/{number}", fact, prompt, letter, template=str(number)), letters_of(texts), texts)
        for number, (prompt, letter, texts) in enumerate(asked, start=1)
    ]
    return ChoiceQuestion(uid, group, _find_question(prompts, options), fact.object, tuple(found))


def _text(record: Mapping[str, object], name: str, where: str) -> str:
    text = record.get(name)
    if not isinstance(text, str) or not text.strip():
        raise BadFile(f"{where}: its {name!r} is not a text with something in it")
    return text


def _texts(record: Mapping[str, object], name: str, where: str) -> list[str]:
    texts = record.get(name)
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise BadFile(f"{where}: its {name!r} is not a list of texts")
    return texts


def _options(prompt: str, where: str) -> tuple[str, ...]:
    try:
        return find_options(prompt)
    except BadQuery as error:
        raise BadFile(f"{where}: {error}") from None


def _find_answer(options: Sequence[tuple[str, ...]], letters: Sequence[str], said: str | None, where: str) -> str:
    """The one text that all letters point at."""
    pointed = []
    for number, (texts, letter) in enumerate(zip(options, letters, strict=True), start=1):
        lettered = dict(zip(letters_of(texts), texts, strict=True))
        if letter not in lettered:
            raise BadFile(f"{where}, sentence {number}: {letter!r} is none of its letters {', '.join(lettered)}")
        pointed.append(lettered[letter])
    answer = pointed[0] if said is None else said.strip()
    for number, text in enumerate(pointed, start=1):
        if text != answer:
            raise BadFile(f"{where}, sentence {number}: its letter {letters[number - 1]} is {text!r}, not {answer!r}")
    return answer


def _find_question(prompts: Sequence[str], options: Sequence[tuple[str, ...]]) -> str:
    """What the prompts of a record say alike before their options, without the end of their headers.

    A header ends with a colon, on the question's line or on the one before.
    """
    heads = [prompt.partition(f"A. {texts[0]}")[0].rstrip() for prompt, texts in zip(prompts, options, strict=True)]
    alike = takewhile(lambda characters: len(set(characters)) == 1, zip(*map(reversed, heads), strict=False))
    same = "".join(characters[0] for characters in alike)[::-1]
    before = [head.removesuffix(same) for head in heads]
    if any(re.search(r"[:：]\s*$", text) for text in before):
        return same.strip()  # what differs ends with the header, so no colon in the question is its end
    return _HEADER_END.split(same, maxsplit=1)[-1].strip()
