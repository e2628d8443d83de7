"""The command that runs QRNCA's set of experiments."""

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
    TopOption,
    load_model,
    working,
)


def run(
    out_folder: Annotated[Path, typer.Option("--out", help="Folder of the run; a stopped one is resumed.")],
    data: Annotated[
        str, typer.Option(help="almanac, almanac:languages, qrnca:FILE, mmlu:FILE or FOLDER, or a file of questions.")
    ] = "almanac",
    model: ModelOption = "almanac",
    groups: Annotated[str | None, typer.Option(help="Only these domains or languages, with commas between.")] = None,
    limit: Annotated[int | None, typer.Option(min=2, help="How many questions of each group (all).")] = None,
    known_only: Annotated[bool, typer.Option("--known-only", help="Only questions that the model answers.")] = False,
    chat: Annotated[bool, typer.Option("--chat", help="Put prompts into the tokenizer's chat template.")] = False,
    templates: Annotated[int, typer.Option(min=2, help="Of each question; each is held out in turn.")] = 3,
    resample: Annotated[bool, typer.Option("--resample", help="Other wrong options in every template.")] = False,
    mode: Annotated[str, typer.Option(help="paper, or released: attribute, round and cluster as that code.")] = (
        "paper"
    ),
    setting: Annotated[list[str] | None, typer.Option(help="Of the attribution, e.g. dai.steps=16.")] = None,
    decimals: Annotated[int | None, typer.Option(min=0, help="That scores are rounded to, if released (6).")] = None,
    contrast: Annotated[
        bool, typer.Option("--contrast", help="Attribute P(right letter) less the mean of the wrong ones.")
    ] = False,
    wrong_answers: Annotated[
        bool, typer.Option("--wrong-answers", help="Attribute wrong letters too, and compare.")
    ] = False,
    share: Annotated[float, typer.Option(help="A cluster's least score, as a share of the highest.")] = 0.2,
    common: Annotated[float, typer.Option(help="In more than this share of clusters, a neuron is common.")] = 0.3,
    top: TopOption = 20,
    aggregate: Annotated[str, typer.Option(help="Of changes: ratio-of-means or mean-of-ratios.")] = "ratio-of-means",
    seed: SeedOption = 0,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    device_map: DeviceMapOption = None,
    revision: RevisionOption = None,
    trust_remote_code: RemoteOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Neurons behind answers of any length, through multiple choice. Every experiment of arXiv:2406.10868."""
    with working("loading"):
        from locant.recipes.choices import select_choices
        from locant.recipes.qrnca import Plan, run_qrnca

        plan = Plan(
            mode=mode,
            settings=settings_of_localizers(setting or [], seed, ("dai",)).get("dai", {}),
            decimals=decimals,
            contrast=contrast,
            wrong=wrong_answers,
            share=share,
            common=common,
            top=top,
            aggregate=aggregate,
            seed=seed,
        )
        lm = load_model(model, dtype, device, device_map, revision, trust_remote_code)
        drawn: dict[str, Any] = {
            "groups": names_in(groups),
            "limit": limit,
            "known_only": known_only,
            "chat": chat,
            "templates": templates,
            "resample": resample,
        }
        questions = select_choices(lm, data, **drawn, seed=seed)
    with stages() as say:
        run_qrnca(lm, questions, out_folder, plan, source=data, drawn=drawn, say=say)
    show(out_folder, as_json)
