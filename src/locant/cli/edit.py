"""The command that rewrites one fact, shows what it did, and saves the edited model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from locant.cli.settings import editing_options
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
    plain,
    print_json,
    working,
)
from locant.errors import LocantError

if TYPE_CHECKING:
    from locant.recipes.edit import EditedOnce
    from locant.types import Interval


FIRST = 4
"""Words of what the model says that the verdict repeats."""


def edit(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="Text with the fact's subject, that ends where its object begins.")],
    new: Annotated[str, typer.Option(help="The object to say instead.")],
    subject: Annotated[str, typer.Option(help="What the fact is about (found, if the almanac knows it).")] = "",
    old: Annotated[str, typer.Option(help="The object as it is known (the model's own first word).")] = "",
    relation: Annotated[str, typer.Option(help="Of the fact; its other facts are controls.")] = "",
    language: Annotated[str, typer.Option(help="Of the prompt.")] = "en",
    model: ModelOption = "almanac",
    method: Annotated[str, typer.Option(help="How facts are rewritten: see 'locant methods --editing'.")] = "rome",
    ask: Annotated[list[str] | None, typer.Option(help="Another prompt to continue, too; repeatable.")] = None,
    save_model: Annotated[Path | None, typer.Option(help="Folder for the edited model.")] = None,
    save_weights: Annotated[Path | None, typer.Option(help="File for the changed matrices (.safetensors).")] = None,
    seed: SeedOption = 0,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    device_map: DeviceMapOption = None,
    revision: RevisionOption = None,
    trust_remote_code: RemoteOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """One fact rewritten in the weights: what the model says then, what else changed, and the model saved."""
    if not prompt.strip() or not new.strip():
        raise LocantError("the prompt and the new object must not be empty")
    settings = editing_options(method, context, seed)
    with working("loading"):
        from locant.recipes.edit import edit_once, request_of

        for place in (save_model, save_weights):
            if place is not None and place.exists():
                raise LocantError(f"{str(place)!r} is there already; choose another name")
        lm = load_model(model, dtype, device, device_map, revision, trust_remote_code)
    with working("editing"):
        request = request_of(lm, prompt, new, subject=subject, old=old, relation=relation, language=language)
        edited = edit_once(
            lm,
            request,
            method=method,
            ask=ask or (),
            seed=seed,
            settings=settings,
            model_to=save_model,
            weights_to=save_weights,
        )
    if as_json:
        print_json({**asdict(edited), "taken": edited.taken})
    else:
        _print(edited)
        for what, place in (("Edited model", save_model), ("Changed matrices", save_weights)):
            if place is not None:
                out.print(f"{what}: {place}", soft_wrap=True, markup=False)


def _print(edited: EditedOnce) -> None:
    from rich.table import Table

    request, (own, *others) = edited.request, edited.readings
    what = f"{request.query.prompt} {request.query.answer} -> {request.new}"
    out.print(f"[bold]{plain(what)}[/]   {plain(edited.made_by.method)}, {edited.seconds:.1f} s\n")
    table = Table("", "before", "after", box=None, pad_edge=False)
    for name, pair in ((f"P({request.query.answer})", own.old), (f"P({request.new})", own.new)):
        if pair is not None:
            table.add_row(plain(name), *(f"{value:.3g}" for value in pair))
    for reading in (own, *others):
        table.add_row(plain(reading.prompt), *(plain(_one_line(text)) for text in reading.said))
    out.print(table)
    out.print(f"\n[bold]{plain(_verdict(edited))}[/]\n", soft_wrap=True)
    kept = Table("to be spared", "n", "say the same", "change of P", box=None, pad_edge=False)
    for one in edited.spared:
        kept.add_row(one.asked, str(one.kept.n), _share(one.kept), _share(one.change, sign="+"))
    out.print(kept)


def _verdict(edited: EditedOnce) -> str:
    """One sentence: whether the edit took, by what the model says before and after it."""
    own, request = edited.readings[0], edited.request
    before, after = (_begun(_one_line(text)) for text in own.said)
    if edited.needless:
        return f"There was nothing to edit: the model said {before}, and says {after}."
    if edited.taken:
        return f"The edit took: the model says {after}, where it said {before}."
    likelier = own.new is not None and own.old is not None and own.new[1] > own.old[1]
    but = f" ({request.new} has become more probable than {request.query.answer} all the same)" if likelier else ""
    still = f"still says {after}" if after == before else f"says {after}, where it said {before}"
    return f"The edit did not take: the model {still}, not {request.new}{but}."


def _begun(text: str) -> str:
    """The first words of what the model says, in quotes."""
    words = text.split()
    return f"“{' '.join(words[:FIRST])}{' …' if len(words) > FIRST else ''}”" if words else "nothing"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _share(found: Interval, sign: str = "") -> str:
    return f"{100 * found.mean:{sign}.0f}%  [{100 * found.low:{sign}.0f}, {100 * found.high:{sign}.0f}]"
