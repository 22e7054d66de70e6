"""Published versions as commits: a version's files, its manifest, a card, and a file that diffusers finds by itself.

hub/versions/<manifest sha256>   which blobs those are; a cache, made when a version is first asked for

The commit's id is the first 40 digits of the manifest's sha256, so `lorry show` tells it and it never changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lorry.errors import Incompatible, MissingExtra
from lorry_registry import durable
from lorry_registry.blobs import Content, measure
from lorry_registry.hub.commits import ID_LENGTH, Commit, Entry, is_lfs, lfs_entry, plain_entry, read_files, write_files
from lorry_registry.manifest import Manifest
from lorry_registry.store import LocalStore, Resolved
from lorry_registry.view import adapter_files

MANIFEST = "adapter.json"
CARD = "README.md"
DIFFUSERS = "pytorch_lora_weights.safetensors"
"""The name that diffusers' load_lora_weights looks for (diffusers, loaders/lora_base.py, LORA_WEIGHT_NAME_SAFE)."""

_FORMAT = "diffusers+safetensors"
_BEGINNING = "1970-01-01T00:00:00Z"


def version_id(resolved: Resolved) -> str:
    """Return the id of the commit that stands for a version."""
    return resolved.digest[:ID_LENGTH]


def version_commit(store: LocalStore, resolved: Resolved) -> Commit:
    """Return the commit that stands for a version; raise VerificationFailed where a blob is missing or damaged."""
    path = store.layout.hub / "versions" / resolved.digest
    files = read_files(path) or _make(store, resolved, path)
    version = resolved.reference.exact()
    return Commit(
        files=files,
        title=f"Publish {version}",
        author=resolved.reference.namespace,
        time=store.records(resolved.reference).published().get(str(version), _BEGINNING),
        id=version_id(resolved),
    )


def _make(store: LocalStore, resolved: Resolved, path: Path) -> dict[str, Entry]:
    manifest = store.manifest(resolved)
    files = {
        **dict(_beside(store, resolved, manifest)),
        **{file.path: _entry(store, file.path, Content(file.sha256, file.size)) for file in manifest.files},
    }
    durable.make_folder(path.parent)
    with durable.draft(store.layout.drafts) as draft:
        write_files(draft, files)
        durable.put(draft, path)
    return files


def _beside(store: LocalStore, resolved: Resolved, manifest: Manifest) -> Iterator[tuple[str, Entry]]:
    """Yield what stands beside a version's own files."""
    yield MANIFEST, _plain(store, manifest.to_bytes())
    yield CARD, _plain(store, card_of(manifest).encode())
    weights = _for_diffusers(store, resolved, manifest)
    if weights:
        yield DIFFUSERS, lfs_entry(weights)


def card_of(manifest: Manifest) -> str:
    """Return a model card of a version."""
    return f"# {manifest.reference}\n"


def _for_diffusers(store: LocalStore, resolved: Resolved, manifest: Manifest) -> Content | None:
    """Return the blob of the adapter as diffusers loads it, made now where it is not so published; None: it cannot."""
    from lorry.ops.convert import convert
    from lorry.ops.read import open_adapter

    files = adapter_files(store, resolved)
    if manifest.adapter.format == _FORMAT and len(files) == 1:
        return next(Content(each.sha256, each.size) for each in manifest.files if each.role == "weights")
    with durable.draft(store.layout.drafts) as folder:
        folder.mkdir()
        made = folder / DIFFUSERS
        try:
            # A file for diffusers' LoRA loader has no place for tokens; they stay in the version's own files.
            convert(replace(open_adapter(list(files)), tokens={}), made, _FORMAT)
        except MissingExtra:
            raise
        except Incompatible:
            return None
        content = measure(made)
        store.blobs.add(made, content)
    return content


def _plain(store: LocalStore, data: bytes) -> Entry:
    store.blobs.add_bytes(data)
    return plain_entry(data)


def _entry(store: LocalStore, path: str, content: Content) -> Entry:
    with store.blobs.path(content.sha256).open("rb") as file:
        sample = file.read(512)
    if is_lfs(path, content.size, sample):
        return lfs_entry(content)
    return plain_entry(store.blobs.read(content.sha256))
