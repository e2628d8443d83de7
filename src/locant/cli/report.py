"""The command that makes a run's page anew, and what every run ends with: its page and its answers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from locant.cli.shared import DebugOption, JsonOption, out, plain, print_json, working


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a finished run's page anew, from its tables; the model is not needed."""
    show(run, as_json)


def show(run: Path, as_json: bool) -> None:
    """Write the page and say where it is, after what was found."""
    with working("drawing"):
        from locant.files import write_text
        from locant.reports.registry import report_of

        made = report_of(run)
        page, found = made.page_of(run), made.answers_of(run)
        place = write_text(run / "page.html", page)
    if as_json:
        print_json({"page": str(place), "answers": [asdict(one) for one in found]})
        return
    for one in found:
        out.print(f"[bold]{plain(one.question)}[/] {plain(one.short)}. {plain(one.text)}\n", soft_wrap=True)
    out.print(f"Page: {place}", soft_wrap=True, markup=False)
