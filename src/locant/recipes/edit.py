"""One fact rewritten: what the model says of it before and after, and of everything that was to stay as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from locant import almanac
from locant.errors import BadQuery
from locant.evaluations import interval, read_answers
from locant.evaluations.answers import Answers
from locant.evaluations.generation import begins_with
from locant.interventions.editing import Note, edit
from locant.models import LanguageModel
from locant.queries import edit_request
from locant.recipes.ask import own_answers, relation_of, subject_in, unrelated_queries
from locant.types import EditRequest, Interval, Provenance, Query, Setting

BYSTANDERS = 60
"""Queries of each kind that an edit must spare."""
WORDS = 12
"""Tokens of a continuation that are shown."""


@dataclass(frozen=True)
class Reading:
    """A prompt before and after an edit.

    Attributes:
        old, new: P of the old object and of the new one, before and after; of other prompts None.
        said: how the model itself goes on, before and after.
    """

    prompt: str
    old: tuple[float, float] | None
    new: tuple[float, float] | None
    said: tuple[str, str]


@dataclass(frozen=True)
class Spared:
    """Queries that an edit must leave alone.

    Attributes:
        asked: which, in words.
        kept: share whose first token is as before.
        change: relative change of the probability of what the model said.
    """

    asked: str
    kept: Interval
    change: Interval


@dataclass(frozen=True)
class EditedOnce:
    """One edit and all that was read of it.

    Attributes:
        readings: first the wording that was edited, then the others that were asked for.
        notes: what the method measured.
        seconds: that the edit took.
    """

    request: EditRequest
    readings: tuple[Reading, ...]
    spared: tuple[Spared, ...]
    notes: tuple[Note, ...]
    seconds: float
    made_by: Provenance

    @property
    def taken(self) -> bool:
        """Whether the model itself goes on with the new object after the edit."""
        return self._says_new(1)

    @property
    def needless(self) -> bool:
        """Whether it did so before."""
        return self._says_new(0)

    def _says_new(self, when: int) -> bool:
        return begins_with(self.readings[0].said[when], [self.request.new], self.request.query.language)


def request_of(
    lm: LanguageModel,
    prompt: str,
    new: str,
    *,
    subject: str = "",
    old: str = "",
    relation: str = "",
    language: str = "en",
) -> EditRequest:
    """A request from what a user says of a fact; what is not said is looked up or asked of the model.

    The subject is that of the almanac's fact that the prompt speaks of, the old object the model's own first word.

    Raises:
        BadQuery: the new object is the old one; or no subject was given, and the almanac knows none in this prompt.
        LocantError: the model says no word of its own after the prompt.
    """
    known = old or lm.first_word(prompt, language)
    if known == new:
        raise BadQuery(f"the model says {new!r} already: there is nothing to edit")
    named = subject or subject_in(prompt, language)
    if not named:
        raise BadQuery(f"say which part of {prompt!r} is the subject, the words that name what the fact is about")
    if named not in prompt:
        raise BadQuery(f"the subject {named!r} is not in the prompt {prompt!r}")
    return edit_request(prompt, named, new, old=known, relation=relation, language=language)


def edit_once(
    lm: LanguageModel,
    request: EditRequest,
    *,
    method: str = "rome",
    ask: Sequence[str] = (),
    seed: int = 0,
    settings: Mapping[str, Setting] | None = None,
    model_to: Path | None = None,
    weights_to: Path | None = None,
) -> EditedOnce:
    """Rewrite a fact, read it and what must be spared, save what is asked for; the model is then as it was.

    Controls: other facts of the relation and facts of other relations, from the almanac, each judged by the answer
    the model itself gave before.

    Args:
        ask: other prompts to continue before and after.
        settings: the method's own.
        model_to: folder for the edited model.
        weights_to: file for the changed matrices.
    """
    prompts = [request.query.prompt, *ask]
    apart = {
        "other facts of the relation": _neighbours(lm, request, BYSTANDERS),
        "facts of other relations": unrelated_queries(lm, request.query, BYSTANDERS, seed),
    }
    before = [_read(lm, request, prompt) for prompt in prompts]
    held = {what: read_answers(lm, queries) for what, queries in apart.items() if queries}
    with edit(lm, [request], method, **(settings or {})) as edited:  # type: ignore[arg-type]
        after = [_read(lm, request, prompt) for prompt in prompts]
        spared = [_spared(what, apart[what], old, read_answers(lm, apart[what])) for what, old in held.items()]
        if model_to is not None:
            edited.save_model(model_to)
        if weights_to is not None:
            edited.save_weights(weights_to)
    return EditedOnce(
        request=request,
        readings=tuple(_joined(prompt, *both) for prompt, *both in zip(prompts, before, after, strict=True)),
        spared=tuple(spared),
        notes=tuple(edited.notes),
        seconds=edited.seconds,
        made_by=edited.made_by,
    )


_Read = tuple[float | None, float | None, str]
"""P(old), P(new), and the continuation."""


def _read(lm: LanguageModel, request: EditRequest, prompt: str) -> _Read:
    said = lm.generate(prompt, WORDS)
    if prompt != request.query.prompt:
        return None, None, said
    old, new = read_answers(lm, [request.query, request.asked]).log_probability.exp().tolist()
    return old, new, said


def _joined(prompt: str, before: _Read, after: _Read) -> Reading:
    old, new = (
        None if before[place] is None or after[place] is None else (before[place], after[place]) for place in (0, 1)
    )
    return Reading(prompt, old, new, (before[2], after[2]))  # type: ignore[arg-type]


def _spared(asked: str, queries: Sequence[Query], before: Answers, after: Answers) -> Spared:
    facts = [query.fact.uid for query in queries]
    kept = (before.said == after.said).double()
    change = (after.log_probability - before.log_probability).exp() - 1
    return Spared(asked, interval(kept, facts), interval(change, facts))


def _neighbours(lm: LanguageModel, request: EditRequest, count: int) -> tuple[Query, ...]:
    """Other facts of the request's relation, each with the model's own answer, which is not the new object."""
    language = request.query.language
    if language not in almanac.LANGUAGES:
        return ()
    known = almanac.queries(language=language, held_out=False)
    relation = request.query.relation or relation_of(request.query, known)
    apart = {
        one.fact.uid: one
        for one in known
        if one.relation == relation and one.fact.subject != request.subject and one.answer != request.new
    }
    asked = own_answers(lm, list(apart.values())[:count])
    return tuple(one for one in asked if one.answer != request.new)
