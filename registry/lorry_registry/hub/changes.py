"""A commit on its way in: lines of JSON, each a file added or taken away, applied to the commit before as one."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lorry.errors import Conflict, InvalidArgument, NotFound
from lorry_registry.home.blobs import Content
from lorry_registry.hub.commits import Commit, Entry, lfs_entry, plain_entry
from lorry_registry.hub.hub import HubRepository, now
from lorry_registry.hub.possession import Possession
from lorry_registry.hub.repository import MAIN
from lorry_registry.hub.state import check
from lorry_registry.hub.weights import require_version
from lorry_registry.references.names import check_path, same_file_key
from lorry_registry.remotes.hub.contents import ALIASES, NOTES

_MOST_FILES = 10_000
_SHORTEST_ID = 7


class StaleParent(Conflict):
    """The branch moved on from the commit that was to be the parent."""


@dataclass(frozen=True, slots=True)
class Change:
    """One line: a path, and what it becomes; without an entry it goes, a folder with all in it."""

    path: str
    entry: Entry | None = None
    folder: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """All lines of a commit; `parent` is the id it must follow, where one was named."""

    title: str
    message: str
    parent: str | None
    changes: tuple[Change, ...]


def read_changes(repository: HubRepository, body: bytes, possession: Possession) -> Changes:
    """Read the lines of a commit, and keep the content of plain files as blobs.

    Raises InvalidArgument for what is no commit, for a path that could mean another file, and for a file named by
    its sha256 that was not uploaded.
    """
    lines = [_line(line) for line in body.splitlines() if line.strip()]
    head = next((value for key, value in lines if key == "header"), {})
    return Changes(
        title=str(head.get("summary") or "")[:500],
        message=str(head.get("description") or "")[:10_000],
        parent=_parent(head.get("parentCommit")),
        changes=tuple(_change(repository, key, value, possession) for key, value in lines if key != "header"),
    )


def commit(repository: HubRepository, branch: str, changes: Changes, author: str) -> str:
    """Apply changes to a branch as one commit; return its id.

    Of many with the same parent exactly one goes in. Raises StaleParent for the others, NotFound where the branch
    or a file to be deleted is not there, Conflict where main would no longer be a version.
    """
    written = repository.written
    while True:
        length = written.length(branch)
        head = repository.main() if branch == MAIN else written.head(branch)
        if head is None:
            raise NotFound(f"{repository.id} has no branch {branch!r} to commit to")
        if changes.parent and not head.startswith(changes.parent):
            raise StaleParent("A commit has happened since. Please refresh and try again.")
        before = repository.commit(head).files
        files = _apply(before, changes.changes)
        if branch == MAIN:
            require_version(repository, before, files)
        if branch == MAIN and {change.path for change in changes.changes} & {ALIASES, NOTES}:
            check(repository.store, repository.reference, files)
        made = Commit(files=files, parent=head, title=changes.title, message=changes.message, author=author, time=now())
        written.create(private=False, time=now())
        if commit_id := written.append(branch, length, made):
            repository.main()  # what the commit says of versions is said in the registry too
            return commit_id


def _line(line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        found = json.loads(line)
        key, value = found["key"], found["value"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidArgument("a line of the commit is no JSON object with a key and a value") from error
    if not isinstance(value, dict):
        raise InvalidArgument(f"the value of {str(key)[:40]!r} in the commit is no object")
    return str(key), value


def _parent(text: object) -> str | None:
    if not text:
        return None
    if not isinstance(text, str) or len(text) < _SHORTEST_ID:
        raise InvalidArgument("parentCommit is no commit's id")
    return text


def _change(repository: HubRepository, key: str, value: dict[str, Any], possession: Possession) -> Change:
    path = value.get("path")
    if not isinstance(path, str):
        raise InvalidArgument(f"{key[:40]!r} in the commit names no path")
    match key:
        case "file":
            return Change(check_path(path), _plain(repository, path, value.get("content")))
        case "lfsFile":
            return Change(check_path(path), _uploaded(repository, path, str(value.get("oid")), possession))
        case "deletedFile":
            return Change(path)
        case "deletedFolder":
            return Change(path.rstrip("/"), folder=True)
    raise InvalidArgument(f"{key[:40]!r} is nothing that a commit can do here")


def _plain(repository: HubRepository, path: str, text: object) -> Entry:
    try:
        data = base64.b64decode(text if isinstance(text, str) else "=", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidArgument(f"the content of {path} is not base64") from error
    repository.store.layout.prepare()
    repository.store.blobs.add_bytes(data)
    return plain_entry(data)


def _uploaded(repository: HubRepository, path: str, oid: str, possession: Possession) -> Entry:
    """Return the entry of an uploaded file, and touch its blob, so that it is not collected meanwhile."""
    blobs = repository.store.blobs
    if not possession.includes(oid):
        raise InvalidArgument(f"{path} points at sha256 {oid}, which was not uploaded; upload it")
    try:
        blobs.rely_on(oid)
        return lfs_entry(Content(oid, blobs.path(oid).stat().st_size))
    except FileNotFoundError as error:
        raise InvalidArgument(f"{path} points at sha256 {oid}, which is no longer here; upload it again") from error


def _apply(files: Mapping[str, Entry], changes: tuple[Change, ...]) -> dict[str, Entry]:
    after: dict[str, Entry] = dict(files)
    for change in changes:
        if change.entry:
            after[change.path] = change.entry
            continue
        inside = [path for path in after if path.startswith(f"{change.path}/")] if change.folder else [change.path]
        for path in inside:
            if after.pop(path, None) is None:
                raise NotFound(f"there is no file {path!r} to delete")
    _refuse_clashes(after)
    return after


def _refuse_clashes(files: dict[str, Entry]) -> None:
    """Raise InvalidArgument where two paths are one file on some disks, or one is a folder of another."""
    if len(files) > _MOST_FILES:
        raise InvalidArgument(f"{len(files):,} files; a repository here takes {_MOST_FILES:,}")
    taken: dict[str, str] = {}
    for path in files:
        other = taken.setdefault(same_file_key(path), path)
        if other != path:
            raise InvalidArgument(f"{path!r} and {other!r} are one file on some disks; rename one of them")
    for path in files:
        key = same_file_key(path)
        folder = next((key[:at] for at, letter in enumerate(key) if letter == "/" and key[:at] in taken), None)
        if folder is not None:
            raise InvalidArgument(f"{taken[folder]!r} is a file, and {path!r} would be in it")
