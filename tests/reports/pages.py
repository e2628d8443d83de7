"""What every recipe's page is held to, and runs that differ in one table from another."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
from chromium import answer_of, opened
from elements import Elements

from locant.reports.registry import report_of
from locant.reports.text import script_json

EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script><!-- \"&' $headline"
OUTSIDE = {"src", "href", "xlink:href", "data", "action", "poster", "srcset"}


def written(folder: Path, tables: dict[str, list[dict[str, object]]], manifest: dict[str, object]) -> Path:
    """A run folder of made-up tables."""
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(folder / "tables" / f"{name}.parquet")
    (folder / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False), encoding="utf-8")
    return folder


def altered(folder: Path, place: Path, table: str, *columns: pl.Expr) -> Path:
    """A copy of a run in which some columns of one table are others."""
    for path in folder.rglob("*.*"):
        target = place / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    path = place / "tables" / f"{table}.parquet"
    pl.read_parquet(path).with_columns(*columns).write_parquet(path)
    return place


def answer(folder: Path, about: str) -> tuple[str, str]:
    """What a run's report says to the question that has this in it, in short and in full."""
    (found,) = (one for one in report_of(folder).answers_of(folder) if about in one.question)
    return found.short, plain(found.text)


def answers_begin_with_their_figure(folder: Path) -> None:
    """Each is a line that a terminal can print, with a number where something was measured."""
    for one in report_of(folder).answers_of(folder):
        assert "; " not in one.brief and ". " not in one.brief and len(one.brief) < 240, one.brief
        assert one.short == "Not measured" or any(map(str.isdigit, one.brief)), one.brief


def plain(text: str) -> str:
    """Text with the spaces and hyphens of a keyboard."""
    return text.replace("\u00a0", " ").replace("\u2011", "-")


def headings(html: str) -> str:
    return "\n".join(Elements(html).text("h1") + Elements(html).text("h2"))


def figures_of(html: str) -> dict[str, object]:
    """The data of every figure, by its element's id."""
    found = json.loads(Elements(html).text("script", id="figure-data")[0])
    assert isinstance(found, dict)
    return found


def every_figure_has_an_element_and_a_table(html: str) -> int:
    """
    Returns:
        How many figures there are.
    """
    elements = Elements(html)
    places = [attrs["id"] for tag, attrs in elements.found if tag == "div" and attrs.get("class") == "plot"]
    assert len(places) == len(set(places))
    assert set(places) == set(figures_of(html))
    ids = [attrs["id"] for _, attrs in elements.found if "id" in attrs]
    assert len(ids) == len(set(ids))
    for section in html.split("<section ")[1:]:
        assert 'class="plot"' not in section or "<table>" in section
    return len(places)


def nothing_is_fetched_and_links_lead_into_the_page(html: str) -> None:
    elements = Elements(html)
    ids = {attrs.get("id") for _, attrs in elements.found}
    for tag, attrs in elements.found:
        assert tag not in ("link", "iframe", "object", "embed", "base", "img", "form")
        for name in OUTSIDE & attrs.keys():
            link = attrs[name] or ""
            assert link.startswith("#") and link[1:] in ids, f"<{tag} {name}={attrs[name]!r}>"
    style = elements.text("style")[0]
    assert "url(" not in style and "@import" not in style
    policy = next(attrs["content"] for tag, attrs in elements.found if "http-equiv" in attrs)
    assert policy is not None and policy.startswith("default-src 'none';") and "http" not in policy


def markup_stays_text(html: str, title: str, *tags: str) -> None:
    """
    Args:
        title: of the page, before the markup.
        tags: of elements that have it as their text, or in it.
    """
    elements = Elements(html)
    assert not [attrs for _, attrs in elements.found for name in attrs if name.startswith("on")]
    assert sum(tag == "script" for tag, _ in elements.found) == 3
    assert elements.text("title") == [f"{title}{EVIL}"]
    for tag in tags:
        assert any(EVIL in text for text in elements.text(tag)), tag
    start = html.index('<script type="application/json"')
    data = html[start : html.index("<script>", start)]
    assert data.count("</") == 1 and "<!--" not in data and "<img" not in data


def figures_take_markup_as_text(html: str) -> None:
    told = json.dumps(figures_of(html))
    assert "<img" not in told and "&lt;img src=x" in told


# In a browser


def opens_without_a_complaint(html: str) -> None:
    assert opened(html).console == ()


def draws_every_figure_that_is_to_be_seen(html: str) -> int:
    """
    Returns:
        How many there are.
    """
    found = answer_of(
        html,
        "const places = [...document.querySelectorAll('.plot')].filter((one) => !one.closest('[hidden]'));"
        "answer.textContent = [places.length, places.filter((one) => one.querySelector('.main-svg')).length].join();",
    )
    seen, drawn = map(int, found.split(","))
    assert seen == drawn
    return drawn


def shown_after_choosing(html: str, button: str, figure: str) -> list[str]:
    """The views that are shown after a button is pressed, by their section and key; one figure of them is drawn.

    Args:
        button: as a CSS selector.
        figure: the id of its element.
    """
    found = answer_of(
        html,
        f"document.querySelector({json.dumps(button)}).click();"
        "setTimeout(() => { answer.textContent = [...document.querySelectorAll('[data-view]:not([hidden])')]"
        ".map((part) => part.closest('section').id + part.dataset.view).join(' ')"
        f" + ' ' + document.querySelectorAll('#{figure} .main-svg').length; }}, 300);",
    )
    *shown, figures = found.split()
    assert int(figures) > 0
    return shown


def fits_a_narrow_screen(html: str) -> None:
    """A page need not be scrolled sideways."""
    width = answer_of(
        "<!doctype html><body></body>",
        "const frame = document.createElement('iframe'); frame.style.width = '400px';"
        f"frame.srcdoc = {script_json(html.replace('Content-Security-Policy', 'x'))};"
        "frame.onload = () => setTimeout(() => { const root = frame.contentDocument.documentElement;"
        "answer.textContent = [root.clientWidth, root.scrollWidth].join(); }, 800);"
        "document.body.append(frame);",
    )
    inner, needed = map(int, width.split(","))
    assert 380 <= inner <= 400
    assert needed == inner
