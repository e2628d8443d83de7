"""A headless browser for pages: what it makes of them, and what it complains of."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium or chromium-browser on PATH: pages are not opened"
)
_QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
    "--virtual-time-budget=5000",
    "--window-size=1200,6000",
    "--dump-dom",
)


@dataclass(frozen=True)
class Opened:
    """A page after its scripts have run: its elements, and the browser's console."""

    dom: str
    console: tuple[str, ...]


@cache
def opened(html: str, fragment: str = "") -> Opened:
    """Open a page in a fresh browser, at a #fragment if one is given."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "page.html"
        path.write_text(html, encoding="utf-8")
        command = [str(CHROMIUM), *_QUIET, f"--user-data-dir={folder}/user", f"file://{path}{fragment}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return Opened(done.stdout, tuple(line for line in done.stderr.splitlines() if "CONSOLE" in line))


def answer_of(html: str, script: str) -> str:
    """What a script that is run in the page writes into `answer.textContent`."""
    # The policy would refuse the script, as it should; that is another test's business
    start = html.find("<meta http-equiv")
    if start >= 0:
        html = html[:start] + html[html.index(">", start) + 1 :]
    asking = f"<pre id='answer'></pre><script>const answer = document.getElementById('answer');{script}</script>"
    dom = opened(html.replace("</body>", asking + "</body>")).dom
    return dom.rpartition('<pre id="answer">')[2].partition("</pre>")[0]
