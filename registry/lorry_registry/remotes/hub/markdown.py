"""What strangers wrote, made harmless in Markdown: it shows as the text it is.

There is no picture and no HTML in it then, and no link but one that shows where it leads.
After the CommonMark specification 0.31: any ASCII punctuation may be escaped with a backslash (section 2.4), what
begins a block begins a line (sections 4 and 5), and code ends at a run of backticks as long as the one it began with.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

_ACTIVE = re.compile(r"[\\`*_{}\[\]<>#!|~$&]")
_BLOCK = re.compile(r"^([-+](?=\s|$)|[-=]+(?=\s*$)|[0-9]+(?=[.)](?:\s|$)))")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def one_line(text: str) -> str:
    """Return a text without line breaks and what no eye sees: control, format and surrogate characters."""
    blanks = "".join(" " if each in "\n\r\t\v\f\x85\u2028\u2029" else each for each in text)
    return " ".join("".join(each for each in blanks if unicodedata.category(each)[0] != "C").split())


def escape(text: str) -> str:
    """Return one line of text for anywhere in Markdown, a table too."""
    active = _ACTIVE.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), one_line(text))
    return _BLOCK.sub(_escape_block, active)


def escape_lines(text: str) -> str:
    """Return a text of several lines, each of which stays one; empty lines stay between paragraphs."""
    return "\n".join(escape(line) for line in text.splitlines())


def code(text: str) -> str:
    """Return one line of text as code."""
    line = one_line(text)
    fence = "`" * (_longest_run(line) + 1)
    edge = " " if line[:1] in {"`", ""} or line[-1:] == "`" else ""
    return f"{fence}{edge}{line}{edge}{fence}"


def code_block(text: str, language: str) -> str:
    """Return text as a block of code."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are Markdown already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _escape_block(found: re.Match[str]) -> str:
    return f"{found[0]}\\" if found[0].isdecimal() else f"\\{found[0]}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
