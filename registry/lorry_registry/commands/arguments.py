"""Arguments and words that several of the registry's commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lorry_registry.version.notes import Note

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

reference: Decorator = click.argument("reference", metavar="NS/NAME[@VERSION]")
exact: Decorator = click.argument("reference", metavar="NS/NAME@VERSION")
reason: Decorator = click.option("--reason", help="Why; shown to whoever uses it.")
replaced_by: Decorator = click.option("--replaced-by", metavar="REF", help="What to use instead.")
at: Decorator = click.option("--at", default="", metavar="PLACE", help="Say it there, as in lorry push, and not here.")
adapter: Decorator = click.argument("adapter", metavar="NS/NAME")


def tools(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command an option for the folder of every tool that has a place for adapters: --comfyui DIR, say."""
    from lorry.plugin.host import host

    for tool in reversed([each for each in host().loaders().values() if each.layers]):
        text = f"The folder {tool.title} is installed in."
        command = click.option(f"--{tool.name}", tool.name, metavar="DIR", type=click.Path(), help=text)(command)
    return command


def short(sha256: str | None) -> str:
    """Write as much of a digest as a reference needs; `--json` gives all of it."""
    return f"sha256:{sha256[:12]}" if sha256 else ""


def there(at: str) -> str:
    """Write behind what was done in which place, if in another than here."""
    return f" at {at}" if at else ""


def mark(note: Note) -> str:
    """Write behind a version that it should not be used, and why in a word."""
    words = {"yanked": note.yanked, "deprecated": note.deprecated}
    told = ", ".join(word for word, reason in words.items() if reason is not None)
    return f" ({told})" if told else ""


def size(number: int) -> str:
    """Write a number of bytes for people."""
    if number < 1000:  # noqa: PLR2004  below that, bytes are counted
        return f"{number} B"
    for unit, factor in (("kB", 1e3), ("MB", 1e6)):
        if number < 1000 * factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number / 1e9:.1f} GB"
