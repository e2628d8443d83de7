"""The command that makes a run's page anew, and what every run ends with: its page and its answers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from locant.cli.shared import DebugOption, JsonOption, out, plain, print_json, working

if TYPE_CHECKING:
    from locant.reports.answers import Answer


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
        from locant.reports.runs import left_out_of, manifest_of

        made = report_of(run)
        page, found = made.page_of(run), made.answers_of(run)
        place = write_text(run / "page.html", page)
        left_out = left_out_of(manifest_of(run))
    if as_json:
        answers = [{**asdict(one), "brief": one.brief} for one in found]
        print_json({"page": str(place), "answers": answers, "left_out": left_out})
        return
    for one in found:
        out.print(f"[bold]{plain(one.question)}[/]\n  {_in_a_line(one)}", soft_wrap=True)
    if left_out:
        told = "; ".join(f"{why}: {number:,}" for why, number in left_out.items())
        out.print(f"\nLeft out: {told}", soft_wrap=True, markup=False)
    out.print(f"\nPage: {place}", soft_wrap=True, markup=False)


def _in_a_line(answer: Answer) -> str:
    """The short answer before the figure that it rests on; once where the figure begins with it."""
    short, brief = plain(answer.short), plain(answer.brief)
    rest = brief.removeprefix(short)
    once = rest != brief and not rest[:1].isalnum()
    return f"[cyan]{short}[/]{rest if once else f': {brief}'}"
