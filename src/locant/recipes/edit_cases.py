"""What editing is tried on: published edits, one's own, or edits made of facts; those that fit a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from locant.errors import UnknownName
from locant.evaluations import read_answers
from locant.evaluations.edit_readings import ASKED, Comparison, comparisons
from locant.models import LanguageModel
from locant.queries.counterfact import read_counterfact
from locant.queries.edit_cases import CaseSet, EditCase
from locant.queries.edit_files import read_edits
from locant.queries.edited_facts import BYSTANDERS, pool_facts
from locant.queries.mquake import read_mquake
from locant.queries.zsre import TARGETS, read_zsre
from locant.recipes.data import can_be_asked, in_turn, of_relations, read_data
from locant.recipes.edit_steps import with_steps
from locant.types import EditRequest, Query

SOURCES = (
    "almanac, counterfact:FILE, zsre:FILE (to the right answer; zsre:FILE,alt to a wrong one), mquake:FILE, "
    "csv:FILE (one's own edits, .csv or .tsv), pararel:FOLDER, and any file of queries (.jsonl, .json, .parquet)"
)
PUBLISHED: Mapping[str, Callable[[str], CaseSet]] = {
    "counterfact": read_counterfact,
    "zsre": lambda place: _read_zsre(place),
    "mquake": read_mquake,
    "csv": read_edits,
}
AT_ONCE = 64
"""Cases that are looked at together."""

NOT_ASKED = "a request cannot be asked of this model"
SAME_TOKEN = "both objects begin with the same token"
NOT_KNOWN = "the model does not say the old object"
QUERIES = "queries of the cases that cannot be asked of this model"


def select_cases(
    lm: LanguageModel,
    source: str,
    *,
    relations: Sequence[str] | None = None,
    language: str = "en",
    limit: int | None = None,
    known_only: bool = False,
    bystanders: int = BYSTANDERS,
    seed: int = 0,
) -> CaseSet:
    """Read edits, keep what can be asked of a model, and draw from it.

    Old and new object of every request begin with different tokens, as an edit is read from the first.

    Args:
        source: one of `SOURCES`; from all but published edits and one's own, edits are made (`edit_cases_of_facts`).
            The almanac's have portability: questions of two steps, one of them edited.
        relations: only these; None for all.
        language: of the facts that edits are made of, and of one's own edits.
        limit: cases, drawn evenly from the relations; with the same seed a larger limit adds to a smaller one. None
            for all.
        known_only: only cases whose first request asks for what the model says anyway.
        bystanders: of each case at most, where edits are made of facts: neighbours, unrelated queries, and queries
            of portability.

    Returns:
        Cases in the order they were drawn, one of each relation in turn, and what was left out of those looked at.

    Raises:
        UnknownName: no such source or relation, nothing is left, or nothing old is there to be known.
        BadFile: as the readers say.
    """
    if limit is not None and limit < 1:
        raise UnknownName(f"a limit of {limit} leaves no edits; the least is 1")
    candidates, left_out = _candidates(lm, source, relations, language, bystanders, seed)
    cases: list[EditCase] = []
    while limit is None or len(cases) < limit:
        some = list(islice(candidates, AT_ONCE))
        if not some:
            break
        cases += _fitting(lm, some, known_only, left_out, None if limit is None else limit - len(cases))
    if not cases:
        why = "; ".join(f"{reason}: {count}" for reason, count in left_out.items())
        raise UnknownName(f"no edit of {source} is left ({why or 'there are none'})")
    return CaseSet(tuple(_asked(lm, one, left_out) for one in cases), dict(left_out))


def read_cases_of(source: str) -> CaseSet | None:
    """The edits of a file that holds edits; None where they are to be made of facts.

    Raises:
        BadFile: as the readers say.
    """
    name, _, place = source.partition(":")
    if name in PUBLISHED and place:
        return PUBLISHED[name](place)
    return read_edits(source) if Path(source).suffix.lower() in (".csv", ".tsv") and name != "pararel" else None


def _read_zsre(place: str) -> CaseSet:
    path, _, target = place.rpartition(",")
    # A file's name may have a comma of its own
    return read_zsre(path, target=target) if target in TARGETS else read_zsre(place)


def _candidates(
    lm: LanguageModel, source: str, relations: Sequence[str] | None, language: str, bystanders: int, seed: int
) -> tuple[Iterator[EditCase | str], Counter[str]]:
    """Cases, or reasons why there is none, one relation after another, and what is left out already."""
    read = read_cases_of(source)
    if read is None:
        pool = pool_facts(_facts(lm, source, relations, language))
        names = list(pool.wordings)
        order = in_turn([pool.wordings[name][0].relation for name in names], seed)
        steps = with_steps(language, seed, bystanders) if source == "almanac" else None

        def made(place: int) -> EditCase | str:
            found = pool.case(
                names[place],
                seed=seed,
                bystanders=bystanders,
                fits=lambda query, new: _fault(lm, EditRequest(query, new)) is None,
            )
            return steps(found) if steps and isinstance(found, EditCase) else found

        return map(made, order), Counter()
    cases = of_relations([one for one in read.cases if one.request.query.language == language], relations, source)
    if not cases:
        raise UnknownName(f"no edit of {source} is in {language!r}")
    return (cases[place] for place in in_turn([one.relation for one in cases], seed)), Counter(read.left_out)


def _facts(lm: LanguageModel, source: str, relations: Sequence[str] | None, language: str) -> tuple[Query, ...]:
    try:
        return read_data(source, lm.architecture.kind, relations=relations, language=language)
    except UnknownName as error:
        if str(error).startswith("no data "):
            raise UnknownName(f"no edits {source!r}; there is {SOURCES}") from None
        raise


def _fitting(
    lm: LanguageModel, some: Sequence[EditCase | str], known_only: bool, left_out: Counter[str], most: int | None
) -> list[EditCase]:
    """The cases that fit the model, at most so many; why others do not is counted up to there."""
    fits = [
        one
        if isinstance(one, str)
        else next((why for why in (_fault(lm, each) for each in one.requests) if why), one)
        for one in some
    ]
    known = _known(lm, [one for one in fits if isinstance(one, EditCase)]) if known_only else None
    kept: list[EditCase] = []
    for one in fits:
        if len(kept) == most:
            break
        if isinstance(one, str):
            left_out[one] += 1
        elif known is not None and one.uid not in known:
            left_out[NOT_KNOWN] += 1
        else:
            kept.append(one)
    return kept


def _known(lm: LanguageModel, cases: Sequence[EditCase]) -> set[str]:
    """The cases whose old object is the model's first choice in all its tokens."""
    asked = [one for one in cases if one.request.query.answer]
    if cases and not asked:
        raise UnknownName("these edits name no old objects, so that none is known to the model (zsRE: FILE,alt)")
    ranks = read_answers(lm, [one.request.query for one in asked]).rank.tolist()
    return {one.uid for one, rank in zip(asked, ranks, strict=True) if rank == 1}


