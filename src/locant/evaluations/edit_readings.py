"""What a model says to the queries of edit cases: read once before any edit, and again after.

before = read_cases(lm, cases)
with locant.edit(lm, cases[0].requests) as edited:
    after = read_cases(lm, cases[:1])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl
import torch

from locant.errors import NoNumber, UnknownName, nearest
from locant.evaluations.answers import AT_ONCE, read_answers
from locant.evaluations.editing import perplexity
from locant.evaluations.generation import (
    Generate,
    begins_with,
    continue_greedily,
    fluency,
    inverse_frequencies,
    reference_score,
)
from locant.models import LanguageModel
from locant.queries.edit_cases import EditCase
from locant.types import Query

ASKED = ("request", "paraphrase", "neighbour", "portability", "unrelated")
"""The queries of a case, by what they are to it; 'attribute' is asked too if one says so."""
WRITTEN = ("request", "paraphrase", "portability")
"""Those after which the model also writes freely."""
SPARED = ("neighbour", "unrelated")
"""Those that an edit must leave alone, of which the distribution of the first token is read."""
LIKELY = 64
"""Tokens that the distribution is read of: the likeliest before any edit; all others count as one."""
MORE = 4
"""Tokens written beyond the longest answer: a word may be spelt in more pieces than the tokenizer would."""


@dataclass(frozen=True)
class Writer:
    """Who writes texts about the subjects of cases, and how they are compared with references.

    Attributes:
        generate: from prompts to continuations; published figures are of 100 tokens, sampled.
        weights: of words, by `inverse_frequencies` of all references.
    """

    generate: Generate = field(repr=False)
    weights: dict[str, float] = field(repr=False)


def writer(generate: Generate, cases: Sequence[EditCase]) -> Writer:
    """A writer whose weights are those of all the cases' references."""
    return Writer(generate, inverse_frequencies([text for one in cases for text in one.references]))


@dataclass(frozen=True)
class Scope:
    """What is read of every case.

    Attributes:
        asked: which queries: of `ASKED`, or 'attribute'.
        written: after which of them the model writes freely; none if it is a masked model.
        texts: running text, for perplexity (causal models).
        writer: of texts about the subjects; None for none.
        likely: by case, what it is to it, and query, the tokens whose probabilities are read where an answer begins,
            so that they are those of an earlier reading (`likely_in`); of others, the likeliest now.
    """

    asked: tuple[str, ...] = ASKED
    written: tuple[str, ...] = WRITTEN
    texts: tuple[str, ...] = ()
    writer: Writer | None = None
    likely: Mapping[tuple[str, str, str], list[int]] = field(default_factory=dict, repr=False)


EVERYTHING = Scope()


@dataclass(frozen=True)
class EditReadings:
    """What a model said to the queries of some cases.

    Attributes:
        queries: a row for each case, `asked` (what the query is to it) and query, with the columns

            target, foil: the texts that are compared. The target is right after the edit: the new object, or what
                a neighbour or unrelated query is answered. The foil is the other one: the old object, or of a
                neighbour the new one; null where there is none.
            target_log_probability, foil_log_probability: natural, over all tokens of the text.
            target_nll, foil_nll: minus that, over the number of tokens: ROME's l.
            first: whether every token of the target is the model's first choice, after the earlier ones.
            agreement: the share of them that are.
            choices: ids of these choices.
            likely, likely_log_probability: of what must be left alone, ids of tokens that the answer could begin
                with, and their log-probabilities; null of other queries.
            text: what the model writes freely; null if it was not asked to.
            begins: whether that begins with the target, or an alternative, as `begins_with` says.
        texts: a row for each measure of running text, with its case ('' for all of them together): perplexity,
            fluency, consistency.
    """

    queries: pl.DataFrame = field(repr=False)
    texts: pl.DataFrame = field(repr=False)


def gather_readings(readings: Sequence[EditReadings]) -> EditReadings:
    """Readings after edits one at a time, as one.

    Raises:
        UnknownName: there are none.
    """
    if not readings:
        raise UnknownName("there are no readings to gather")
    return EditReadings(pl.concat([one.queries for one in readings]), pl.concat([one.texts for one in readings]))


