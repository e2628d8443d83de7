"""A request asked in several contexts: after beginnings of texts, so that a fact holds in any of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from locant.errors import BadQuery, UnknownName, nearest
from locant.languages import gap, stop
from locant.models import LanguageModel, sample
from locant.queries import Tokens
from locant.queries.subjects import fill
from locant.types import EditRequest, Query

POSITIONS = ("subject", "last")
"""Where keys are read: at the subject's last token, or at the prompt's."""

TOP_K = 5
MEMIT_STARTS = ("The", "Therefore", "Because", "I", "You")


@dataclass(frozen=True)
class Placed:
    """A prompt in tokens, and the position in it that an edit is made for: where keys are read."""

    tokens: Tokens
    position: int

    @property
    def length(self) -> int:
        """Tokens, with those of the longest answer."""
        return self.tokens.length + max(map(len, self.tokens.answers), default=0)


@dataclass(frozen=True)
class Asked:
    """A request in tokens.

    Attributes:
        contexts: the prompt, bare first and then after each prefix, with the new object for its answer.
        essence: the prompt that says what the subject is, with no answer.
    """

    request: EditRequest
    contexts: tuple[Placed, ...]
    essence: Placed


def rome_prefixes(lm: LanguageModel, seed: int) -> tuple[str, ...]:
    """Beginnings of texts: ten of five tokens and ten of ten, drawn from the five most probable tokens each.

    Source: Meng et al. 2022, arXiv:2202.05262, section 3.1, and its code for the numbers.
    """
    drawn = [text for length in (5, 10) for text in sample(lm, [""] * 10, length, seed=seed + length, top_k=TOP_K)]
    return _usable(drawn)


def memit_prefixes(lm: LanguageModel, seed: int) -> tuple[str, ...]:
    """Beginnings of texts: five of ten tokens, after a common word each.

    Source: Meng et al. 2023, arXiv:2210.07229, and its code for the words.
    """
    drawn = sample(lm, MEMIT_STARTS, 10, seed=seed, top_k=TOP_K)
    return _usable([start + text for start, text in zip(MEMIT_STARTS, drawn, strict=True)])


def refuse_position(at: str) -> None:
    """Refuse a position that there is not.

    Raises:
        UnknownName: it is none of `POSITIONS`.
    """
    if at not in POSITIONS:
        raise UnknownName(f"no position {at!r}{nearest(at, POSITIONS)}; there are {', '.join(POSITIONS)}")


def ask(lm: LanguageModel, request: EditRequest, prefixes: Sequence[str], essence: str, at: str) -> Asked:
    """Put a request into tokens, alone and after each prefix; contexts too long for the model are left out.

    Args:
        essence: a prompt with {} for the subject.
        at: the position, one of `POSITIONS`.

    Raises:
        BadQuery: the request itself cannot be made of this model.
        UnknownName: the essence has no {}.
    """
    if "{}" not in essence:
        raise UnknownName(f"the prompt {essence!r} has no {{}} for the subject")
    query = request.asked
    joint = stop(query.language) + gap(query.language)
    contexts = [place(lm, query, at)]
    for prefix in prefixes:
        try:
            contexts.append(place(lm, _after(prefix + joint, query), at))
        except BadQuery:
            continue
    prompt, slot = fill(essence, request.subject)
    said = replace(query, prompt=prompt, subject_at=slot)
    alone = _placed(lm, said, lm.prompt_tokens(said.prompt, said.language), at)
    return Asked(request, tuple(contexts), alone)


def _after(prefix: str, query: Query) -> Query:
    moved = None if query.subject_at is None else len(prefix) + query.subject_at
    return replace(query, prompt=prefix + query.prompt, subject_at=moved)


def place(lm: LanguageModel, query: Query, at: str) -> Placed:
    """A query in tokens, with its position: a context can change how a subject is cut into tokens.

    Raises:
        BadQuery: the query cannot be asked of this model, or its subject is not in its prompt.
    """
    return _placed(lm, query, lm.tokens(query), at)


def _placed(lm: LanguageModel, query: Query, tokens: Tokens, at: str) -> Placed:
    return Placed(tokens, lm.subject_position(query) if at == "subject" else len(tokens.prompt) - 1)


def _usable(drawn: Sequence[str]) -> tuple[str, ...]:
    """What was drawn, as the beginning of a text; a model may end a text before it began."""
    return tuple(text.strip() for text in drawn if text.strip())
