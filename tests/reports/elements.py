"""A page taken apart, for tests of what it holds."""

from __future__ import annotations

from html.parser import HTMLParser


class Elements(HTMLParser):
    """A page's elements with their attributes, and each element's text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[list[str]] = []
        self._open: list[int] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.texts.append([])
        if tag not in ("meta", "br", "img", "link", "col"):
            self._open.append(len(self.found) - 1)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self.found[self._open.pop()][0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        for index in self._open:
            self.texts[index].append(data)

    def text(self, tag: str, **attributes: str) -> list[str]:
        return [
            "".join(self.texts[index])
            for index, (name, attrs) in enumerate(self.found)
            if name == tag and all(attrs.get(key) == value for key, value in attributes.items())
        ]
