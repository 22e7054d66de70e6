"""lorry metadata: show, set and mend the header of a file; the tensors stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from lorry.cli import options
from lorry.cli.output import columns, echo, echo_json, table
from lorry.errors import InvalidArgument

_SHOWN = 200

_OUTPUT = click.option("-o", "--output", type=click.Path(), help="Where to write.")
_IN_PLACE = click.option("--in-place", is_flag=True, help="Replace PATH itself, once the new file is whole.")


@click.group("metadata")
def command() -> None:
    """Show, set and mend what a header says.

    Only the header of a file is written anew: every tensor byte stays, and so does AutoV3, the hash by which
    pictures and sites know an adapter.
    """


@command.command("show")
@click.argument("path")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@options.as_json
def show(path: str, keys: tuple[str, ...], as_json: bool) -> None:
    """Print the header of PATH, or of the KEYs alone, in full."""
    from lorry.ops.headers.metadata import read_metadata

    metadata = read_metadata(path)
    if missing := [key for key in keys if key not in metadata]:
        raise InvalidArgument(
            f"{path} says nothing of {', '.join(missing)}; lorry metadata show {path} lists what it says"
        )
    told = {key: metadata[key] for key in keys or metadata}
    if as_json:
        echo_json(told)
    elif len(keys) == 1:
        echo(told[keys[0]])
    elif told:
        columns(("entry", "says"), [(key, value if keys else _short(value)) for key, value in told.items()])
    else:
        echo(f"{path} has no metadata")


@command.command("set")
@click.argument("path")
@click.argument("entries", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--remove", "removed", multiple=True, metavar="KEY", help="Take an entry out.")
@click.option(
    "--trigger",
    "words",
    multiple=True,
    metavar="WORD",
    help="Write this trigger word to every place that tools look at: the header, and beside it .json (A1111), "
    ".civitai.info and, where there is one, the README.md of the Hub.",
)
@_OUTPUT
@_IN_PLACE
@options.force
@options.as_json
def set_(
    path: str,
    entries: tuple[str, ...],
    removed: tuple[str, ...],
    words: tuple[str, ...],
    output: str | None,
    in_place: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Write PATH again with entries of its header set or removed."""
    from lorry.ops.headers.metadata import edit, read_metadata, trigger_changes

    place = _place(output, in_place=in_place)
    if not entries and not removed and not words:
        raise click.UsageError("nothing to set: give KEY=VALUE, --remove or --trigger")
    if missing := [key for key in removed if key not in read_metadata(path)]:
        raise InvalidArgument(f"{path} says nothing of {', '.join(missing)}, so it cannot be taken out")
    changes = {**dict(map(_entry, entries)), **trigger_changes(path, words), **dict.fromkeys(removed)}
    written = edit(path, changes, place, words=words, force=force)
    if as_json:
        echo_json({"changes": changes, "triggers": words, "written": written})
        return
    echo("\n".join(map(str, written)))


@command.command("fix")
@click.argument("path")
@click.option(
    "--triggers", is_flag=True, help="Write the trigger words that are stated anywhere to all places, as set does."
)
@click.option("--dry-run", is_flag=True, help="Show what would change, and write nothing.")
@_OUTPUT
@_IN_PLACE
@options.force
@options.as_json
def fix(
    path: str,
    triggers: bool,
    dry_run: bool,
    output: str | None,
    in_place: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Mend what the header of PATH says against its tensors: the base, the hashes; add what ModelSpec 1.0.1 wants."""
    from lorry.ops.headers.metadata import edit, fixes, stated_triggers, trigger_changes

    place = None if dry_run else _place(output, in_place=in_place)
    found = fixes(path)
    words = stated_triggers(path) if triggers else ()
    changes: dict[str, str | None] = {each.key: each.after for each in found}
    changes |= trigger_changes(path, words)
    written: Sequence[Path] = ()
    if not dry_run and (changes or place):
        written = edit(path, changes, place, words=words, force=force)
    if as_json:
        rows: list[dict[str, Any]] = [each._asdict() for each in found]
        echo_json({"changes": rows, "triggers": words, "written": written})
        return
    if found:
        table(
            "",
            ("entry", "before", "after", "why"),
            [(e.key, _short(e.before or ""), _short(e.after), e.why) for e in found],
        )
    if words:
        echo(f"trigger words: {', '.join(words)}")
    echo("\n".join(map(str, written)) or ("nothing was written" if changes else "nothing is wrong"))


def _place(output: str | None, *, in_place: bool) -> str | None:
    """Return the output, None for in place; one of the two must be said."""
    if (output is None) != in_place:
        raise click.UsageError("say where to write: either -o OUTPUT or --in-place")
    return output


def _entry(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise click.UsageError(f"{text!r} is no KEY=VALUE")
    return key, value


def _short(value: str) -> str:
    return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}… ({len(value):,} characters)"