def _fault(lm: LanguageModel, request: EditRequest) -> str | None:
    """Why a request does not fit the model; None if it does."""
    if not can_be_asked(lm, request.asked):
        return NOT_ASKED
    if not request.query.answer:
        return None
    if not can_be_asked(lm, request.query):
        return NOT_ASKED
    new, old = (lm.tokens(one).answers[0][0] for one in (request.asked, request.query))
    return SAME_TOKEN if new == old else None


def _asked(lm: LanguageModel, case: EditCase, left_out: Counter[str]) -> EditCase:
    """A case with those of its queries that fit the model, and of these with the alternatives that do."""
    case = replace(case, portability=tuple(_with_alternatives(lm, one) for one in case.portability))
    unfit = {one.target.uid for one in comparisons(case, (*ASKED, "attribute")) if not _is_fit(lm, one)}
    if unfit:
        left_out[QUERIES] += len(unfit)

    def kept(queries: Sequence[Query]) -> tuple[Query, ...]:
        return tuple(one for one in queries if one.uid not in unfit)

    return replace(
        case,
        paraphrases=kept(case.paraphrases),
        neighbours=kept(case.neighbours),
        attributes=kept(case.attributes),
        portability=kept(case.portability),
        unrelated=kept(case.unrelated),
    )


def _is_fit(lm: LanguageModel, one: Comparison) -> bool:
    return all(can_be_asked(lm, query) for query in (one.target, one.foiled) if query is not None)


def _with_alternatives(lm: LanguageModel, query: Query) -> Query:
    """The query without alternatives that the tokenizer cannot spell, as flags and signs among published ones."""
    own = tuple(text for text in query.alternatives if can_be_asked(lm, replace(query, answer=text, alternatives=())))
    return replace(query, alternatives=own)
