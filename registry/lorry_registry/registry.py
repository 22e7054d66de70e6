"""The registry as a Python object: `lorry.registry()`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lorry.errors import InvalidArgument, NotFound
from lorry_registry.bases import Bases
from lorry_registry.home.store import LocalStore, Resolved
from lorry_registry.publishing.saying import instead, say
from lorry_registry.references.reference import Alias, Reference, movable, parse_alias
from lorry_registry.references.semver import Version
from lorry_registry.version.card import Card
from lorry_registry.version.notes import Note

if TYPE_CHECKING:
    from lorry.recipe.comparing import Compared
    from lorry_registry.adding.add import Outcome, Wishes
    from lorry_registry.adding.quarantine import Quarantine
    from lorry_registry.home.index import Entry
    from lorry_registry.lineage.ancestry import Made
    from lorry_registry.linking.note import Link
    from lorry_registry.lock import Difference, Lock
    from lorry_registry.publishing.publish import Draft
    from lorry_registry.remotes.transfer import Cloned
    from lorry_registry.upkeep.fsck import Fault
    from lorry_registry.upkeep.gc import Garbage
    from lorry_registry.upkeep.outdated import Outdated
    from lorry_registry.version.manifest import Manifest


class Registry:
    """Versions of adapters in one home folder, LORRY_HOME unless another is given.

    Nothing is kept open and nothing remembered: any number of these may be used at once, in any process.
    """

    def __init__(self, home: str | Path | None = None) -> None:
        self.store = LocalStore(Path(home).expanduser().absolute() if home else None)

    @property
    def home(self) -> Path:
        """The folder everything is in."""
        return self.store.layout.home

    @property
    def bases(self) -> Bases:
        """The names given to base models."""
        return Bases(self.home)

    @contextmanager
    def draft(  # noqa: PLR0913  what a version is made of
        self,
        reference: str,
        files: Sequence[str | Path],
        *,
        card: Card | None = None,
        recipe: str | None = None,
        parents: Iterable[str] = (),
        force_bump: bool = False,
    ) -> Iterator[Draft]:
        """Prepare a version to look at before `Draft.publish`; what is not published is gone at the end.

        `files` are files and folders of one adapter. Without a version in `reference` the next one that fits is chosen;
        one that is too small a bump for what changed is refused, unless `force_bump`. `recipe` is JSON for an adapter
        that does not carry its own; `parents` are references it was made from, besides those that the recipe tells.
        """
        from lorry_registry.publishing.publish import drafted

        named = [self.resolve(each) for each in parents]
        target, paths = Reference.parse(reference), [Path(each) for each in files]
        made = drafted(
            self.store, target, paths, card=card or Card(), recipe=recipe, parents=named, force_bump=force_bump
        )
        with made as draft:
            yield draft

    def publish(  # noqa: PLR0913  what a version is made of
        self,
        reference: str,
        files: Sequence[str | Path],
        *,
        aliases: Iterable[str] = (),
        card: Card | None = None,
        recipe: str | None = None,
        parents: Iterable[str] = (),
        force_bump: bool = False,
    ) -> Resolved:
        """Publish the adapter in `files` as a version, which never changes from then on; see `draft`.

        The same content again is no error. Raises Conflict where the version exists with other content,
        PublishIncomplete where it stands but an alias or the log could not be written.
        """
        moved: list[Alias] = [movable(parse_alias(alias)) for alias in aliases]
        made = self.draft(reference, files, card=card, recipe=recipe, parents=parents, force_bump=force_bump)
        with made as draft:
            draft.publish(moved)
            return Resolved(draft.manifest.reference, draft.digest)

    def add(
        self, sources: Sequence[str | Path], reference: str | None = None, wishes: Wishes | None = None
    ) -> Iterator[Outcome]:
        """Bring other people's adapters in, from files, folders and addresses; see `lorry_registry.adding.add`.

        With `reference`, an exact one, all sources are the files of that version.
        """
        from lorry_registry.adding.add import Wishes, add

        target = Reference.parse(reference) if reference else None
        return add(self.store, [str(each) for each in sources], target, wishes or Wishes())

    @property
    def quarantine(self) -> Quarantine:
        """What `add` has not let in."""
        from lorry_registry.adding.quarantine import Quarantine

        return Quarantine(self.store.layout)

    def accept(self, name: str, reference: str | None = None) -> Resolved:
        """Publish what waits in quarantine under an id; raise VerificationFailed for what was rejected."""
        from lorry_registry.adding.add import accept

        return accept(self.store, self.quarantine.get(name), Reference.parse(reference) if reference else None)

    def resolve(self, reference: str) -> Resolved:
        """Find the exact version a reference means; raise NotFound, warn of one that is yanked or deprecated."""
        return self.store.find(Reference.parse(reference))

    def note(self, reference: str) -> Note:
        """Return what is said of a version: yanked, deprecated, or nothing."""
        found = self.store.resolve(Reference.parse(reference)).reference
        return self.store.records(found).note(found.exact())

    def yank(self, reference: str, reason: str | None = None, *, replaced_by: str | None = None, at: str = "") -> bool:
        """Let no range, alias or bare name find an exact version any more; return whether that is new.

        Its bytes stay, and its exact number finds it with a warning. A reason that was given before stays where none
        is given now. With `at` it is said in that place and not here. Raises InvalidArgument where the reference is
        not exact.
        """
        use = instead(self.store, replaced_by, at)
        return say(self.store, Reference.parse(reference), lambda note: note.yank(reason, use), "yank", at)

    def unyank(self, reference: str, *, at: str = "") -> bool:
        """Take a yank back; return whether there was one."""
        return say(self.store, Reference.parse(reference), lambda note: note.without("yanked"), "unyank", at)

    def deprecate(
        self, reference: str, reason: str | None = None, *, replaced_by: str | None = None, at: str = ""
    ) -> bool:
        """Warn whoever uses an exact version; return whether that is new. A reason from before stays."""
        use = instead(self.store, replaced_by, at)
        return say(self.store, Reference.parse(reference), lambda note: note.deprecate(reason, use), "deprecate", at)

    def undeprecate(self, reference: str, *, at: str = "") -> bool:
        """Take a deprecation back; return whether there was one."""
        return say(self.store, Reference.parse(reference), lambda note: note.without("deprecated"), "undeprecate", at)

    def manifest(self, reference: str) -> Manifest:
        """Return everything that is recorded about a version."""
        return self.store.manifest(self.resolve(reference))

    def pull(self, reference: str, to: str | Path, *, force: bool = False) -> tuple[Path, ...]:
        """Copy a version's files into the folder `to`, checked on the way; see `lorry_registry.publishing.pull`."""
        from lorry_registry.publishing.pull import pull

        return pull(self.store, self.resolve(reference), Path(to).expanduser(), force=force)

    def verify(self, reference: str, *, at: str = "") -> Manifest:
        """Read every byte of a version again, here or in a place; raise VerificationFailed naming each damaged file."""
        if at:
            from lorry_registry.remotes.address import open_remote
            from lorry_registry.remotes.check import verify_there

            asked = Reference.parse(reference)
            return verify_there(self.store, open_remote(at, asked), asked, at)
        from lorry_registry.trust.verify import verify

        return verify(self.store, self.resolve(reference))

    def replay(
        self, reference: str, *, inputs: Mapping[str, str | Path] | None = None, find_in: Iterable[str | Path] = ()
    ) -> Compared:
        """Make a version again by its recipe, and compare the tensors; see `lorry_registry.lineage.replay`."""
        from lorry_registry.lineage.replay import replay

        given = {name: Path(path) for name, path in (inputs or {}).items()}
        return replay(self.store, self.resolve(reference), inputs=given, find_in=[Path(each) for each in find_in])

    def sign(self, reference: str, key: str | Path, *, password: str | None = None) -> Resolved:
        """Sign a version with a private key in PEM; return it. See `lorry_registry.trust.signing.sign`."""
        from lorry_registry.trust.signing import sign

        found = self.resolve(reference)
        sign(self.store, found, Path(key).expanduser(), password)
        return found

    def check_signature(self, reference: str, key: str | Path) -> None:
        """Raise VerificationFailed where a version is not signed by the key that belongs to this public one."""
        from lorry_registry.trust.signing import check_signature

        check_signature(self.store, self.resolve(reference), Path(key).expanduser())

    def versions(self, adapter: str) -> tuple[Version, ...]:
        """Return the versions of "namespace/name", lowest first; raise NotFound where there are none."""
        reference = Reference.parse(adapter)
        if reference.selector is not None:
            raise InvalidArgument(
                f"all versions are meant, so write {reference.adapter}; lorry show {reference} has one"
            )
        versions = self.store.records(reference).versions()
        if not versions:
            raise NotFound(self.store.missing(reference))
        return versions

    def aliases(self, adapter: str) -> dict[str, Version]:
        """Return what each alias of "namespace/name" stands for."""
        self.versions(adapter)
        return self.store.records(Reference.parse(adapter)).aliases()

    def set_alias(self, reference: str, version: str) -> bool:
        """Point the alias "namespace/name@alias" at a version; return whether it moved. "latest" moves by itself."""
        return self.store.set_alias(Reference.parse(reference), Version.parse(version))

    def drop_alias(self, reference: str) -> Version:
        """Forget the alias "namespace/name@alias"; return the version that it stood for."""
        return self.store.drop_alias(Reference.parse(reference))

    def ls(self) -> list[Entry]:
        """List every version of every adapter, by name and from the lowest version up."""
        from lorry_registry.home.index import list_versions

        return list_versions(self.store)

    def search(self, *words: str, base: str = "", kind: str = "") -> list[Entry]:
        """Return the versions that every word stands somewhere in; see `lorry_registry.home.index.search`."""
        from lorry_registry.home.index import Asked, search

        return search(self.store, Asked(words, base, kind))

    def link(
        self, references: Iterable[str], tool: str, folder: str | Path, *, copy: bool = False, dry_run: bool = False
    ) -> tuple[Link, ...]:
        """Put versions where a tool ("comfyui", say) finds them below its own folder; see `lorry_registry.linking`.

        With `copy` nothing is a hard link, so that whatever writes to it does not write to the registry.
        """
        from lorry.plugin.host import host
        from lorry_registry.linking.link import link

        found = [self.resolve(each) for each in references]
        loader = host().get("loaders", tool)
        return link(self.store, found, loader, Path(folder).expanduser(), copied=copy, dry_run=dry_run)

    def unlink(self, references: Iterable[str], folder: str | Path, *, dry_run: bool = False) -> tuple[Link, ...]:
        """Take away what `link` put in a tool's folder, all of it where no reference is given."""
        from lorry_registry.linking.link import unlink

        return unlink([*references], Path(folder).expanduser(), dry_run=dry_run)

    def lineage(self, reference: str) -> Mapping[str, Made]:
        """Return a version and all it was made from, by digest; see `lorry_registry.lineage.ancestry`."""
        from lorry_registry.lineage.ancestry import ancestry

        return ancestry(self.store, self.resolve(reference))

    def descendants(self, reference: str) -> tuple[Resolved, ...]:
        """Return the versions that were made from this one directly."""
        from lorry_registry.lineage.ancestry import descendants

        return descendants(self.store, self.resolve(reference))

    def push(
        self, reference: str, place: str, *, aliases: Iterable[str] = (), options: Mapping[str, str] | None = None
    ) -> bool:
        """Put a version in a remote such as "s3://bucket/folder"; return whether it is new there.

        `options` are those of that kind of place: {"public": "true"} for hf://, say.
        """
        from lorry_registry.remotes.address import open_remote
        from lorry_registry.remotes.transfer import push

        found = self.resolve(reference)
        moved = [parse_alias(alias) for alias in aliases]
        return push(self.store, found, open_remote(place, found.reference, options or {}), moved)

    def clone(self, address: str) -> Cloned:
        """Bring a version into this registry from "s3://bucket/folder#namespace/name@1.0.0", say; return it.

        A place that holds one adapter names it: "hf://owner/name@1.0.0".
        """
        from lorry_registry.remotes.address import Address, open_remote
        from lorry_registry.remotes.transfer import clone

        found = Address.parse(address)
        return clone(self.store, open_remote(found.place, found.reference), found.reference, found.place)

    def export(
        self, references: Iterable[str], path: str | Path, *, with_parents: bool = False, force: bool = False
    ) -> tuple[Resolved, ...]:
        """Write versions to a bundle, with all they were made from if asked; return them."""
        from lorry_registry.bundle.carry import Export

        work = Export(self.store, references, Path(path).expanduser(), with_parents=with_parents, force=force)
        return tuple(work.run())

    def import_(self, path: str | Path) -> tuple[Cloned, ...]:
        """Bring the versions of a bundle in; return them. See `lorry_registry.bundle.carry.Import`."""
        from lorry_registry.bundle.carry import Import

        return tuple(Import(self.store, Path(path).expanduser()).run())

    def lock(self, references: Iterable[str] = (), before: Lock | None = None) -> Lock:
        """Fix the versions that references mean now, and those of `before` anew; see `lorry_registry.lock`."""
        from lorry_registry.lock import lock

        return lock(self.store, map(Reference.parse, references), before)

    def outdated(self, locked: Lock | None = None, place: str = "") -> tuple[Outdated, ...]:
        """Return what of a lock, or else of this registry, could be newer or should not be used any more.

        It is held beside what this registry has, or with `place` beside what is there; raises NotFound for a place that
        has none of it.
        """
        from lorry_registry.upkeep.outdated import outdated, used

        return tuple(outdated(self.store, list(used(self.store, locked)), place))

    def sync(self, locked: Lock, folder: str | Path, *, force: bool = False) -> tuple[Path, ...]:
        """Make a folder hold every file of every locked version; return them."""
        from lorry_registry.lock import sync

        return sync(self.store, locked, Path(folder).expanduser(), force=force)

    def differences(self, locked: Lock, folder: str | Path) -> tuple[Difference, ...]:
        """Return what in the registry and in a folder is not as locked."""
        from lorry_registry.lock import differences

        return tuple(differences(self.store, locked, Path(folder).expanduser()))

    def gc(self, *, grace: float = 3600, dry_run: bool = False) -> tuple[Garbage, ...]:
        """Delete what no version holds and nobody touched for `grace` seconds; see `lorry_registry.upkeep.gc`."""
        from lorry_registry.upkeep.gc import collect

        return collect(self.store, grace=grace, dry_run=dry_run)

    def fsck(self) -> tuple[Fault, ...]:
        """Check every record and every byte of the registry; return what is wrong."""
        from lorry_registry.upkeep.fsck import check

        return tuple(check(self.store))

    def repair(self, faults: Iterable[Fault], places: Iterable[str | Path] = ()) -> tuple[Fault, ...]:
        """Mend faults with bytes of the right content from `places`; return those that are mended.

        A place is a folder, below which files may have any name, or an address such as "s3://bucket/folder".
        """
        from lorry_registry.upkeep.repair import repair

        return repair(self.store, faults, places)
