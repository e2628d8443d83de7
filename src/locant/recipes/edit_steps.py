"""What follows from an edit of the almanac: questions of two steps, one of which was edited."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from locant import almanac
from locant.almanac.tables import Book, name_of, read_books
from locant.queries.edit_cases import EditCase
from locant.types import Query


def with_steps(language: str, seed: int, most: int) -> Callable[[EditCase], EditCase]:
    """A function that gives a case of the almanac its portability, drawn from what there is.

    Once the capital of France is Rome, it is Rome that is the capital of the country where the Eiffel Tower stands;
    once the Eiffel Tower stands in Italy, it is Italy's capital. What follows nothing new from is not asked.
    """
    books = {book.name: book for book in read_books()}
    chains = _chains(books, language)

    def add(case: EditCase) -> EditCase:
        found = [
            replace(query, uid=f"{case.uid}/{query.uid}", answer=after)
            for query, first in chains.get(case.request.query.fact.uid, ())
            if (after := _after(books, query, first, case.request.new)) not in (None, query.answer)
            and after.casefold() not in query.prompt.casefold()
        ]
        drawn = Random(f"{seed}/{case.uid}").sample(range(len(found)), min(most, len(found)))
        return replace(case, portability=tuple(found[place] for place in sorted(drawn)))

    return add


def _chains(books: dict[str, Book], language: str) -> dict[str, list[tuple[Query, str]]]:
    """By the uid of either fact, the two-step queries it is part of, and the first relation if it is of that."""
    objects = {(book.name, entry.subject): entry.object for book in books.values() for entry in book.entries}
    chains: dict[str, list[tuple[Query, str]]] = {}
    # Not all languages have such questions
    for query in (one for one in almanac.queries(format="two-hop") if one.language == language):
        second, first, subject = query.fact.uid.split("/")
        chains.setdefault(f"{first}/{subject}", []).append((query, first))
        chains.setdefault(f"{second}/{objects[first, subject]}", []).append((query, ""))
    return chains


def _after(books: dict[str, Book], query: Query, first: str, new: str) -> str | None:
    """The answer that is right once a step's object is the new one; None where the almanac does not know it."""
    if not first:
        return new
    second = books[query.relation]
    named = {name_of(names, query.language): one for one, names in books[first].objects.items()}
    entries = {entry.subject: entry.object for entry in second.entries if query.language in entry.languages}
    then = entries.get(named.get(new, ""))
    return None if then is None else name_of(second.objects[then], query.language)
