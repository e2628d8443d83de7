"""What an edit did: to the fact it was meant for, to the fact's other wordings, and to everything else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from locant.errors import LocantError, UnknownName
from locant.evaluations.answers import Answers, answer_rank, read_answers
from locant.models import LanguageModel
from locant.queries import Tokens
from locant.types import Provenance, Query

LOGITS = 1 << 27
"""How many logits may be held at once while a text is read."""


@dataclass(frozen=True)
class Bystanders:
    """What an edit must leave as it was, read from the model before it; made by `bystanders`.

    Attributes:
        said: the id of the model's own first token after each query: different tokens can have one text.
        cloze_perplexity: of the queries' answers.
        text_perplexity: of the texts; None if there are none.
    """

    queries: tuple[Query, ...]
    said: tuple[int, ...]
    cloze_perplexity: float
    texts: tuple[str, ...]
    text_perplexity: float | None


@dataclass(frozen=True)
class EditScores:
    """One edit, judged. Shares are from 0 to 1, and 1 is what the edit is after.

    An answer counts as erased if it is not the model's first choice, and as updated if the new one is. A query
    that the model answers wrongly is erased before it begins: the shares before the edit say how many are.

    Attributes:
        operation: 'erase' or 'update'.
        reliability: 1 if the edited query succeeds, else 0.
        generalisation: share of the fact's other wordings that succeed.
        locality: share of the unrelated queries whose first token is as before.
        reliability_before, generalisation_before: the same shares without the edit.
        cloze_change: relative change of the perplexity of the unrelated queries' answers.
        text_change: relative change of the perplexity of running text; None if none was given.
    """

    operation: str
    reliability: float
    generalisation: float
    locality: float
    reliability_before: float
    generalisation_before: float
    cloze_change: float
    text_change: float | None
    made_by: Provenance

    @property
    def average(self) -> float:
        """The mean of reliability, generalisation and locality."""
        return (self.reliability + self.generalisation + self.locality) / 3


def bystanders(lm: LanguageModel, unrelated: Sequence[Query], texts: Sequence[str] = ()) -> Bystanders:
    """Read once what many edits are then held against.

    Args:
        unrelated: queries of other facts; best of other relations too.
        texts: running text (causal models only).

    Raises:
        UnknownName: there are no unrelated queries.
    """
    if not unrelated:
        raise UnknownName("locality is measured on unrelated queries, and there are none")
    text = perplexity(lm, texts) if texts else None
    answers = read_answers(lm, unrelated)
    return Bystanders(tuple(unrelated), tuple(answers.said.tolist()), _perplexity(answers), tuple(texts), text)


def score_edit(
    lm: LanguageModel,
    changed: AbstractContextManager[None],
    query: Query,
    neighbours: Sequence[Query],
    spared: Bystanders,
    *,
    made_by: Provenance,
    new: str | None = None,
) -> EditScores:
    """Judge one edit by its fact, the fact's other wordings, and bystanders.

    spared = bystanders(lm, unrelated, texts)
    score_edit(lm, update(lm, units, query, "Lyon"), query, neighbours, spared, new="Lyon", made_by=units.made_by)

    Args:
        changed: the edit, as a context.
        query: the fact in the wording it was edited by.
        neighbours: its other wordings.
        spared: of the model without the edit.
        new: the answer to say instead; None if the answer was to be erased.

    Raises:
        UnknownName: there are no neighbours.

    Source: metrics as named by Chen et al. 2024, arXiv:2405.14117; the predicates are ours.
    """
    if not neighbours:
        raise UnknownName(f"query {query.uid!r}: generalisation is measured on other wordings, and there are none")
    asked = [query, *neighbours]
    if new is not None:
        asked = [replace(one, answer=new, alternatives=()) for one in asked]
    before = _succeeds(lm, asked, new)
    with changed:
        after = _succeeds(lm, asked, new)
        answers = read_answers(lm, spared.queries)
        text = perplexity(lm, spared.texts) if spared.texts else None
    kept = [one == other for one, other in zip(answers.said.tolist(), spared.said, strict=True)]
    return EditScores(
        operation="erase" if new is None else "update",
        reliability=float(after[0]),
        generalisation=float(after[1:].double().mean()),
        locality=sum(kept) / len(kept),
        reliability_before=float(before[0]),
        generalisation_before=float(before[1:].double().mean()),
        cloze_change=_perplexity(answers) / spared.cloze_perplexity - 1,
        text_change=None if text is None or spared.text_perplexity is None else text / spared.text_perplexity - 1,
        made_by=made_by,
    )


def cloze_perplexity(lm: LanguageModel, queries: Sequence[Query]) -> float:
    """exp of the mean of -ln P(answer), over queries; an answer is all its tokens, teacher-forced.

    Raises:
        UnknownName: there are no queries.

    Source: Dai et al. 2022, arXiv:2104.08696, section 5, for any model and answers of several tokens.
    """
    if not queries:
        raise UnknownName("perplexity needs queries")
    return _perplexity(read_answers(lm, queries))


def _perplexity(answers: Answers) -> float:
    # Infinite, and no error, of a model that an edit has destroyed
    return float((-answers.log_probability.mean()).exp())


def perplexity(lm: LanguageModel, texts: Sequence[str], window: int = 512) -> float:
    """exp of the mean of -ln P(token | what stands before it), over all tokens of all texts alike.

    Longer texts are read in windows that do not see each other; a window sees at most as many tokens as the
    model's context takes. Every token is predicted once, except the first of each text, which nothing precedes
    (where the tokenizer puts a token of its own before a text, that one). Values of different windows or
    tokenizers cannot be compared.

    Args:
        window: tokens that are read together.

    Raises:
        LocantError: the model does not predict the next token; use `cloze_perplexity`.
        UnknownName: no text has two tokens.
    """
    if lm.architecture.kind != "causal":
        raise LocantError(
            f"{lm.name} is a {lm.architecture.kind} model, which gives running text no probability: "
            "ask for the perplexity of cloze answers"
        )
    if window < 1:
        raise UnknownName(f"a window holds one token or more, not {window}")
    longest = min(window, lm.context)
    pieces = sorted((piece for text in texts for piece in _windows(_ids(lm, text), longest)), key=len)
    if not pieces:
        raise UnknownName("perplexity needs a text of two tokens or more")
    at_once = max(1, LOGITS // (longest * lm.config.vocab_size))
    total = sum(_log_probability(lm, pieces[start : start + at_once]) for start in range(0, len(pieces), at_once))
    mean = torch.tensor(-total / sum(len(piece) - 1 for piece in pieces), dtype=torch.float64)
    return float(mean.exp())


def _log_probability(lm: LanguageModel, pieces: Sequence[tuple[int, ...]]) -> float:
    """Of all tokens of the pieces but each one's first: a one-token prompt, and the rest as its answer."""
    sites = lm.sites([(Tokens(piece[:1], (piece[1:],)), piece[1:]) for piece in pieces])
    logits = lm.site_logits(sites)
    chosen = logits.gather(1, sites.target.to(logits.device)[:, None])[:, 0]
    return float((chosen - logits.logsumexp(dim=1)).double().sum())


def _ids(lm: LanguageModel, text: str) -> tuple[int, ...]:
    ids = tuple(lm.tokenizer(text, verbose=False)["input_ids"])
    # What some tokenizers put at the end is no part of the text
    return ids[:-1] if len(ids) > 1 and ids[-1] == lm.tokenizer.eos_token_id else ids


def _windows(ids: tuple[int, ...], longest: int) -> Iterator[tuple[int, ...]]:
    """A text's tokens in pieces, each beginning with the last of the piece before; that one is predicted there."""
    for start in range(0, len(ids) - 1, longest):
        yield ids[start : start + longest + 1]


def _succeeds(lm: LanguageModel, asked: Sequence[Query], new: str | None) -> Bool[Tensor, " query"]:
    first = answer_rank(lm, asked) == 1
    return ~first if new is None else first
