"""ParaRel as published: the patterns of a relation, filled with the relation's T-REx facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from locant.errors import BadFile, UnknownName, nearest
from locant.queries.lines import read_texts
from locant.queries.tokens import MASK, Kind
from locant.types import Fact, Query

LAYOUTS = (("patterns", "facts"), ("data/pattern_data/graphs_json", "data/trex_lms_vocab"))
"""Where patterns and facts lie in a folder of ParaRel; the second is the published repository's."""
SUBJECT, OBJECT = "[X]", "[Y]"


@dataclass(frozen=True)
class _Wording:
    """A pattern and its place in its file; `frame` is the pattern with all but the subject in place."""

    index: int
    pattern: str
    frame: str


def read_pararel(
    folder: str | Path, relations: Sequence[str] | None = None, kind: Kind = "causal"
) -> tuple[Query, ...]:
    """Read ParaRel: every fact of a relation in every pattern that suits the model.

    The folder holds `patterns/P*.jsonl` and `facts/P*.jsonl`, or is the published repository. Exact duplicates
    (the same subject and object of one relation) are dropped but for the first. All else is as published: a
    subject with two objects is two facts, and an object may stand in its subject.

    Args:
        relations: only these, e.g. P36; None for all that have both patterns and facts.
        kind: a masked model is asked every pattern, with the mask for the object. The others are asked only those
            where nothing but punctuation follows the object, cut off before it; of patterns that are the same up
            to there the first is kept.

    Returns:
        Queries in the order of relations, facts, patterns; their uid is relation/uuid/place of the pattern in
        its file, counted from 0, and their fact's uid relation/uuid.

    Raises:
        BadFile: no such folder, one that holds no ParaRel, a line of the wrong form, or no pattern that suits.
        UnknownName: no such relation.

    Source: Elazar et al. 2021, arXiv:2102.01017; github.com/yanaiela/pararel.
    """
    files = _choose(folder, relations)
    found: list[Query] = []
    for patterns, facts in files.values():
        wordings = _read_wordings(patterns, kind)
        found += [_fill(fact, uuid, wording) for uuid, fact in _read_facts(facts).items() for wording in wordings]
    if not found:
        raise BadFile(
            f"{str(folder)!r}: there is nothing to ask a {kind} model about {', '.join(files)}: "
            f"no facts, or no pattern that ends with {OBJECT}"
        )
    return tuple(found)


def _choose(folder: str | Path, relations: Sequence[str] | None) -> Mapping[str, tuple[Path, Path]]:
    """The files of patterns and of facts of each relation that is asked for."""
    root = Path(folder)
    if not root.is_dir():
        raise BadFile(f"no folder {str(root)!r}")
    for patterns, facts in LAYOUTS:
        if (root / patterns).is_dir() and (root / facts).is_dir():
            break
    else:
        places = ", or ".join(f"{patterns}/ and {facts}/" for patterns, facts in LAYOUTS)
        raise BadFile(f"{str(root)!r} holds no ParaRel: it has not {places}")
    written, told = _files_of(root / patterns), _files_of(root / facts)
    known = {name: (written[name], told[name]) for name in written if name in told}
    if not known:
        raise BadFile(f"{str(root)!r}: no relation has a file P*.jsonl both in {patterns}/ and in {facts}/")
    for name in relations or ():
        if name not in known:
            raise UnknownName(
                f"no relation {name!r} with patterns and facts in ParaRel{nearest(name, known)}; "
                f"known: {', '.join(known)}."
            )
    return {name: paths for name, paths in known.items() if relations is None or name in relations}


def _files_of(folder: Path) -> dict[str, Path]:
    """The files of a folder by their relation, P17 before P101."""
    return {path.stem: path for path in sorted(folder.glob("P*.jsonl"), key=lambda path: (len(path.stem), path.stem))}


def _read_wordings(path: Path, kind: Kind) -> tuple[_Wording, ...]:
    """The patterns that suit a kind of model, those that ask the same counted once."""
    wordings: dict[str, _Wording] = {}
    for index, (where, row) in enumerate(read_texts(path, ("pattern",))):
        pattern = row["pattern"]
        if SUBJECT not in pattern or pattern.count(OBJECT) != 1:
            raise BadFile(f"{where}: the pattern {pattern!r} needs {SUBJECT}, and {OBJECT} once")
        before, after = pattern.split(OBJECT)
        if kind == "masked":
            frame = before + MASK + after
        elif any(character.isalnum() for character in after):
            continue
        else:
            frame = before.rstrip()
        wordings.setdefault(frame, _Wording(index, pattern, frame))
    return tuple(wordings.values())


def _read_facts(path: Path) -> dict[str, Fact]:
    """The different facts of a relation, by their uuid."""
    relation = path.stem
    facts: dict[str, Fact] = {}
    said: set[tuple[str, str]] = set()
    for where, row in read_texts(path, ("sub_label", "obj_label", "uuid")):
        subject, object, uuid = row["sub_label"], row["obj_label"], row["uuid"]
        if (subject, object) in said:
            continue
        if uuid in facts:
            raise BadFile(f"{where}: the uuid {uuid!r} is that of another fact, of {facts[uuid].subject!r}")
        said.add((subject, object))
        facts[uuid] = Fact(f"{relation}/{uuid}", subject, relation, object)
    return facts


def _fill(fact: Fact, uuid: str, wording: _Wording) -> Query:
    return Query(
        uid=f"{fact.relation}/{uuid}/{wording.index}",
        fact=fact,
        prompt=wording.frame.replace(SUBJECT, fact.subject),
        answer=fact.object,
        template=wording.pattern,
    )
