"""The command that finds the circuit of one prompt's answer, and the page that shows it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
    out,
    own_folder,
    plain,
    print_json,
    working,
)
from locant.errors import LocantError
from locant.languages import gap

if TYPE_CHECKING:
    from locant.recipes.traced import Standing, Traced


EDGES_HELP = "The method's own settings are options too, e.g. --rule midpoint --steps 10."


def circuit(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="Text that ends where the answer begins.")],
    answer: Annotated[str | None, typer.Option(help="The expected answer (the model's own first word).")] = None,
    counterfactual: Annotated[
        str | None, typer.Option(help="The prompt about another subject, in as many tokens (found, if it can be).")
    ] = None,
    other: Annotated[str | None, typer.Option(help="The answer to that (the model's own first word).")] = None,
    subject: Annotated[str, typer.Option(help="What the prompt is about (found, if the almanac knows it).")] = "",
    relation: Annotated[str, typer.Option(help="Of the fact.")] = "",
    language: Annotated[str, typer.Option(help="Of the prompt.")] = "en",
    model: ModelOption = "almanac",
    method: Annotated[str, typer.Option(help="That scores edges: see 'locant methods --edges'.")] = "eap_ig",
    metric: Annotated[str, typer.Option(help="That scores are of.")] = "logit_difference",
    ablation: Annotated[str, typer.Option(help="What stands in where edges are cut.")] = "counterfactual",
    edges: Annotated[int | None, typer.Option(min=1, help="Of the circuit, at most (5%, at most 300).")] = None,
    merged: Annotated[bool, typer.Option("--merged", help="Heads read once for query, key and value.")] = False,
    spans: Annotated[
        bool,
        typer.Option("--spans", help="Tell positions apart: before, at and after the subject, the last token."),
    ] = False,
    choose: Annotated[str, typer.Option(help="How the circuit is chosen: greedy or top.")] = "greedy",
    by: Annotated[str, typer.Option(help="Scores count: absolute or signed.")] = "absolute",
    out_folder: Annotated[Path | None, typer.Option("--out", help="Folder for the page (locant-out/...).")] = None,
    seed: SeedOption = 0,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    device_map: DeviceMapOption = None,
    revision: RevisionOption = None,
    trust_remote_code: RemoteOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """One prompt: the heads, MLPs and edges that say its answer, what they are worth alone, and a page."""
    if not prompt.strip():
        raise LocantError("the prompt is empty")
    if other is not None and counterfactual is None:
        raise typer.BadParameter("--other is the answer to --counterfactual, which was not given")
    with working("loading"):
        from locant import query
        from locant.attributions.edges import METHODS
        from locant.models.graph_of import graph_of
        from locant.recipes.ask import subject_in
        from locant.recipes.circuit import refuse_unknown, trace_circuit
        from locant.recipes.saved import refuse_other
        from locant.recipes.saved_circuit import RECIPE, save_traced, summary
        from locant.reports.circuits import circuit_page, verdict

        refuse_unknown(method, metric, ablation, choose, by)
        settings = settings_from(method, METHODS[method], context.args, seed, options_of(context))
        if out_folder is not None:
            refuse_other(out_folder, RECIPE)
        lm = load_model(model, dtype, device, device_map, revision, trust_remote_code)
        graph_of(lm, split=not merged)  # refuses a model that has none before anything is asked of it
    with working("tracing"):
        expected = answer or lm.first_word(prompt, language)
        if subject not in prompt:
            raise LocantError(f"the subject {subject!r} is not in the prompt {prompt!r}")
        named = subject or subject_in(prompt, language)
        asked = query(prompt, expected, subject=named, relation=relation, language=language)
        against = None
        if counterfactual is not None:
            against = query(counterfactual, other or lm.first_word(counterfactual, language), language=language)
        traced = trace_circuit(
            lm,
            asked,
            against,
            method=method,
            metric=metric,
            ablation=ablation,
            edges=edges,
            rule=choose,
            by=by,
            split=not merged,
            spans=spans,
            seed=seed,
            settings=settings,
            command=shlex.join(["locant", *sys.argv[1:]]),
        )
        folder = out_folder or own_folder(prompt, expected, RECIPE, model)
        place = save_traced(traced, circuit_page(traced), folder)
    if as_json:
        print_json({**summary(traced), "page": str(place)})
    else:
        _print(traced, verdict(traced), edges, place)


def _print(traced: Traced, verdict: str, asked: int | None, place: Path) -> None:
    """What the circuit is, what it is worth, and where the page is.

    Args:
        asked: the most edges that were asked for.
    """
    from rich.table import Table

    query, made, standings = traced.query, traced.circuit, traced.standings
    said = f"[bold]{plain(query.prompt + gap(query.language))}[cyan]{plain(query.answer)}[/][/]"
    out.print(f"{said}   {plain(traced.model)}", highlight=False)
    if traced.counterfactual is not None:
        against = traced.counterfactual
        out.print(f"against: {plain(against.prompt + gap(query.language) + against.answer)}", highlight=False)
    if standings.model.rank > 1:
        says = traced.top_answers[0][0]
        out.print(
            f"[yellow]The model says {plain(says)}; {plain(query.answer)} is of rank {standings.model.rank:,}[/]"
        )
    more = f" (at most {asked} were asked for; dead ends are left out)" if asked and len(made) < asked else ""
    out.print(
        f"\n{len(made):,} of {int(made.graph.edges.sum()):,} edges between {len(made.nodes)} nodes{more}: "
        f"faithfulness {traced.faithfulness.share:.2f} by {_measure(traced)}\n",
        highlight=False,
    )
    kept = Table("edges kept", "P(answer)", "rank", box=None, pad_edge=False)
    rows: list[tuple[str, Standing | None]] = [
        ("all: the model", standings.model),
        ("the circuit alone", standings.circuit),
        ("all but the circuit", standings.complement),
        ("none", standings.empty),
    ]
    for name, one in rows:
        if one is not None:
            kept.add_row(name, f"{one.probability:.3g}", f"{one.rank:,}")
    if standings.random:
        mean = sum(one.probability for one in standings.random) / len(standings.random)
        best = max(standings.random, key=lambda one: one.probability)
        kept.add_row(f"random, as many, mean of {len(standings.random)}", f"{mean:.3g}", "")
        kept.add_row(f"random, best of {len(standings.random)}", f"{best.probability:.3g}", f"{best.rank:,}")
    out.print(kept)
    out.print(f"\n[bold]{plain(verdict)}[/]", soft_wrap=True)
    if (
        traced.counterfactual is None
        and traced.made_by.settings["method"] != "exact"
        and traced.faithfulness.share < 0.5
    ):
        out.print("Gradients find no circuits where ablation is far from what the model sees: try --method exact")
    strongest = ", ".join(made.edges[:5])
    out.print(f"\nStrongest: {strongest}\n\nPage: {place}", soft_wrap=True, markup=False, highlight=False)


def _measure(traced: Traced) -> str:
    """What faithfulness is judged by, and how it reads."""
    by = traced.faithfulness
    if by.divergence is None:
        return f"{plain(by.metric.replace('_', ' '))} (1 as the model, 0 as with no edge)"
    own, empty = by.divergence
    return (
        f"KL divergence from the model: {own:.3g} {by.unit} with the circuit, {empty:.3g} with no edge (0: the model)"
    )
