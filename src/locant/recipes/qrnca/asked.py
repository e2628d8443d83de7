"""Whether a question can be asked of a model in every way that a run asks it, and of which kind questions are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from locant.errors import BadQuery
from locant.evaluations.letters import letter_ids
from locant.languages import gap
from locant.models import LanguageModel
from locant.queries.choice import ChoicePrompt, ChoiceQuestion
from locant.types import Query


def refuse_unfit(lm: LanguageModel, question: ChoiceQuestion) -> None:
    """Refuse a question that some stage of a run could not ask: a letter, or an option written after the prompt.

    Raises:
        BadQuery: a prompt is too long for the model, with an option after it or without; a letter is not one token
            or the same one as another; or the right letter is none of the letters.
    """
    for prompt in question.prompts:
        if prompt.query.answer not in prompt.letters:
            raise BadQuery(
                f"query {prompt.query.uid!r}: its answer {prompt.query.answer!r} is none of its letters "
                f"{', '.join(prompt.letters)}"
            )
        letter_ids(lm, prompt.query, prompt.letters)
    for query in with_options(question.prompts[0]):
        lm.tokens(query)


def with_options(prompt: ChoicePrompt) -> list[Query]:
    """A prompt with each of its options written after it, as its letter and text."""
    return [_with_option(prompt, place) for place in range(len(prompt.letters))]


def _with_option(prompt: ChoicePrompt, place: int) -> Query:
    text = prompt.letters[place] + (f". {prompt.options[place]}" if prompt.options else "")
    query = prompt.query
    joined = f"{query.prompt}{gap(query.language)}{text}"
    # Any answer will do: activations are read where it would begin
    return replace(query, uid=f"{query.uid}/{prompt.letters[place]}", prompt=joined, answer=prompt.letters[0])


@dataclass(frozen=True)
class Blocks:
    """Questions that are alike for another reason than their group.

    Attributes:
        of: by the question's uid, its block; None if there are none to be had.
        shuffled: what a null of them shuffles, in words; or why there is none.
    """

    of: Mapping[str, str] | None
    shuffled: str


def blocks_of(questions: Sequence[ChoiceQuestion]) -> Blocks:
    """Facts, if they are asked in several groups; else relations, if any group may have several."""
    groups: dict[str, set[str]] = {}
    relations: dict[str, set[str]] = {}
    for one in questions:
        groups.setdefault(one.fact, set()).add(one.group)
        relations.setdefault(one.relation, set()).add(one.group)
    if any(len(own) > 1 for own in groups.values()):
        return Blocks({one.uid: one.fact for one in questions}, "groups within each fact")
    by_relation = {one.uid: one.relation for one in questions}
    if "" in relations:
        return Blocks(None, "of some questions no relation is known")
    if any(len(own) > 1 for own in relations.values()):
        return Blocks(by_relation, "groups within each relation")
    if len(relations) > len({one.group for one in questions}):
        return Blocks(by_relation, "relations")
    return Blocks(None, "no relation within the groups is known")
