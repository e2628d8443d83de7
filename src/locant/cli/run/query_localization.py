"""The command that runs query localization's set of experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from locant.cli.report import show
from locant.cli.run.shared import names_in, settings_of_localizers, stages
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
    data: Annotated[str, typer.Option(help="almanac, pararel:FOLDER, or a file of queries.")] = "almanac",
    model: ModelOption = "almanac",
    relations: Annotated[str | None, typer.Option(help="Only these, with commas between: P36,P19.")] = None,
    language: Annotated[str, typer.Option(help="Of the queries.")] = "en",
    limit: Annotated[int | None, typer.Option(min=2, help="How many facts, evenly from the relations (all).")] = None,
    wordings: Annotated[int | None, typer.Option(min=2, help="Queries of each fact at most (all).")] = None,
    known_only: Annotated[bool, typer.Option("--known-only", help="Only queries that the model answers.")] = False,
    localizers: Annotated[str, typer.Option(help="Methods, with commas between; the first one's are touched.")] = (
        "dai,sig,amig"
    ),
    text: Annotated[
        Path | None, typer.Option(help="Running text that edits must spare; an empty line parts.")
    ] = None,
    touched: Annotated[int, typer.Option(min=1, help="Facts of each kind whose neurons are touched.")] = 20,
    edited: Annotated[int, typer.Option(min=1, help="Facts of each kind that are edited.")] = 15,
    setting: Annotated[
        list[str] | None, typer.Option(help="Of a localizer, e.g. amig.mode=code; more than one may be given.")
    ] = None,
    share: Annotated[float, typer.Option(help="A neuron's least score, as a share of the highest.")] = 0.2,
    static: Annotated[float, typer.Option(help="Below this CS2 a fact is inconsistent.")] = 0.3,
    alpha: Annotated[float, typer.Option(help="A column's least attention, as a share of the highest.")] = 0.3,
    renormalise: Annotated[bool, typer.Option("--renormalise", help="Rows keep what they pay in all.")] = False,
    beta1: Annotated[float, typer.Option(help="Of the consistency-aware score: times the mean.")] = 1.0,
    beta2: Annotated[float, typer.Option(help="Of the consistency-aware score: times the deviation.")] = 1.0,
    cas_values: Annotated[str, typer.Option(help="What that score is made of: activations or scores.")] = (
        "activations"
    ),
    lambda1: Annotated[float | None, typer.Option(help="Of an update: times the old answer (swept).")] = None,
    lambda2: Annotated[float | None, typer.Option(help="Of an update: times the new answer (swept).")] = None,
    embeddings: Annotated[str, typer.Option(help="Of the answers in an update: output or input.")] = "output",
    seed: SeedOption = 0,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    device_map: DeviceMapOption = None,
    revision: RevisionOption = None,
    trust_remote_code: RemoteOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Is a fact's place its own, or its query's? Every experiment of arXiv:2405.14117, with controls."""
    with working("loading"):
        from locant.recipes.data import read_texts, select_facts
        from locant.recipes.query_localization import Plan, localize_queries

        plan = Plan(
            localizers=tuple(filter(None, localizers.split(","))),
            settings=settings_of_localizers(setting or [], seed),
            share=share,
            static=static,
            touched=touched,
            edited=edited,
            alpha=alpha,
            renormalise=renormalise,
            beta1=beta1,
            beta2=beta2,
            cas_values=cas_values,
            lambda1=lambda1,
            lambda2=lambda2,
            embeddings=embeddings,
            seed=seed,
        )
        lm = load_model(model, dtype, device, device_map, revision, trust_remote_code)
        drawn: dict[str, Any] = {
            "relations": names_in(relations),
            "language": language,
            "limit": limit,
            "wordings": wordings,
            "known_only": known_only,
        }
        facts = select_facts(lm, data, **drawn, seed=seed)
        texts = read_texts(text, facts, seed)
    drawn["text"] = None if text is None else str(text)
    with stages() as say:
        localize_queries(lm, facts, out_folder, plan, source=data, drawn=drawn, texts=texts, say=say)
    show(out_folder, as_json)
