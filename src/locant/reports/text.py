"""Text from data on its way into HTML, figures and scripts: always as text, never as markup."""

from __future__ import annotations

import html
import json
import unicodedata

_SPACES = {" ": "␣", "\n": "↵", "\r": "↵", "\t": "⇥"}
_NOTHING = "∅"
# Controls and lone surrogates have no glyph, and the latter no UTF-8; embeddings, overrides and isolates
# reorder the text around them
_REORDERING = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def escape(text: str) -> str:
    """Text as HTML, for elements and quoted attributes alike; characters that act unseen are named."""
    return html.escape("".join(map(_named, text)))


def visible(token: str) -> str:
    """A token with its white space made visible; ∅ if nothing of it is left to see."""
    if not token:
        return _NOTHING
    if all(not _has_glyph(char) for char in token):
        return "".join(_SPACES.get(char, _codepoint(char)) for char in token)
    core = token.strip(" ")
    start = token.index(core)
    padded = "␣" * start + core + "␣" * (len(token) - start - len(core))
    return "".join(_SPACES[char] if char in "\n\r\t" else _named(char) for char in padded)


def plotly(text: str) -> str:
    """Text for a Plotly label or hover, which read a subset of HTML, its entities, and formulas between dollars."""
    return escape(text).replace("$", "&#36;")


def script_json(value: object) -> str:
    """JSON that cannot end the script element it stands in: `<`, `>` and `&` are escaped."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _has_glyph(char: str) -> bool:
    return not char.isspace() and unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp")


def _named(char: str) -> str:
    silent = unicodedata.category(char) in ("Cc", "Cs") and char not in "\n\r\t"
    return _codepoint(char) if silent or char in _REORDERING else char


def _codepoint(char: str) -> str:
    return f"U+{ord(char):04X}"


def upper(text: str) -> str:
    """A sentence's first letter in upper case, the others as they are."""
    return text[:1].upper() + text[1:]
