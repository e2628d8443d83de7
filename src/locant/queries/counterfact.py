"""CounterFact as published, in ROME's form or in the shorter one of EasyEdit's splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from locant.queries.edit_cases import CaseSet, EditCase, fault, sift
from locant.queries.records import Record, read_records
from locant.queries.subjects import fill
from locant.types import EditRequest, Fact, Query

SNIPPETS = "attribute_snippets.json"


def read_counterfact(path: str | Path) -> CaseSet:
    """Read CounterFact: facts with a new object each, which is not true.

    A record has either `requested_rewrite`, `paraphrase_prompts`, `neighborhood_prompts`, `attribute_prompts` and
    `generation_prompts`, or one prompt of each of the first three: `prompt`, `rephrase_prompt`, `locality_prompt`.
    Neighbours are subjects whose object is the old one; they and the subjects of attributes are not named. References
    are the texts that `attribute_snippets.json` has of the new object, if it lies beside the file: as ROME's code
    reads it, a list of `relation_id`, `target_id` and `samples`, each with a `text`.

    Returns:
        Cases in order, their uid counterfact/case_id; the shorter form names no relations. Records whose prompt does
        not hold the subject, or whose new object is the old one or empty, are left out.

    Raises:
        BadFile: no such file, or one of another form.

    Source: Meng et al. 2022, arXiv:2202.05262; github.com/kmeng01/rome.
    """
    snippets = _snippets(Path(path).with_name(SNIPPETS))
    return sift(_full(one, snippets) if "requested_rewrite" in one else _short(one) for one in read_records(path))


def _snippets(path: Path) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """Texts by relation and object, both by their ids; none where there is no such file."""
    if not path.is_file():
        return {}
    return {
        (one.text("relation_id"), one.text("target_id")): tuple(each.text("text") for each in one.inners("samples"))
        for one in read_records(path)
        if one.values.get("samples")
    }


def _full(record: Record, snippets: Mapping[tuple[str, str], tuple[str, ...]]) -> EditCase | str:
    rewrite = record.inner("requested_rewrite")
    target = rewrite.inner("target_new")
    subject, new = rewrite.text("subject"), target.text("str")
    uid = _uid(record)
    fact = Fact(uid, subject, rewrite.text("relation_id"), rewrite.inner("target_true").text("str"))
    prompt, place = fill(rewrite.text("prompt"), subject)
    request = EditRequest(replace(_query(uid, fact, prompt), subject_at=place), new)
    return fault(request) or EditCase(
        request,
        paraphrases=_paraphrases(fact, record.texts("paraphrase_prompts")),
        neighbours=_others(fact, "neighbour", record.texts("neighborhood_prompts"), fact.object),
        attributes=_others(fact, "attribute", record.texts("attribute_prompts"), new),
        generation=record.texts("generation_prompts"),
        references=snippets.get((fact.relation, str(target.values.get("id", ""))), ()),
    )


def _short(record: Record) -> EditCase | str:
    uid = _uid(record)
    fact = Fact(uid, record.text("subject"), "", record.text("ground_truth"))
    request = EditRequest(_query(uid, fact, record.text("prompt")), record.text("target_new"))
    return fault(request) or EditCase(
        request,
        paraphrases=_paraphrases(fact, (record.text("rephrase_prompt"),)),
        neighbours=_others(
            fact, "neighbour", (record.text("locality_prompt"),), record.text("locality_ground_truth")
        ),
    )


def _uid(record: Record) -> str:
    return f"counterfact/{record.values.get('case_id', record.where)}"


def _query(uid: str, fact: Fact, prompt: str) -> Query:
    return Query(uid, fact, prompt, fact.object)


def _paraphrases(fact: Fact, prompts: tuple[str, ...]) -> tuple[Query, ...]:
    return tuple(_query(f"{fact.uid}/paraphrase/{at}", fact, prompt) for at, prompt in enumerate(prompts))


def _others(fact: Fact, what: str, prompts: tuple[str, ...], object: str) -> tuple[Query, ...]:
    """Queries of subjects that are not named, all with one object."""
    uids = [f"{fact.uid}/{what}/{at}" for at in range(len(prompts))]
    return tuple(
        _query(uid, Fact(uid, "", fact.relation, object), prompt) for uid, prompt in zip(uids, prompts, strict=True)
    )
