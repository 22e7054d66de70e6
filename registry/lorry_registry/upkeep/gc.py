"""Collecting garbage: what crashes and interrupted commands left, and nothing else.

Garbage are blobs that no version holds, drafts, and views of versions that are gone; of what clients of the Hub's
protocol wrote, commits that nothing names any more, and what those alone hold. What was touched within the
grace period stays, for somebody may be at work on it: a publish touches the blobs it finds there already, and
collecting looks once more after it has taken one away. Drafts of processes that live stay however old they are. Whoever
reads a version needs no lease: versions are never deleted, nor what they hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from lorry.errors import LorryError, VerificationFailed
from lorry_registry.disk import durable
from lorry_registry.home.store import LocalStore
from lorry_registry.hub import housekeeping as hub

HOUR = 3600.0


class Garbage(NamedTuple):
    """One thing nobody needs: a blob, a draft, a view or a commit, and the bytes it takes."""

    what: str
    path: Path
    size: int


def collect(store: LocalStore, *, grace: float = HOUR, dry_run: bool = False) -> tuple[Garbage, ...]:
    """Delete garbage that nobody touched for `grace` seconds, and return it; `dry_run` only returns it.

    Raises VerificationFailed, and deletes nothing, where a manifest cannot be read: what it holds is not known.
    """
    if not store.layout.home.is_dir():
        return ()
    if not dry_run:
        store.layout.prepare()
    held = _held(store)
    before = store.now_ns() / 1e9 - grace
    found = [garbage for what, path in _unneeded(store, held) if (garbage := _untouched(what, path, before))]
    return tuple(found if dry_run else (each for each in found if _delete(store, each, before)))


def _held(store: LocalStore) -> frozenset[str]:
    """Return the sha256 of every manifest, of every file in one, and of what clients of the Hub's protocol wrote."""
    held: set[str] = set()
    for reference in store.published():
        try:
            digest = store.resolve(reference).digest
            held |= {digest, *(file["sha256"] for file in json.loads(store.blobs.read(digest))["files"])}
        except (LorryError, ValueError, KeyError, TypeError) as error:
            raise VerificationFailed(
                f"{reference} cannot be read ({error}), so what it holds is not known; nothing was deleted. "
                "Mend it first: lorry fsck"
            ) from error
    return frozenset({*held, *hub.held(store, held)})


def _unneeded(store: LocalStore, held: frozenset[str]) -> Iterator[tuple[str, Path]]:
    yield from (("blob", blob) for blob in _within(store.layout.blobs, "*/*") if blob.name not in held)
    yield from (("draft", draft) for draft in _within(store.layout.drafts, "*") if not durable.in_use(draft))
    yield from (("view", view) for view in _within(store.layout.views, "*") if view.name not in held)
    yield from (("commit", commit) for commit in hub.unneeded(store, held))


def _untouched(what: str, path: Path, before: float) -> Garbage | None:
    """Return what nobody touched since `before`; None also for what somebody took away meanwhile."""
    try:
        return Garbage(what, path, _size(path)) if _touched(path) < before else None
    except FileNotFoundError:
        return None


def _delete(store: LocalStore, garbage: Garbage, before: float) -> bool:
    """Take it out of its place and look again; return whether it is gone for good."""
    with durable.draft(store.layout.drafts) as aside:
        try:
            garbage.path.rename(aside)
        except FileNotFoundError:  # another collection was first, or the draft got its name
            return False
        if garbage.what == "blob" and _touched(aside) >= before:
            durable.put_new(aside, garbage.path)
            return False
        durable.remove(aside)
    return True


def _touched(path: Path) -> float:
    return max(each.lstat().st_mtime for each in [path, *_files(path)])


def _size(path: Path) -> int:
    """Return the bytes of a file or folder; hard links to blobs take none."""
    files = [path, *_files(path)]
    return sum(each.lstat().st_size for each in files if not each.is_dir() and each.lstat().st_nlink == 1)


def _files(path: Path) -> Iterable[Path]:
    return path.rglob("*") if path.is_dir() else ()


def _within(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))
