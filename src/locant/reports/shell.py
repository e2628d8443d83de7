"""What every page has around its content: one file, its own scripts and no others, nothing from the network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from string import Template

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from locant.reports.text import escape, script_json


def shell(title: str, content: str, data: Mapping[str, object], *, script: str, style: str) -> str:
    """A whole HTML page; equal arguments give equal bytes.

    Args:
        title: as text; it is escaped here.
        content: HTML of the main element.
        data: plain values that the script reads, by the id of the element each stands in.
        script: after Plotly, and the only other script that the page's policy lets run.
    """
    scripts = {"plotly": get_plotlyjs(), "script": script}
    policy = (
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; base-uri 'none'; "
        f"form-action 'none'; script-src {' '.join(map(_source, scripts.values()))}"
    )
    embedded = "\n".join(
        f'<script type="application/json" id="{name}">{script_json(value)}</script>' for name, value in data.items()
    )
    return fill(
        "shell.html", title=escape(title), content=content, data=embedded, policy=policy, style=style, **scripts
    )


def plain(figures: Mapping[str, go.Figure]) -> dict[str, object]:
    """Figures' data and layout, by the id of the element each is drawn in."""
    return {name: json.loads(figure.to_json()) for name, figure in figures.items()}


def fill(name: str, package: str = "locant.reports", **parts: str) -> str:
    """A template that is package data, with HTML in the place of its names."""
    return Template(read(name, package)).substitute(parts)


@cache
def read(name: str, package: str = "locant.reports") -> str:
    """The text of a file that is package data."""
    return (files(package) / name).read_text(encoding="utf-8")


def _source(script: str) -> str:
    """A script as the content security policy names it: no other script may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