@dataclass(frozen=True)
class Comparison:
    """A query of a case with what is right after the edit, and what that is compared with.

    Attributes:
        asked: what the query is to the case.
        target: the query, answered as is right after the edit.
        foil: the other answer; '' if there is none.
    """

    case: EditCase
    asked: str
    target: Query
    foil: str

    @property
    def foiled(self) -> Query | None:
        """The query answered by the foil; None if there is none, or it is the target."""
        if self.foil in ("", self.target.answer):
            return None
        return replace(self.target, answer=self.foil, alternatives=())


def read_cases(lm: LanguageModel, cases: Sequence[EditCase], scope: Scope = EVERYTHING) -> EditReadings:
    """Read every query of the cases, under whatever edits are in force.

    Raises:
        UnknownName: the scope asks for queries of no such kind.
        BadQuery: a query cannot be asked of this model.
        NoNumber: the model says nothing any more that has a probability.
    """
    asked = [one for case in cases for one in comparisons(case, scope.asked)]
    return EditReadings(_read_queries(lm, asked, scope), _read_texts(lm, cases, scope))


def likely_in(before: EditReadings) -> Mapping[tuple[str, str, str], list[int]]:
    """The tokens that were likely in an earlier reading, for a scope that reads the same ones again."""
    known = before.queries.filter(pl.col("likely").is_not_null())
    return {(case, asked, query): ids for case, asked, query, ids in known.select(*_NAMES, "likely").iter_rows()}


def comparisons(case: EditCase, asked: Sequence[str] = ASKED) -> Iterator[Comparison]:
    """The queries of a case, each with its target and foil.

    Raises:
        UnknownName: there are no queries of such a kind.
    """
    for name in asked:
        if name not in _OF:
            raise UnknownName(f"no queries {name!r} of a case{nearest(name, _OF)}; there are {', '.join(_OF)}")
        yield from _OF[name](case)


def _requests(case: EditCase) -> Iterator[Comparison]:
    for one in case.requests:
        yield Comparison(case, "request", one.asked, one.query.answer)


def _paraphrases(case: EditCase) -> Iterator[Comparison]:
    for one in case.paraphrases:
        yield Comparison(case, "paraphrase", replace(one, answer=case.new_of(one), alternatives=()), one.answer)


def _neighbours(case: EditCase) -> Iterator[Comparison]:
    for one in case.neighbours:
        yield Comparison(case, "neighbour", one, case.request.new)


def _attributes(case: EditCase) -> Iterator[Comparison]:
    for one in case.attributes:
        yield Comparison(case, "attribute", one, case.request.query.answer)


def _portability(case: EditCase) -> Iterator[Comparison]:
    for one in case.portability:
        yield Comparison(case, "portability", one, one.fact.object)


def _unrelated(case: EditCase) -> Iterator[Comparison]:
    for one in case.unrelated:
        yield Comparison(case, "unrelated", one, "")


_OF: Mapping[str, Callable[[EditCase], Iterator[Comparison]]] = {
    "request": _requests,
    "paraphrase": _paraphrases,
    "neighbour": _neighbours,
    "attribute": _attributes,
    "portability": _portability,
    "unrelated": _unrelated,
}

_NAMES = ("case", "asked", "query")
QUERY_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "case": pl.String,
    "relation": pl.String,
    "asked": pl.String,
    "query": pl.String,
    "target": pl.String,
    "foil": pl.String,
    "target_log_probability": pl.Float64,
    "foil_log_probability": pl.Float64,
    "target_nll": pl.Float64,
    "foil_nll": pl.Float64,
    "first": pl.Boolean,
    "agreement": pl.Float64,
    "choices": pl.List(pl.Int64),
    "likely": pl.List(pl.Int64),
    "likely_log_probability": pl.List(pl.Float64),
    "text": pl.String,
    "begins": pl.Boolean,
}
TEXT_COLUMNS = {"case": pl.String, "metric": pl.String, "value": pl.Float64}


