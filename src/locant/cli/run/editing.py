"""The command that edits many facts by several methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from locant.cli.report import show
from locant.cli.run.shared import names_in, settings_of_editors, stages
from locant.cli.shared import (
    DebugOption,
    DeviceMapOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    ModelOption,
    RemoteOption,
    RevisionOption,
    SeedOption,
    load_model,
    working,
)


def run(
    out_folder: Annotated[Path, typer.Option("--out", help="Folder of the run; a stopped one is resumed.")],
    data: Annotated[
        str,
        typer.Option(help="almanac, counterfact:FILE, zsre:FILE, mquake:FILE, csv:FILE, pararel:FOLDER, queries."),
    ] = "almanac",
    model: ModelOption = "almanac",
    methods: Annotated[str | None, typer.Option(help="With commas between: see 'locant methods --editing'.")] = None,
    setting: Annotated[list[str] | None, typer.Option(help="Of a method, e.g. rome.layer=5; repeatable.")] = None,
    relations: Annotated[str | None, typer.Option(help="Only these, with commas between.")] = None,
    language: Annotated[str, typer.Option(help="Of the almanac's facts.")] = "en",
    limit: Annotated[int | None, typer.Option(min=1, help="How many facts (all).")] = None,
    known_only: Annotated[bool, typer.Option("--known-only", help="Only facts that the model knows.")] = False,
    in_turn: Annotated[int, typer.Option(min=0, help="How many are edited one after another.")] = 100,
    together: Annotated[int, typer.Option(min=0, help="How many are edited at once.")] = 100,
    layers: Annotated[int, typer.Option(min=0, help="How many are edited at every layer.")] = 20,
    tokens: Annotated[int, typer.Option(min=0, help="Written about each subject, for fluency.")] = 100,
    text: Annotated[Path | None, typer.Option(help="For perplexity (sentences of the almanac).")] = None,
    seed: SeedOption = 0,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    device_map: DeviceMapOption = None,
    revision: RevisionOption = None,
    trust_remote_code: RemoteOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Facts rewritten by several methods: what the model then says of them, and what else changed."""
    with working("loading"):
        from locant.recipes.data import FactQueries, read_texts
        from locant.recipes.edit_cases import select_cases
        from locant.recipes.editing import Plan, run_editing

        named = tuple(names_in(methods) or ()) or None
        plan = Plan(
            **({"methods": named} if named else {}),
            settings=settings_of_editors(setting or [], seed),
            in_turn=in_turn,
            together=together,
            layers=layers,
            tokens=tokens,
            seed=seed,
        )
        lm = load_model(model, dtype, device, device_map, revision, trust_remote_code)
        drawn: dict[str, Any] = {
            "relations": names_in(relations),
            "language": language,
            "limit": limit,
            "known_only": known_only,
        }
        found = select_cases(lm, data, **drawn, seed=seed)
        edited = [FactQueries(one.query.fact, (one.query,)) for case in found.cases for one in case.requests]
        texts = read_texts(text, edited, seed)
    with stages() as say:
        run_editing(
            lm,
            found.cases,
            out_folder,
            plan,
            source=data,
            drawn={**drawn, "text": None if text is None else str(text)},
            left_out=found.left_out,
            texts=texts,
            say=say,
        )
    show(out_folder, as_json)
