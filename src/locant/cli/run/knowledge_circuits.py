"""The command that runs knowledge circuits' set of experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from locant.cli.report import show
from locant.cli.run.shared import names_in, stages
from locant.cli.settings import options_of, settings_from
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
    context: typer.Context,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder of the run; a stopped one is resumed.")],
    data: Annotated[str, typer.Option(help="almanac, lre:FOLDER, pararel:FOLDER, or a file of queries.")] = "almanac",
    model: ModelOption = "almanac",
    relations: Annotated[str | None, typer.Option(help="Only these, with commas between.")] = None,
    limit: Annotated[int, typer.Option(min=4, help="Facts in each half of a relation, at most.")] = 24,
    known: Annotated[int, typer.Option(min=0, help="Only facts answered in the first so many (0: all).")] = 10,
    method: Annotated[str, typer.Option(help="That scores edges: see 'locant methods --edges'.")] = "eap_ig",
    setting: Annotated[list[str] | None, typer.Option(help="Of the method, e.g. steps=10; repeatable.")] = None,
    metric: Annotated[str, typer.Option(help="That scores are of.")] = "logit_difference",
    ablation: Annotated[str, typer.Option(help="What stands in where edges are cut.")] = "counterfactual",
    merged: Annotated[bool, typer.Option("--merged", help="Heads read once for query, key and value.")] = False,
    choose: Annotated[str, typer.Option(help="How circuits are chosen: greedy or top.")] = "greedy",
    by: Annotated[str, typer.Option(help="Scores count: absolute or signed.")] = "absolute",
    share: Annotated[float, typer.Option(help="Of all edges, that a relation's circuit has at most.")] = 0.05,
    k: Annotated[int, typer.Option(min=1, help="Of Hit@k.")] = 10,
    exact: Annotated[int, typer.Option(min=0, help="Pairs on which every edge is cut, as a reference.")] = 4,
    edits: Annotated[int, typer.Option(min=0, help="Facts edited, with circuits before and after.")] = 8,
    hallucinations: Annotated[int, typer.Option(min=0, help="Queries got wrong, and as many got right.")] = 40,
    demonstrations: Annotated[int, typer.Option(min=0, help="Facts of each half asked after an example.")] = 24,
    hops: Annotated[int, typer.Option(min=0, help="Questions of two steps for each two relations.")] = 24,
    seed: SeedOption = 0,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    device_map: DeviceMapOption = None,
    revision: RevisionOption = None,
    trust_remote_code: RemoteOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """The subgraph that says a relation's facts: found, run alone, read, edited, compared. arXiv:2405.17969."""
    with working("loading"):
        from locant.attributions.edges import METHODS
        from locant.recipes.knowledge_circuits import Plan, draw_relations, run_knowledge_circuits, wordings_of
        from locant.recipes.knowledge_circuits.drawn import refuse_other_relations
        from locant.recipes.plans import refuse_other

        refuse_other("method for edges", method, METHODS)
        words = [*(f"--{word}" for word in setting or []), *context.args]
        plan = Plan(
            method=method,
            settings=settings_from(method, METHODS[method], words, seed, options_of(context)),
            metric=metric,
            ablation=ablation,
            split=not merged,
            rule=choose,
            by=by,
            share=share,
            k=k,
            exact=exact,
            edits=edits,
            hallucinations=hallucinations,
            demonstrations=demonstrations,
            hops=hops,
            seed=seed,
        )
        refuse_other_relations(data, names_in(relations) or ())
        lm = load_model(model, dtype, device, device_map, revision, trust_remote_code)
        drawn: dict[str, Any] = {"relations": names_in(relations), "limit": limit, "known": known or None}
        found = draw_relations(lm, data, **drawn, seed=seed)
        wordings = wordings_of(lm, data, [one.name for one in found.relations]) if hallucinations else ()
    with stages() as say:
        run_knowledge_circuits(
            lm,
            found.relations,
            out_folder,
            plan,
            source=data,
            drawn=drawn,
            left_out=found.left_out,
            wordings=wordings,
            say=say,
        )
    show(out_folder, as_json)
