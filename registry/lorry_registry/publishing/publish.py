"""Publishing: from files to a manifest, by way of copies that nobody else can change meanwhile.

The files are copied into the store's drafts folder; what is hashed, read, described and published are those copies.
They are hashed and synced while they are read.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pydantic import ValidationError  # noqa: TID253  loaded when publishing only

from lorry.errors import InvalidArgument, InvalidFile, LorryError, NotFound
from lorry.ir import Adapter
from lorry.ops.reading.read import open_adapter
from lorry.plugin.host import host
from lorry_registry.disk import durable
from lorry_registry.home.blobs import Content, duplicate, measuring
from lorry_registry.home.store import LocalStore, Resolved
from lorry_registry.lineage.lineage import lineage
from lorry_registry.publishing.admission import admit, rejecting
from lorry_registry.publishing.bump import FIRST, nearest, numbered, refuse_small
from lorry_registry.references.names import check_path, same_file_key
from lorry_registry.references.reference import Alias, Reference
from lorry_registry.version.card import Card
from lorry_registry.version.facts import adapter_facts, base_facts, file_facts, stated_words
from lorry_registry.version.manifest import File, Id, Lineage, Manifest, explain

if TYPE_CHECKING:
    from concurrent.futures import Future


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A version that is ready to be published, and not yet; `kept` says what its card has from the one below it."""

    manifest: Manifest
    digest: str
    store: LocalStore
    files: Mapping[str, Path]
    kept: str = ""

    def publish(self, aliases: Sequence[Alias] = ()) -> bool:
        """Publish it; return whether it is new. See `LocalStore.publish`."""
        return self.store.publish(self.manifest, self.files, aliases)


@contextmanager
def drafted(  # noqa: PLR0913  what a version is made of
    store: LocalStore,
    reference: Reference,
    sources: Sequence[Path],
    *,
    card: Card,
    recipe: str | None = None,
    parents: Sequence[Resolved] = (),
    foreign: bool = False,
    adopted: Collection[Path] = (),
    force_bump: bool = False,
) -> Iterator[Draft]:
    """Copy files in, read them as one adapter and describe them; drop everything at the end.

    `sources` are files, and folders of which every file is taken. Those that are `adopted` stay where they are.
    `foreign` says that they are somebody else's: a recipe in their header is a claim then, and not taken for the
    lineage, nor is what the card lacks taken from the version below. Where the reference names no version it is chosen
    (see `lorry_registry.publishing.bump`). Raises InvalidArgument for a licence that SPDX does not know,
    VerificationFailed for what `lorry validate` rejects, InvalidFile for a pickle, Conflict where the version exists
    with other content, or is too small a bump and not `force_bump`.
    """
    if reference.selector is not None:
        reference.exact()
    card = card if foreign else card.checked()
    chosen = choose(sources)
    store.layout.prepare()
    with durable.draft(store.layout.drafts) as folder:
        copies = {path: folder / path for path in chosen}
        try:
            for path, file in chosen.items():
                (_adopt if file in adopted else _copy)(file, copies[path])
            own = [copy for copy in copies.values() if not copy.is_symlink()]
            with measuring(copies) as contents, durable.syncing(own):
                with rejecting():
                    adapter = open_adapter(list(copies.values()))
                told = lineage(store, {} if foreign else adapter.metadata, recipe, parents)
                admit(reference, adapter)
                card, kept = _completed(store, reference, card, adapter, foreign=foreign)
                manifest = _describe(reference, adapter, copies=copies, contents=contents, card=card, made=told)
        except OSError as error:
            raise LorryError(
                f"{reference} was not published, nothing is changed: {durable.reason(error)}; "
                "mend that and publish it again"
            ) from error
        except LorryError as error:
            # What was read is the copy; what the person knows is the source.
            error.args = (str(error).replace(f"{folder}{os.sep}", ""),)
            raise
        if reference.selector is None:
            manifest = numbered(store, manifest)
        digest = manifest.digest()
        store.refuse_other(manifest)
        if not (force_bump or store.records(reference).digest(manifest.reference.exact())):
            refuse_small(store, manifest)
        yield Draft(manifest=manifest, digest=digest, store=store, files=copies, kept=kept)


def _completed(
    store: LocalStore, reference: Reference, card: Card, adapter: Adapter, *, foreign: bool
) -> tuple[Card, str]:
    """Fill a card in from the files, then from the version of that number or the one below; tell what came thence."""
    card = card.completed(adapter.metadata, stated_words(adapter))
    below = None if foreign else nearest(store, reference, itself=True)
    if below is None:
        return card, ""
    card, kept = card.following(below)
    return card, f"{', '.join(kept)} as in {below.reference}" if kept else ""


def _describe(  # noqa: PLR0913  what a version is made of
    reference: Reference,
    adapter: Adapter,
    *,
    copies: Mapping[str, Path],
    contents: Mapping[str, Future[Content]],
    card: Card,
    made: Lineage | None,
) -> Manifest:
    plugins = host()
    frames = {path: frame for frame in adapter.origin for path in frame.source.paths}
    try:
        return Manifest(
            id=Id(
                namespace=reference.namespace,
                name=reference.name,
                version=str(FIRST if reference.selector is None else reference.exact()),
                title=card.title,
                description=card.description,
                license=card.license,
                authors=card.authors,
                tags=card.tags,
            ),
            files=tuple(
                File(path=path, **file_facts(copy, frames)._asdict(), **contents[path].result()._asdict())
                for path, copy in sorted(copies.items())
            ),
            adapter=adapter_facts(adapter, card.trigger_words, plugins),
            base=base_facts(adapter, plugins),
            lineage=made,
        )
    except ValidationError as error:
        raise InvalidFile(f"{reference} cannot be described: {explain(error)}") from error


def choose(sources: Sequence[Path]) -> dict[str, Path]:
    """Return the files by their paths in the version; raise InvalidArgument where two have the same."""
    chosen: dict[str, Path] = {}
    taken: dict[str, Path] = {}
    for path, file in (each for source in sources for each in _walk(source)):
        other = taken.setdefault(same_file_key(check_path(path)), file)
        if other is not file:
            raise InvalidArgument(f"{other} and {file} would both be named {path}; rename one of them")
        chosen[path] = file
    if not chosen:
        raise InvalidArgument("there is nothing to publish; name at least one file")
    return chosen


def _walk(source: Path) -> Iterator[tuple[str, Path]]:
    """Yield a file under its name, or all files of a folder under their paths in it."""
    if not source.exists():
        raise NotFound(f"{source} does not exist; check the path")
    if not source.is_dir():
        yield source.name, source
        return
    for folder, folders, files in os.walk(source, onerror=_refuse):
        folders.sort()
        for name in sorted([*files, *(each for each in folders if Path(folder, each).is_symlink())]):
            file = Path(folder, name)
            if file.is_symlink() or not file.is_file():
                # A link in a downloaded folder may point at anything, a private key say.
                raise InvalidFile(f"{file} is a link or no regular file; name the files to publish one by one")
            yield file.relative_to(source).as_posix(), file


def _refuse(error: OSError) -> NoReturn:
    """Publish nothing of a folder of which not all can be seen."""
    raise LorryError(
        f"{error.filename} cannot be looked into: {error.strerror}; mend that, or name the files"
    ) from error


def _adopt(source: Path, target: Path) -> None:
    """Put a link in the place of a copy; see `lorry_registry.home.blobs`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.resolve())


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    duplicate(source, target, durable.READ_ONLY)