def _read_queries(lm: LanguageModel, asked: Sequence[Comparison], scope: Scope) -> pl.DataFrame:
    # A foil follows its target: the two share a prompt, which is then run once
    pairs = [(query, at) for at, one in enumerate(asked) for query in (one.target, one.foiled) if query is not None]
    read = read_answers(lm, [query for query, _ in pairs])
    if bool(read.log_probability.isnan().any()):
        raise NoNumber("what the model says has no probabilities that are numbers any more")
    log_probability = read.log_probability.tolist()
    nll = [-value / len(own) for value, own in zip(log_probability, read.choices, strict=True)]
    places: dict[int, list[int]] = {}
    for number, (_, at) in enumerate(pairs):
        places.setdefault(at, []).append(number)
    texts, likely = _write(lm, asked, scope.written), _read_likely(lm, asked, scope)
    rows = []
    for at, one in enumerate(asked):
        target, *foils = places[at]
        rows.append(
            {
                "case": one.case.uid,
                "relation": one.case.relation,
                "asked": one.asked,
                "query": one.target.uid,
                "target": one.target.answer,
                "foil": one.foil if foils else None,
                "target_log_probability": log_probability[target],
                "foil_log_probability": log_probability[foils[0]] if foils else None,
                "target_nll": nll[target],
                "foil_nll": nll[foils[0]] if foils else None,
                "first": int(read.rank[target]) == 1,
                "agreement": float(read.agreement[target]),
                "choices": read.choices[target],
                "likely": likely[at][0] if at in likely else None,
                "likely_log_probability": likely[at][1] if at in likely else None,
                "text": texts.get(at),
                "begins": _begins(texts[at], one.target) if at in texts else None,
            }
        )
    return pl.DataFrame(rows, schema=QUERY_COLUMNS)


@torch.no_grad()
def _read_likely(
    lm: LanguageModel, asked: Sequence[Comparison], scope: Scope
) -> dict[int, tuple[list[int], list[float]]]:
    """Tokens that an answer could begin with and their log-probabilities, by place in `asked`."""
    places = [at for at, one in enumerate(asked) if one.asked in SPARED]
    found = {}
    for start in range(0, len(places), AT_ONCE):
        batch = places[start : start + AT_ONCE]
        tokens = [lm.tokens(asked[at].target) for at in batch]
        logits = lm.site_logits(lm.sites([(one, one.answers[0][:1]) for one in tokens]))
        for at, own in zip(batch, logits.float().log_softmax(dim=-1).cpu(), strict=True):
            one = asked[at]
            known = scope.likely.get((one.case.uid, one.asked, one.target.uid))
            ids = own.topk(min(LIKELY, len(own))).indices.tolist() if known is None else known
            found[at] = (ids, own[ids].tolist())
    return found


def _write(lm: LanguageModel, asked: Sequence[Comparison], written: Sequence[str]) -> dict[int, str]:
    """What the model writes freely, by place in `asked`."""
    places = [at for at, one in enumerate(asked) if one.asked in written]
    if lm.architecture.kind == "masked" or not places:
        return {}
    longest = max(len(ids) for at in places for ids in lm.tokens(asked[at].target).answers)
    texts = continue_greedily(lm, [asked[at].target.prompt for at in places], longest + MORE)
    return dict(zip(places, texts, strict=True))


def _begins(text: str, target: Query) -> bool:
    return begins_with(text, (target.answer, *target.alternatives), target.language)


def _read_texts(lm: LanguageModel, cases: Sequence[EditCase], scope: Scope) -> pl.DataFrame:
    rows: list[tuple[str, str, float]] = []
    if scope.texts:
        rows.append((cases[0].uid if len(cases) == 1 else "", "perplexity", perplexity(lm, scope.texts)))
    for one in cases:
        if scope.writer is None or not one.generation:
            continue
        # Case by case: what is drawn depends on what is drawn with it, and before and after are to be alike
        drawn = scope.writer.generate(one.generation)
        # The published code scores prompts too, as parts of their texts
        own = [f"{prompt} {text.strip()}" for prompt, text in zip(one.generation, drawn, strict=True)]
        rows.append((one.uid, "fluency", fluency(own, one.request.query.language)))
        if one.references:
            alike = reference_score(" ".join(own), " ".join(one.references), scope.writer.weights)
            rows.append((one.uid, "consistency", alike))
    return pl.DataFrame(rows, schema=TEXT_COLUMNS, orient="row")
