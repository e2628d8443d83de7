"""One fact in several languages: queries of several wordings in each.

    facts = gather_parallel(read_mlama(folder, ["en", "fr"], patterns=reviewed), ["en", "fr"], least=2)

Source: the data set of arXiv:2411.17401, parallel queries of a fact in several languages; the layout is ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from locant.errors import BadQuery, UnknownName, nearest
from locant.types import Query


@dataclass(frozen=True)
class ParallelFact:
    """A fact and its queries, by language.

    Attributes:
        uid: of the fact, in every language.
        queries: at least one in each language; all are of this fact.

    Raises:
        BadQuery: a query is of another fact, relation or language, or a language has none.
    """

    uid: str
    relation: str
    queries: Mapping[str, tuple[Query, ...]]

    def __post_init__(self) -> None:
        if not self.queries or not all(self.queries.values()):
            raise BadQuery(f"the fact {self.uid!r} needs at least one language, and a query in each")
        for language, asked in self.queries.items():
            for one in asked:
                if (one.fact.uid, one.relation, one.language) != (self.uid, self.relation, language):
                    raise BadQuery(
                        f"query {one.uid!r} is of the fact {one.fact.uid!r} ({one.relation!r}) in {one.language!r}, "
                        f"not of {self.uid!r} ({self.relation!r}) in {language!r}"
                    )

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(self.queries)

    @property
    def answers(self) -> dict[str, str]:
        """By language, the object; where a fact names none, the answer of its first query."""
        return {language: said(asked[0]) for language, asked in self.queries.items()}


def said(query: Query) -> str:
    """The object of a query's fact; where that names none, the query's answer."""
    return query.fact.object or query.answer


def gather_parallel(
    queries: Iterable[Query], languages: Sequence[str] | None = None, *, least: int = 1
) -> tuple[ParallelFact, ...]:
    """Put the queries of a fact together, by language; facts and queries are in order of first appearance.

    Args:
        languages: those to keep, in this order; a fact without enough queries in one of them is left out. None for
            all that occur: then a fact need not have all of them, and keeps those it has enough queries in.
        least: enough queries of a fact in a language.

    Raises:
        UnknownName: no language is asked for, one is twice or has no queries at all, or `least` is below 1.
        BadQuery: one fact's queries name two relations.
    """
    if least < 1:
        raise UnknownName(f"a fact has at least 1 query in a language, not {least}")
    found: dict[str, dict[str, list[Query]]] = {}
    occurring: dict[str, None] = {}
    for one in queries:
        found.setdefault(one.fact.uid, {}).setdefault(one.language, []).append(one)
        occurring.setdefault(one.language)
    wanted = tuple(occurring if languages is None else languages)
    if languages is not None:
        refuse_languages(wanted, occurring)
    facts = []
    for uid, asked in found.items():
        enough = {name: tuple(asked[name]) for name in wanted if len(asked.get(name, ())) >= least}
        if enough and (languages is None or len(enough) == len(wanted)):
            relation = next(iter(enough.values()))[0].relation
            facts.append(ParallelFact(uid, relation, enough))
    return tuple(facts)


def align(fact: ParallelFact) -> ParallelFact:
    """The fact with the same number of queries in each language: its first, as many as the poorest language has.

    The k-th query of a language is then its k-th wording; it need not be a translation of another's k-th.
    """
    fewest = min(map(len, fact.queries.values()))
    return replace(fact, queries={language: asked[:fewest] for language, asked in fact.queries.items()})


def refuse_languages(wanted: Sequence[str], known: Iterable[str]) -> None:
    """Refuse languages that nothing is known in.

    Raises:
        UnknownName: there is no such language, none is asked for, or one is twice.
    """
    there = tuple(known)
    for language in wanted:
        if language not in there:
            raise UnknownName(
                f"no language {language!r}{nearest(language, there)}; known: {', '.join(there) or 'none'}."
            )
    if not wanted or len(set(wanted)) < len(wanted):
        raise UnknownName(f"languages are asked for at least one, and each once, not {', '.join(wanted) or 'none'}")
