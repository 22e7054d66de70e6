"""Published versions as commits: the same files as pushing to the Hub puts in one.

hub/versions/<manifest sha256>   which blobs those are; a cache, made when a version is first asked for

The commit's id is the first 40 digits of the manifest's sha256, so `lorry show` tells it and it never changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from lorry.errors import Incompatible, InvalidFile
from lorry_registry.disk import durable
from lorry_registry.home.blobs import Content, copy
from lorry_registry.home.store import LocalStore, Resolved
from lorry_registry.hub.commits import (
    ID_LENGTH,
    Commit,
    Entry,
    is_lfs,
    lfs_entry,
    plain_entry,
    read_files,
    write_files,
)
from lorry_registry.hub.made import holding, making
from lorry_registry.remotes.hub.contents import CARD, Wishes, contents
from lorry_registry.remotes.hub.markdown import escape
from lorry_registry.remotes.hub.versions import MANIFEST
from lorry_registry.version.manifest import Manifest

_BEGINNING = "1970-01-01T00:00:00Z"
_SAMPLE = 512


def version_id(resolved: Resolved) -> str:
    """Return the id of the commit that stands for a version."""
    return resolved.digest[:ID_LENGTH]


def version_commit(store: LocalStore, resolved: Resolved) -> Commit:
    """Return the commit that stands for a version; raise VerificationFailed where a blob is missing or damaged."""
    paths = [layout.hub / "versions" / resolved.digest for layout in (store.layout, store.layout.scratch)]
    found = (files for path in paths if (files := read_files(path)) and _all_there(store, files))
    files = next(found, None) or _make(store, resolved, paths[-1])
    version = resolved.reference.exact()
    return Commit(
        files=files,
        title=f"Publish {resolved.reference}",
        author=resolved.reference.namespace,
        time=store.records(resolved.reference).log.published().get(str(version), _BEGINNING),
        id=version_id(resolved),
    )


def _all_there(store: LocalStore, files: Mapping[str, Entry]) -> bool:
    return all(holding(store, entry.sha256).path(entry.sha256).is_file() for entry in files.values())


def _make(store: LocalStore, resolved: Resolved, path: Path) -> dict[str, Entry]:
    """Find out which blobs make up the commit, and make those that are not there yet."""
    manifest = store.manifest(resolved)
    for file in manifest.files:
        store.blobs.verify(Content(file.sha256, file.size))
    blobs = {file.sha256: store.blobs.path(file.sha256) for file in manifest.files}
    data, adapter = manifest.to_bytes(), resolved.reference.adapter
    layout = store.layout.scratch
    layout.prepare()
    durable.make_folder(path.parent)
    with durable.draft(layout.drafts) as folder, durable.draft(layout.drafts) as draft:
        folder.mkdir()
        try:
            found = contents(manifest, data, blobs, folder, repository=adapter, wishes=Wishes())
        except (Incompatible, InvalidFile) as error:
            # Its files are what they are. Not written down: tomorrow the plugin that reads them may be there.
            card = f"# {adapter}\n\nThis server cannot read the adapter: {escape(str(error))}\n"
            own = {file.path: blobs[file.sha256] for file in manifest.files}
            return dict(_entries(store, manifest, {CARD: card.encode(), MANIFEST: data, **own}))
        files = dict(_entries(store, manifest, found))
        write_files(draft, files)
        durable.put(draft, path)
    return files


def _entries(store: LocalStore, manifest: Manifest, found: Mapping[str, Path | bytes]) -> Iterator[tuple[str, Entry]]:
    """Yield an entry for every file, and keep as blobs those that had to be made."""
    published = {file.path: Content(file.sha256, file.size) for file in manifest.files}
    for name, file in found.items():
        content = published.get(name) or _keep(store, file)
        blob = holding(store, content.sha256).path(content.sha256)
        with blob.open("rb") as opened:
            lfs = is_lfs(name, content.size, opened.read(_SAMPLE))
        yield name, lfs_entry(content) if lfs else plain_entry(blob.read_bytes())


def _keep(store: LocalStore, file: Path | bytes) -> Content:
    """Make a blob of what was made."""
    blobs = making(store)
    if isinstance(file, bytes):
        return Content(blobs.add_bytes(file), len(file))
    with durable.draft(store.layout.scratch.drafts) as draft:
        content = copy(file, draft, durable.READ_ONLY)
        blobs.add(draft, content)
    return content
