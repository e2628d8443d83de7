"""The command that runs MATRICE's set of experiments."""

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
    data: Annotated[
        str,
        typer.Option(
            help="almanac, mlama:FOLDER[,PATTERNS], paraphrases:FOLDER, bmlama:FOLDER, or a file of queries."
        ),
    ] = "almanac",
    languages: Annotated[str, typer.Option(help="Two or more, with commas between (the almanac's).")] = (
        "en,fr,fi,hu,ja,ko,zh"
    ),
    model: ModelOption = "almanac",
    relations: Annotated[str | None, typer.Option(help="Only these, with commas between.")] = None,
    limit: Annotated[int | None, typer.Option(min=2, help="How many facts, evenly from the relations (all).")] = None,
    wordings: Annotated[
        int | None, typer.Option(min=2, help="Queries of each fact in each language at most (all); half locate.")
    ] = 6,
    known_in: Annotated[
        int, typer.Option(min=0, help="Only facts that the model answers in so many languages; 0 for any.")
    ] = 1,
    form: Annotated[str, typer.Option(help="Of templates with a blank: object-final, or blank (for any).")] = (
        "object-final"
    ),
    keep_leaked: Annotated[bool, typer.Option("--keep-leaked", help="Ask also what says its own answer.")] = False,
    localizer: Annotated[str, typer.Option(help="How neurons are scored: see 'locant methods'.")] = "dai",
    setting: Annotated[list[str] | None, typer.Option(help="Of the localizer, e.g. dai.steps=20.")] = None,
    lambda_q: Annotated[float, typer.Option(help="Price of disagreement between wordings.")] = 1.0,
    lambda_l: Annotated[float, typer.Option(help="Price of disagreement between languages.")] = 1.0,
    rule: Annotated[str, typer.Option(help="Over languages: entropy, deviation or inverse-variance.")] = "entropy",
    weights: Annotated[str, typer.Option(help="Of queries: equal, probability or top-1.")] = "equal",
    share: Annotated[float, typer.Option(help="A neuron's least score in a language, as a share of the highest.")] = (
        0.2
    ),
    size: Annotated[int, typer.Option(min=1, help="Neurons of every set that is compared.")] = 20,
    draws: Annotated[int, typer.Option(min=1, help="Of the bootstraps of the chosen set.")] = 50,
    random_sets: Annotated[int, typer.Option(min=1, help="Random sets of each fact, of each kind.")] = 3,
    edited: Annotated[int, typer.Option(min=0, help="Facts that are edited, in one language after another.")] = 12,
    injected: Annotated[int, typer.Option(min=0, help="Facts taught by training, of each kind.")] = 10,
    enhanced: Annotated[int, typer.Option(min=0, help="Facts whose failing queries are helped.")] = 40,
    paired: Annotated[int, typer.Option(min=0, help="Facts whose neurons are paired.")] = 8,
    sources: Annotated[int, typer.Option(min=0, help="Languages that a fact is taught in, one at a time.")] = 2,
    lambda1: Annotated[float | None, typer.Option(help="Of an edit: times the old answer (swept).")] = None,
    lambda2: Annotated[float | None, typer.Option(help="Of an edit: times the new answer (swept).")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Of the training, at most.")] = 40,
    rate: Annotated[float, typer.Option(help="Of the training.")] = 0.01,
    seed: SeedOption = 0,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    device_map: DeviceMapOption = None,
    revision: RevisionOption = None,
    trust_remote_code: RemoteOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Neurons that hold a fact in every language. What is known of arXiv:2411.17401, with AMIG's experiments."""
    with working("loading"):
        from locant.recipes.matrice import Plan, run_matrice
        from locant.recipes.parallel import select_parallel, taught_in

        plan = Plan(
            localizer=localizer,
            settings=settings_of_localizers(setting or [], seed, (localizer,)).get(localizer, {}),
            lambda_q=lambda_q,
            lambda_l=lambda_l,
            rule=rule,
            weights=weights,
            share=share,
            size=size,
            draws=draws,
            random_sets=random_sets,
            edited=edited,
            injected=injected,
            enhanced=enhanced,
            paired=paired,
            sources=sources,
            lambda1=lambda1,
            lambda2=lambda2,
            steps=steps,
            rate=rate,
            seed=seed,
        )
        lm = load_model(model, dtype, device, device_map, revision, trust_remote_code)
        drawn: dict[str, Any] = {
            "languages": names_in(languages) or [],
            "relations": names_in(relations),
            "limit": limit,
            "wordings": wordings,
            "known_in": known_in,
            "form": form,
            "keep_leaked": keep_leaked,
        }
        asked = select_parallel(lm, data, **drawn, seed=seed)
    taught = taught_in() if data == "almanac" else None
    with stages() as say:
        run_matrice(
            lm,
            asked.facts,
            out_folder,
            plan,
            source=data,
            drawn=drawn,
            dropped=asked.dropped,
            taught=taught,
            say=say,
        )
    show(out_folder, as_json)
