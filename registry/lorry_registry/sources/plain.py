"""Plain text of HTML that strangers wrote."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_BREAKS = {"p", "br", "li", "div", "h1", "h2", "h3", "h4", "h5", "h6", "tr", "ul", "ol", "blockquote", "pre"}
_UNSEEN = {"script", "style", "head", "template"}
LONGEST = 16_000


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del attrs
        self._unseen += tag in _UNSEEN
        if tag in _BREAKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._unseen = max(self._unseen - (tag in _UNSEEN), 0)
        if tag in _BREAKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.pieces.append(re.sub(r"\s+", " ", data))


def plain(html: str) -> str:
    """Return what a reader sees of it, a paragraph a line, of 16,000 characters at most."""
    reader = _Text()
    reader.feed(html[: 16 * LONGEST])
    reader.close()
    lines = (line.strip() for line in "".join(reader.pieces).split("\n"))
    return "\n".join(line for line in lines if line)[:LONGEST]
