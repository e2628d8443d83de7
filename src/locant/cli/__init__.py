"""The command line. Nothing heavy is imported until a command needs it, so that help answers at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from locant import __version__
from locant.cli.almanac import almanac_app
from locant.cli.circuit import EDGES_HELP, circuit
from locant.cli.data import data_app
from locant.cli.edit import edit
from locant.cli.report import report
from locant.cli.run import run_app
from locant.cli.settings import kinds_of, localizer_options
from locant.cli.shared import (
    METHOD_SETTINGS,
    SETTINGS_HELP,
    DebugOption,
    DeviceMapOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    MethodOption,
    ModelOption,
    RemoteOption,
    RevisionOption,
    SeedOption,
    TopOption,
    counting,
    err,
    load_model,
    out,
    own_folder,
    plain,
    print_json,
    print_table,
    working,
)
from locant.errors import LocantError
from locant.languages import gap

if TYPE_CHECKING:
    from locant.recipes.ask import Asked
    from locant.types import Effect

app = typer.Typer(
    help="Where does a language model keep what it knows, and what happens if we touch it?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(almanac_app, name="almanac")
app.add_typer(data_app, name="data")
app.add_typer(run_app, name="run")
app.command()(report)
app.command(context_settings=METHOD_SETTINGS, epilog=SETTINGS_HELP)(edit)
app.command(context_settings=METHOD_SETTINGS, epilog=EDGES_HELP)(circuit)


STOPPED = 130
"""The exit code of a command that was interrupted."""


def main() -> None:
    """Run a command; an error is one sentence and exit code 1."""
    try:
        app()
    except (KeyboardInterrupt, SystemExit) as ended:
        # Typer ends with 130, and without a word, where somebody has stopped it
        if isinstance(ended, SystemExit) and ended.code != STOPPED:
            raise
        _stop("stopped; a run with --out goes on where it stopped when the command is given again", STOPPED)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        known = isinstance(error, LocantError)
        _stop(str(error) if known else f"{type(error).__name__}: {error} (--debug shows where)", 1)


def _stop(sentence: str, code: int) -> None:
    err.print(f"locant: {sentence}", markup=False, soft_wrap=True)
    sys.exit(code)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        out.print(f"locant {__version__}")
        raise typer.Exit


@app.command(context_settings=METHOD_SETTINGS, epilog=SETTINGS_HELP)
def ask(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="Text that ends where the answer begins, or has [MASK].")],
    answer: Annotated[str | None, typer.Option(help="The expected answer (the model's own first word).")] = None,
    relation: Annotated[str, typer.Option(help="Of the fact; facts of other relations are controls.")] = "",
    language: Annotated[str, typer.Option(help="Of the prompt.")] = "en",
    model: ModelOption = "almanac",
    method: MethodOption = "dai",
    top: TopOption = 20,
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
    """One fact: its neurons, what happens when they are touched, and a page that shows it."""
    if not prompt.strip():
        raise LocantError("the prompt is empty")
    settings = localizer_options(method, context, seed)
    with working("loading"):
        from locant import query
        from locant.recipes.ask import ask as ask_model
        from locant.recipes.saved import RECIPE, refuse_other, save, summary
        from locant.reports import page

        if out_folder is not None:
            refuse_other(out_folder, RECIPE)
        lm = load_model(model, dtype, device, device_map, revision, trust_remote_code)
    with working("locating"):
        expected = answer or lm.first_word(prompt, language)
        question = query(prompt, expected, relation=relation, language=language)
        asked = ask_model(lm, question, method=method, k=top, seed=seed, settings=settings)
        place = save(
            asked, page(asked), out_folder or own_folder(prompt, expected, method if method != "dai" else "", model)
        )
    if as_json:
        print_json({**summary(asked), "page": str(place)})
    else:
        _print_asked(asked, place)


@app.command(context_settings=METHOD_SETTINGS, epilog=SETTINGS_HELP)
def attribute(
    context: typer.Context,
    queries: Annotated[Path, typer.Argument(help="JSONL, JSON, CSV or Parquet with prompt and answer.")],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder of the run; a stopped one is resumed.")],
    model: ModelOption = "almanac",
    method: MethodOption = "dai",
    top: TopOption = 20,
    dense: Annotated[bool, typer.Option("--dense", help="Keep every neuron's score, as safetensors.")] = False,
    seed: SeedOption = 0,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    device_map: DeviceMapOption = None,
    revision: RevisionOption = None,
    trust_remote_code: RemoteOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Many queries: the top neurons of each, as Parquet."""
    settings = localizer_options(method, context, seed)
    with working("loading"):
        from locant import read_queries
        from locant.sweeps import attribute_all

        found = read_queries(queries)
        lm = load_model(model, dtype, device, device_map, revision, trust_remote_code)
    with counting("queries", len(found)) as done:
        attribute_all(lm, found, out_folder, method=method, k=top, dense=dense, settings=settings, done=done)
    table = out_folder / "tables" / "neurons.parquet"
    if as_json:
        print_json({"queries": len(found), "neurons": str(table)})
    else:
        out.print(f"{len(found)} queries, top {top} neurons each: {table}", soft_wrap=True)


