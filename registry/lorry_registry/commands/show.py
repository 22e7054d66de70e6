"""lorry show: everything recorded about a version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from lorry.cli import options
from lorry.cli.output import count, echo_json, table
from lorry_registry.commands import arguments

if TYPE_CHECKING:
    from lorry_registry.version.manifest import Manifest, Parent


@click.command("show")
@arguments.reference
@options.as_json
def command(reference: str, as_json: bool) -> None:
    """Show what a version is, its files, and what it was made from. Without @VERSION, the latest stable one."""
    from lorry_registry import Registry

    registry = Registry()
    found = registry.resolve(reference)
    manifest, note = registry.store.manifest(found), registry.note(str(found.reference))
    every = registry.aliases(found.reference.adapter)
    aliases = [name for name, version in every.items() if version == found.reference.selector]
    if as_json:
        content = manifest.model_dump(mode="json", exclude_none=True)
        known = {"reference": str(found.reference), "manifest": found.digest, "aliases": aliases, "note": note.said}
        echo_json({**known, "signatures": len(note.signed_by), "content": content})
        return
    facts = {
        "note": str(note),
        **_facts(manifest),
        "aliases": ", ".join(aliases),
        "manifest": arguments.short(found.digest),
        "signatures": f"{count(len(note.signed_by), 'signature')}; lorry verify --signature --key tells whose"
        if note.signed_by
        else "",
    }
    table("", ("adapter", str(found.reference)), [(name, value) for name, value in facts.items() if value])
    rows = [(file.path, file.role, arguments.size(file.size), arguments.short(file.sha256)) for file in manifest.files]
    table("files", ("path", "role", "size", "sha256"), rows)
    if manifest.lineage and manifest.lineage.parents:
        parents = _parents(manifest.lineage.parents)
        table(f"made by {manifest.lineage.op} from", ("adapter", "weight", "file", "sha256"), [*parents])


def _facts(manifest: Manifest) -> dict[str, str]:
    told, adapter = manifest.id, manifest.adapter
    return {
        "title": told.title,
        "description": told.description,
        "licence": told.license,
        "authors": ", ".join(told.authors),
        "tags": ", ".join(told.tags),
        "kind": ", ".join(adapter.kinds),
        "base": f"{manifest.base.id} (fingerprint {manifest.base.fingerprint[:12]})",
        "format": adapter.format,
        "components": ", ".join(adapter.components),
        "layers": str(adapter.layers or ""),
        "ranks": ", ".join(f"{rank} in {count(layers, 'layer')}" for rank, layers in adapter.ranks.items()),
        "numbers": f"{adapter.n_params:,} in {', '.join(adapter.dtypes)}",
        "tokens": ", ".join(adapter.tokens),
        "trigger words": ", ".join(adapter.trigger_words),
        "added from": str(manifest.lineage.recipe.get("source", "")) if manifest.lineage else "",
        "not understood": count(adapter.unmapped, "key") if adapter.unmapped else "",
    }


def _parents(parents: Iterable[Parent], depth: int = 0) -> Iterator[tuple[str, ...]]:
    """Yield a row for each parent, and below a step those that it was made from, further in."""
    for each in parents:
        name = each.reference or (f"{each.op} of" if each.op else "not published here")
        weight = "" if each.weight is None else f"{each.weight:g}"
        yield f"{'  ' * depth}{name}", weight, each.name, arguments.short(each.sha256)
        yield from _parents(each.parents or (), depth + 1)
