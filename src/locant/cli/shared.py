"""What the commands share: options that mean the same everywhere, loading, progress, printing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from locant.models import LanguageModel

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

ModelOption = Annotated[str, typer.Option("--model", help="Hub name, folder, or embedded: see 'locant models'.")]
MethodOption = Annotated[str, typer.Option(help="How neurons are scored: see 'locant methods'.")]
TopOption = Annotated[int, typer.Option("--top", min=1, help="How many neurons.")]
SeedOption = Annotated[int, typer.Option(help="Of every random choice.")]
DtypeOption = Annotated[str | None, typer.Option(help="float32, bfloat16, ... (as saved)")]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ... (cpu)")]
DeviceMapOption = Annotated[str | None, typer.Option(help="'auto' spreads a model over devices.")]
RevisionOption = Annotated[str | None, typer.Option(help="Branch, tag or commit on the Hub.")]
RemoteOption = Annotated[bool, typer.Option("--trust-remote-code", help="Run the model's own code.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
METHOD_SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}
SETTINGS_HELP = "The method's own settings are options too, e.g. --rule midpoint --steps 20."


def load_model(
    model: str,
    dtype: str | None,
    device: str | None,
    device_map: str | None,
    revision: str | None,
    trust_remote_code: bool,
) -> LanguageModel:
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    import locant

    hub_logging.set_verbosity_error()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return locant.load(
        model,
        dtype=dtype,
        device_map=device_map or device,
        revision=revision,
        trust_remote_code=trust_remote_code,
    )


@contextmanager
def working(what: str) -> Iterator[None]:
    with err.status(f"{what} ..."):
        yield


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


def print_json(data: object) -> None:
    # Not through rich, which would fold long lines
    print(json.dumps(data, ensure_ascii=False, indent=1))


def print_table(rows: list[dict[str, str]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(plain(value) for value in row.values()))
    out.print(table)


def plain(text: str) -> str:
    """Text that rich shows as it is."""
    from rich.markup import escape

    return escape(text)


def own_folder(prompt: str, answer: str, method: str, model: str) -> Path:
    """A folder for a prompt's page, where none was named."""
    names = (prompt[:60], answer[:20], method, Path(model).name if model != "almanac" else "")
    name = "-".join(filter(None, (re.sub(r"\W+", "-", name.lower()).strip("-") for name in names)))
    return Path("locant-out") / (name or "question")