@app.command()
def models(as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """The embedded models and the architectures that are understood."""
    with working("looking"):
        from locant.models import ARCHITECTURES
        from locant.models.load import EMBEDDED
    rows = [
        {"type": name, "answers": spec.kind, "neurons": f"input of {spec.neurons}"}
        for name, spec in sorted(ARCHITECTURES.items())
    ]
    if as_json:
        print_json({"embedded": sorted(EMBEDDED), "architectures": rows})
        return
    out.print(f"Embedded: {', '.join(sorted(EMBEDDED))}. Any Hugging Face model of these types, by name or folder:")
    print_table(rows)


@app.command()
def methods(
    editing: Annotated[bool, typer.Option("--editing", help="The ways to rewrite facts instead.")] = False,
    edges: Annotated[bool, typer.Option("--edges", help="The ways to score a circuit's edges instead.")] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """The ways to score neurons, to score edges between heads and MLPs, or to rewrite facts, with their settings."""
    if editing and edges:
        raise typer.BadParameter("--editing and --edges are two lists: ask for one at a time")
    with working("looking"):
        from locant.attributions import METHODS
        from locant.attributions.edges import METHODS as EDGES
        from locant.interventions.editing import METHODS as EDITING
    known: Mapping[str, Callable[..., object]] = EDITING if editing else EDGES if edges else METHODS
    rows = [
        {
            "method": name,
            "what": (function.__doc__ or "").strip().splitlines()[0],
            "settings": ", ".join(
                f"--{setting.replace('_', '-')} {signature(function).parameters[setting].default}"
                for setting in kinds_of(function)
            ),
        }
        for name, function in known.items()
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(rows)


def _print_asked(asked: Asked, place: Path) -> None:
    """The compact answer: what was located, what touching it does, and where the page is."""
    from rich.table import Table

    from locant.recipes.saved import neuron_table

    query = asked.query
    said = f"[bold]{plain(query.prompt + gap(query.language))}[cyan]{plain(query.answer)}[/][/]"
    out.print(f"{said}   {plain(asked.model)}, P = {asked.answer_prob:.3g}, rank {asked.answer_rank}\n")
    effects = Table("change of P(answer)", "suppressed (x0)", "enhanced (x2)", box=None, pad_edge=False)
    for rows in zip(*(asked.effects_of(operation) for operation in ("suppress", "enhance")), strict=True):
        effects.add_row(plain(_what(asked, rows[0])), *(plain(_change(one)) for one in rows))
    out.print(effects, "")
    neurons = Table(box=None, pad_edge=False)
    for name in ("layer", "neuron", "score", "activation", "promotes"):
        neurons.add_column(name, overflow="ellipsis", no_wrap=True)
    for row in neuron_table(asked).head(5).to_dicts():
        words = " ".join(row["promotes"])
        neurons.add_row(
            str(row["layer"]),
            str(row["neuron"]),
            f"{row['score']:.3g}",
            f"{row['activation']:.3g}",
            plain(words),
        )
    out.print(neurons)
    out.print(f"(first 5 of {len(asked.selection)})\n\nPage: {place}", soft_wrap=True, markup=False)


def _what(asked: Asked, effect: Effect) -> str:
    """Which neurons an effect is of, and what it was judged by."""
    if effect.asked == "unrelated":
        return f"located, {effect.change.n} unrelated facts"
    if effect.touched == "located":
        return f"located, {len(asked.selection)} neurons"
    where = "same layers" if effect.touched == "random, layer-matched" else "any layer"
    return f"{where}, {effect.change.n} random sets"


def _change(effect: Effect) -> str:
    """Relative change of the probability: with its interval, or with both probabilities where there is one."""
    change = effect.change
    if change.n == 1:
        return f"{_percent(change.mean)}%  ({_probability(effect.before)} -> {_probability(effect.after)})"
    return f"{_percent(change.mean)}%  [{_percent(change.low)}, {_percent(change.high)}]"


def _probability(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


def _percent(change: float) -> str:
    text = f"{100 * change:+.1f}"
    return "0.0" if float(text) == 0 else text
