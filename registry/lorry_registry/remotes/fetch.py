"""Blobs on their way in: each is written to a draft that no other process writes to, and goes on where one was left.

Such a draft is called HOST-PID-RANDOM-part-SHA256, for whose it is and what it shall be. Whoever gives up leaves it as
part-SHA256, and whoever fetches the same goes on with that, or with what a process left that is dead: one rename makes
it theirs, so that of many one has it, and the others begin anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lorry.errors import UpstreamFailed, VerificationFailed
from lorry.plugin.remote import Remote
from lorry_registry.disk import durable
from lorry_registry.home.blobs import Content, measure
from lorry_registry.home.store import LocalStore

_TRIES = 10


def fetch(store: LocalStore, remote: Remote, content: Content, name: str, target: Path) -> None:
    """Fetch a blob to a new file in the drafts, neither checked nor synced, going on where an earlier try ended.

    A connection that is cut is made again, up to ten times and as long as it brings something. What is here already is
    copied. Raises UpstreamFailed where not all of it came, and VerificationFailed where more did.
    """
    if store.blobs.intact(content):
        store.blobs.copy(content, target)
        return
    part, left = _claimed(store.layout.drafts, content.sha256)
    try:
        _complete(part, remote, content, name)
    except VerificationFailed:
        part.unlink()
        raise
    except BaseException:
        part.replace(left)
        raise
    part.rename(target)
    if not durable.WINDOWS:
        target.chmod(durable.READ_ONLY)


def check(fetched: Path, content: Content, name: str) -> None:
    """Raise VerificationFailed for a file that is not what was to be fetched."""
    if measure(fetched) != content:
        raise VerificationFailed(f"{name}: the bytes there are not sha256:{content.sha256}; nothing of it was kept")


def limited(chunks: Iterator[bytes], most: int) -> Iterator[bytes]:
    """Yield no more bytes than were told; raise VerificationFailed where there are more."""
    for chunk in chunks:
        most -= len(chunk)
        if most < 0:
            raise VerificationFailed("more bytes came than were told; nothing of it was kept")
        yield chunk


def _claimed(drafts: Path, sha256: str) -> tuple[Path, Path]:
    """Return a file of our own with what somebody left of a blob, or an empty one; and the name to leave it under."""
    left = drafts / f"part-{sha256}"
    own = durable.draft_path(drafts, f"-{left.name}")
    for other in (left, *drafts.glob(f"*-{left.name}")):
        if other == left or durable.in_use(other) is False:
            with suppress(FileNotFoundError):  # another has it now
                return other.rename(own), left
    own.touch()
    return own, left


def _complete(part: Path, remote: Remote, content: Content, name: str) -> None:
    """Append what is lacking."""
    held, tries = part.stat().st_size, 0
    while held < content.size:
        before, cut = held, None
        try:
            _append(part, limited(remote.read(content.sha256, held), content.size - held))
        except UpstreamFailed as error:
            cut, tries = error, tries + 1
        held = part.stat().st_size
        if held == before or tries == _TRIES:
            raise cut or UpstreamFailed(f"{name}: no more than {held:,} of {content.size:,} bytes came; try again")


def _append(part: Path, chunks: Iterator[bytes]) -> None:
    with part.open("ab") as file:
        for chunk in chunks:
            file.write(chunk)
