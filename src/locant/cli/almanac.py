"""The commands that list the almanac's facts and give them as queries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from locant.cli.shared import DebugOption, JsonOption, SeedOption, out, print_json, print_table, working
from locant.errors import LocantError

if TYPE_CHECKING:
    from locant.almanac import Format
    from locant.types import Query

almanac_app = typer.Typer(help="The facts that the embedded models were taught.", no_args_is_help=True)


@almanac_app.command("list")
def list_relations(as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """The relations, and how many facts each has and withholds from some languages."""
    from locant import almanac
    from locant.almanac.tables import read_books

    relations = almanac.relations()
    facts = sum(relation.facts for relation in relations)
    entries = [entry for book in read_books() for entry in book.entries]
    languages = [
        {
            "language": language,
            "relations": sum(language in relation.languages for relation in relations),
            "facts": sum(language in entry.asked for entry in entries),
            "withheld": sum(language in entry.asked and language not in entry.languages for entry in entries),
        }
        for language in almanac.LANGUAGES
    ]
    if as_json:
        print_json({"facts": facts, "relations": [asdict(one) for one in relations], "languages": languages})
        return
    print_table(
        [
            {
                "relation": one.name,
                "kind": one.kind,
                "domain": one.domain,
                "facts": str(one.facts),
                "withheld": str(one.withheld or ""),
                "languages": "all" if one.languages == almanac.LANGUAGES else " ".join(one.languages),
            }
            for one in relations
        ]
    )
    spoken = almanac.LANGUAGES
    out.print(f"\n{len(relations)} relations, {facts} facts, {len(spoken)} languages: {', '.join(spoken)}\n")
    print_table([{name: str(value) for name, value in row.items()} for row in languages])


@almanac_app.command("queries")
def list_queries(
    relation: Annotated[str | None, typer.Option(help="Only this one: see 'locant almanac list'.")] = None,
    language: Annotated[str | None, typer.Option(help="Only this one: en, fr, ...")] = None,
    format: Annotated[str, typer.Option(help="cloze, question, choice, few-shot or two-hop.")] = "cloze",
    held_out: Annotated[
        bool | None, typer.Option("--held-out/--trained", help="Only wordings that were not, or were, trained on.")
    ] = None,
    withheld: Annotated[bool, typer.Option("--withheld", help="Only facts not taught in their language.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="How many queries at most, from the first.")] = None,
    seed: SeedOption = 0,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="A .jsonl, .json, .csv or .parquet file (JSON lines on stdout).")
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """The facts as queries, for 'locant attribute'."""
    with working("asking"):
        from locant import almanac, write_queries

        found = almanac.queries(
            relation, language, held_out, format=cast("Format", format), taught=not withheld, seed=seed
        )[:limit]
        if not found:
            raise LocantError("the almanac has no such queries; leave out an option")
        if out_file is not None:
            write_queries(out_file, found)
    if out_file is None:
        _print_queries(found, as_json)
    elif as_json:
        print_json({"queries": len(found), "file": str(out_file)})
    else:
        out.print(f"{len(found)} queries: {out_file}", soft_wrap=True, markup=False)


def _print_queries(queries: Sequence[Query], as_json: bool) -> None:
    """One list, or a line per query."""
    from locant.queries.files import to_rows

    rows = to_rows(queries)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print(json.dumps(row, ensure_ascii=False))
