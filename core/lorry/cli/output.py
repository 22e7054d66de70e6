"""What commands print: tables and notes for people, JSON for programs. rich is imported when it is used."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO, TypeVar

import click

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

T = TypeVar("T")

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_WIDE, _NAME_WIDTH = 110, 40
_LONGEST_WORD, _LONGEST_TEXT = 400, 4000
_ENDLESS = re.compile(rf"\S{{{_LONGEST_WORD},}}")


def clean(text: str) -> str:
    """Drop control and direction marks and halves of characters: a file's own text cannot drive or break a terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def shortened(text: str) -> str:
    """Cut the middle out of endless words and texts: what somebody typed need not be repeated whole."""
    return _cut(_ENDLESS.sub(lambda found: _cut(found[0], _LONGEST_WORD), text), _LONGEST_TEXT)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest * 2 // 3]}…{text[-longest // 3 :]}"


def count(number: int, noun: str) -> str:
    """Write a number of things for people: 1 token, 2 tokens, 1,000 tokens."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def echo(text: str = "") -> None:
    """Print a line of the command's result."""
    click.echo(clean(text))


def echo_json(value: Any, *, indent: int | None = 2) -> None:  # noqa: ANN401  anything json can hold
    """Print the result as JSON; on one line where `indent` is None. NaN and infinity, which JSON lacks, are null."""
    import json

    text = json.dumps(_strict(value), indent=indent, ensure_ascii=False, allow_nan=False, default=str)
    click.echo(text.encode("utf-8", "backslashreplace").decode())  # half a character has only its JSON escape


def _strict(value: Any) -> Any:  # noqa: ANN401  anything json can hold
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _strict(each) for key, each in value.items()}
    return [_strict(each) for each in value] if isinstance(value, list | tuple) else value


def note(text: str) -> None:
    """Tell the person something on stderr; silent under -q."""
    if not _quiet():
        click.echo(clean(text), err=True)


def complain(text: str) -> None:
    """Say on stderr what went wrong; under -q too."""
    click.echo(f"lorry: {shortened(clean(text))}", err=True)


def reason(error: Exception) -> str:
    """Say what an error is about: the system's own ones by their file and reason, without a number."""
    if not isinstance(error, OSError):
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Pass `items` on, with a bar on stderr where that is a terminal; none under -q."""
    if _quiet() or not _on_terminal(sys.stderr):
        yield from items
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        for item in items:
            yield item
            bar.advance(task)


@contextmanager
def bytes_progress(what: str) -> Iterator[None]:
    """Show a bar of the bytes that are copied and written inside, on stderr where that is a terminal; none under -q."""
    if _quiet() or not _on_terminal(sys.stderr):
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from lorry.ir.watch import watched

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
    with bar, watched(_Bar(bar, bar.add_task(what, total=0))):
        yield


class _Bar(NamedTuple):
    """The `lorry.ir.watch.Watch` of a bar of rich's."""

    bar: Progress
    task: TaskID

    def expect(self, size: int, /) -> None:
        task = next(each for each in self.bar.tasks if each.id == self.task)
        self.bar.update(self.task, total=(task.total or 0) + size)

    def advance(self, size: int, /) -> None:
        self.bar.advance(self.task, size)


def _on_terminal(stream: TextIO | None) -> bool:
    """Tell whether a person reads a stream; a shell may have closed it."""
    return stream is not None and stream.isatty()


def _quiet() -> bool:
    context = click.get_current_context(silent=True)
    return bool(context and context.find_root().params.get("quiet"))


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names with what is to be said of each, aligned: wrapped on a terminal, elsewhere one line each.

    Without rich, and in a pipe without click's formatter: each takes longer to load than a file to read.
    """
    cells = [(clean(name), " ".join(clean(str(value)).split())) for name, value in pairs]
    if _on_terminal(sys.stdout):
        formatter = click.HelpFormatter(max_width=_WIDE)
        formatter.write_dl(cells, col_max=_NAME_WIDTH)
        click.echo(formatter.getvalue(), nl=False)
        return
    width = max((len(name) for name, _ in cells if len(name) <= _NAME_WIDTH), default=0)
    for name, value in cells:
        click.echo(f"{name.ljust(width)}  {value}".rstrip())


def _in_a_row(cell: object) -> str:
    """Keep a cell to its row: a file's own text may hold line breaks, which would pass for rows of ours."""
    return " ".join(clean(str(cell)).splitlines())


def columns(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows in aligned columns, without rich; the last column may run on."""
    cells = [[_in_a_row(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def table(title: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings: wrapped on a terminal, elsewhere one line each."""
    if not _on_terminal(sys.stdout):
        if title:
            echo(title)
        columns(headings, rows)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=Text(clean(title)) if title else None, title_justify="left", box=box.SIMPLE_HEAD)
    for heading in headings:
        drawn.add_column(heading, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(_in_a_row(cell)) for cell in row))
    Console().print(drawn)
