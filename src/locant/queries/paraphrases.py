"""Published paraphrases of facts in six languages, whose blank was deleted: what of them can still be asked.

The sentences were made by putting the empty string for the object. Where that stood at the end, the sentence without
its end is a prompt; elsewhere nothing says where the blank was, and what is left is no sentence to continue.

Source: github.com/heng840/Dataset, the precursor of arXiv:2411.17401.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from locant.errors import BadFile
from locant.queries.lines import read_json
from locant.queries.parallel import refuse_languages
from locant.queries.quality import DELETED, OBJECT_FINAL, Filtered
from locant.types import Fact, Query

EMPTY = "facts without a sentence"

_CLOSING = ".,;:!?)\"'»”’…。、，；：！？）」』"


def read_paraphrases(
    folder: str | Path, languages: Sequence[str] | None = None, *, damaged: bool = False
) -> tuple[Query, ...]:
    """Read the paraphrases: files LANG.json of uuid -> sentences, relation_name, obj_label.

    A query's template says what became of its blank. 'object-final': it was at the end, since a space stands before
    the closing punctuation (or, in English, whose wordings were chosen to end with the object, since nothing
    closes the sentence); the prompt is the sentence up to there. 'blank deleted mid-sentence': all others; their
    prompt is the sentence as published, their uid ends with /damaged, and no model can be asked them.

    Facts have no subject, which the files do not tell, and the uid relation/uuid, which is that of `read_mlama`.
    The k-th sentences of two languages are not translations of each other.

    Args:
        languages: only these, in this order; None for all, by name.
        damaged: return also the queries whose blank is lost.

    Returns:
        Queries in the order of languages, facts, sentences; facts without a sentence have none. Their uid is the
        fact's/language/place of the sentence, counted from 0.

    Raises:
        BadFile: no such folder, a file of another form, or files that tell different relations of a fact.
        UnknownName: no such language.
    """
    found, _ = _read_all(folder, languages)
    return tuple(one for one in found if damaged or one.template == OBJECT_FINAL)


def sift_paraphrases(folder: str | Path, languages: Sequence[str] | None = None) -> Filtered:
    """What `read_paraphrases` returns, with counts of what it leaves out: queries without a blank, empty facts.

    Raises:
        BadFile, UnknownName: as for `read_paraphrases`.
    """
    found, empty = _read_all(folder, languages)
    kept = tuple(one for one in found if one.template == OBJECT_FINAL)
    return Filtered(kept, {EMPTY: empty, DELETED: len(found) - len(kept)})


def _read_all(folder: str | Path, languages: Sequence[str] | None) -> tuple[list[Query], int]:
    """The queries of all sentences, and how many facts lack them in some language."""
    root = Path(folder)
    if not root.is_dir():
        raise BadFile(f"no folder {str(root)!r}")
    known = {path.stem: path for path in sorted(root.glob("*.json"))}
    if not known:
        raise BadFile(f"{str(root)!r} holds no paraphrases: there is no file *.json in it")
    wanted = tuple(known if languages is None else languages)
    refuse_languages(wanted, known)
    queries: list[Query] = []
    relations: dict[str, str] = {}
    empty: set[str] = set()
    for language in wanted:
        for where, uuid, record in _records(known[language]):
            fact, sentences = _fact(record, uuid, language, where)
            if relations.setdefault(uuid, fact.relation) != fact.relation:
                raise BadFile(f"{where}: its relation is {fact.relation!r}, but {relations[uuid]!r} elsewhere")
            if not sentences:
                empty.add(uuid)
            queries += [_query(fact, index, sentence) for index, sentence in enumerate(sentences)]
    return queries, len(empty)


def _records(path: Path) -> Iterator[tuple[str, str, Mapping[str, object]]]:
    records = read_json(path)
    if not isinstance(records, dict):
        raise BadFile(f"{path.name}: not an object of records, each under its uuid")
    for uuid, record in records.items():
        where = f"{path.name}, record {uuid!r}"
        if not isinstance(record, dict):
            raise BadFile(f"{where}: not an object with sentences, relation_name and obj_label")
        yield where, uuid, record


def _fact(record: Mapping[str, object], uuid: str, language: str, where: str) -> tuple[Fact, Sequence[str]]:
    relation, answer = (_text(record, name, where) for name in ("relation_name", "obj_label"))
    sentences = record.get("sentences")
    if not isinstance(sentences, list) or not all(isinstance(text, str) and text.strip() for text in sentences):
        raise BadFile(f"{where}: its 'sentences' are not a list of texts with something in them")
    return Fact(f"{relation}/{uuid}", relation=relation, object=answer, language=language), sentences


def _text(record: Mapping[str, object], name: str, where: str) -> str:
    text = record.get(name)
    if not isinstance(text, str) or not text.strip():
        raise BadFile(f"{where}: its {name!r} is not a text with something in it")
    return text


def _query(fact: Fact, index: int, sentence: str) -> Query:
    uid, prompt = f"{fact.uid}/{fact.language}/{index}", _prompt(sentence, fact.language)
    if prompt:
        return Query(uid, fact, prompt, fact.object, template=OBJECT_FINAL)
    return Query(f"{uid}/damaged", fact, sentence, fact.object, template=DELETED)


def _prompt(sentence: str, language: str) -> str:
    """The sentence up to its blank, where that was at the end; empty where it was not."""
    text = sentence.rstrip()
    stem = text.rstrip(_CLOSING)
    if stem == text:
        return text if language == "en" or text != sentence else ""
    return stem.rstrip() if stem[-1:].isspace() else ""
