"""Notes at remotes: said there directly, and carried along by push and clone.

What is carried is only added: nothing that the other side says is taken back by a version on its way.
"""

from __future__ import annotations

from lorry.errors import InvalidFile, NotFound, UpstreamFailed, VerificationFailed
from lorry.plugin.remote import Remote
from lorry_registry.references.reference import LATEST, Reference
from lorry_registry.references.semver import Version
from lorry_registry.version.notes import NOTHING, Change, Note

_TRIES = 100


def notes_there(remote: Remote) -> dict[Version, Note]:
    """Return the notes at a remote; raise VerificationFailed for a damaged one."""
    found = {}
    for version, data in remote.notes().items():
        try:
            found[Version.parse(version)] = Note.from_bytes(data)
        except InvalidFile as error:
            raise VerificationFailed(
                f"the note on {version} there is damaged ({error}); yank or deprecate it again with --at"
            ) from error
    return found


def say_there(remote: Remote, reference: Reference, change: Change) -> bool:
    """Change the note on an exact version at a remote; return whether it says something else now.

    "latest" there moves on from a version that is yanked now, and back to one that is no longer. Raises NotFound.
    """
    version = reference.exact()
    if remote.manifest(str(version)) is None:
        raise NotFound(f"there is no {reference} there; check the place and the version")
    changed = _change(remote, version, change)
    move_latest(remote)
    return changed


def move_latest(remote: Remote) -> None:
    """Point "latest" at the highest stable version that is not yanked, and look again: another may have come between.

    Raises UpstreamFailed where it never stays, and NotFound where a version is listed that never can be read.
    """
    for attempt in range(1, _TRIES + 1):
        notes = notes_there(remote)
        versions = [version for version in map(Version.parse, remote.versions()) if version.stable]
        offered = [version for version in versions if notes.get(version, NOTHING).yanked is None]
        before = remote.aliases().get(LATEST)
        if not offered or before == str(max(offered)):
            return
        try:
            remote.move(LATEST, before, str(max(offered)))
        except NotFound:  # some registries list a tag a moment before it can be read
            if attempt == _TRIES:
                raise
    raise UpstreamFailed(f'"{LATEST}" there does not stay where it is put; try again later')


def _change(remote: Remote, version: Version, change: Change) -> bool:
    while True:
        written = remote.notes().get(str(version))
        try:
            before = Note.from_bytes(written) if written is not None else NOTHING
        except InvalidFile:
            before = None  # what is said now mends it
        after = change(before or NOTHING)
        if after == before:
            return False
        if remote.say(str(version), written, after.to_bytes()):
            return True
