"""lorry publish: make an adapter a version that never changes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lorry.cli import options
from lorry.cli.output import clean, count, echo, echo_json, note
from lorry_registry.commands.arguments import size

if TYPE_CHECKING:
    from lorry_registry.version.manifest import Manifest


@click.command("publish")
@click.argument("reference", metavar="NS/NAME[@VERSION]")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@click.option("--alias", "aliases", metavar="ALIAS", multiple=True, help="Point this alias at the version too.")
@click.option("--from", "parents", metavar="REF", multiple=True, help="A published version this one was made from.")
@click.option(
    "--recipe",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="How it was made, as JSON or YAML, if the file does not tell.",
)
@click.option("--title", default="", help="A title. This and the next five: else as in the file, or the version below.")
@click.option("--description", default="", help="What it does and how to use it.")
@click.option("--license", "licence", default="", metavar="SPDX", help="The licence, as an SPDX identifier, or other.")
@click.option("--author", "authors", multiple=True, help="An author.")
@click.option("--tag", "tags", multiple=True, help="A word to find it by.")
@click.option("--trigger", "triggers", multiple=True, help="A word of the prompt that it was trained on.")
@click.option("--force-bump", is_flag=True, help="Publish VERSION though it is too small a bump for what changed.")
@click.option("--dry-run", is_flag=True, help="Do everything but publish.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@options.as_json
def command(
    reference: str,
    files: tuple[str, ...],
    aliases: tuple[str, ...],
    parents: tuple[str, ...],
    recipe: str | None,
    title: str,
    description: str,
    licence: str,
    authors: tuple[str, ...],
    tags: tuple[str, ...],
    triggers: tuple[str, ...],
    force_bump: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Publish the adapter in FILE... as NS/NAME@VERSION, which never changes from then on.

    That is for your own work; lorry add brings in other people's.

    Without @VERSION the next one that fits is chosen, 1.0.0 at first. Beside the version below it, one with another
    base, kind, format or other modules has a new first number, one with other weights a new second number, and only
    one with the same weights a new third number; a smaller bump is refused.

    FILE... are the files of one adapter (weights, learned embeddings, a card, pictures), or a folder of them.
    What lorry made carries its recipe, and is recorded with what it was made from.
    The alias "latest" moves to the highest stable version.
    """
    from lorry_registry import Card, Registry
    from lorry_registry.lineage.ancestry import in_words
    from lorry_registry.references.reference import movable, parse_alias

    card = Card(
        title=title, description=description, license=licence, authors=authors, tags=tags, trigger_words=triggers
    )
    moved = [movable(parse_alias(alias)) for alias in aliases]
    told = _recipe(Path(recipe)) if recipe else None
    made = Registry().draft(reference, files, card=card, recipe=told, parents=parents, force_bump=force_bump)
    with made as draft:
        manifest = draft.manifest
        if draft.kept:
            note(draft.kept)
        if manifest.adapter.unmapped:
            note(f"{count(manifest.adapter.unmapped, 'key')} not understood, published all the same; see lorry inspect")
        if not (dry_run or yes or as_json) and sys.stdin.isatty():
            click.confirm(f"Publish {clean(_summary(manifest))}? It can never be changed", abort=True, err=True)
        new = False if dry_run else draft.publish(moved)
    if as_json:
        echo_json(
            {"reference": str(manifest.reference), "manifest": draft.digest}
            | ({"dry_run": True} if dry_run else {"new": new, "dry_run": False})
            | {"content": manifest.model_dump(mode="json", exclude_none=True)}
        )
        return
    done = "would publish" if dry_run else "published" if new else "already published, unchanged:"
    echo(f"{done} {_summary(manifest)}")
    echo(f"manifest sha256:{draft.digest}")
    made_from = map(in_words, manifest.lineage.parents if manifest.lineage else ())
    for origin in dict.fromkeys(made_from):  # the files of one version are one origin
        echo(f"made from {origin}")


def _recipe(path: Path) -> str:
    import json

    from lorry.recipe.reading import load

    return json.dumps(load(path))


def _summary(manifest: Manifest) -> str:
    adapter, files = manifest.adapter, manifest.files
    held = f"{count(len(files), 'file')}, {size(sum(file.size for file in files))}"
    return f"{manifest.reference}: {', '.join(adapter.kinds)} for {manifest.base.id}, {held}"
