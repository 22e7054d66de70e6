"""Commits, branches, tags, and the files of a commit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request

from lorry_registry.hub.answers import Refusal, told_commit, told_file
from lorry_registry.hub.commits import Commit
from lorry_registry.hub.hub import HubRepository
from lorry_registry.hub.routes.given import AtRevision, Readable

router = APIRouter(prefix="/api/models/{namespace}/{name}")
_MOST_PATHS = 10_000


@router.get("/refs")
def refs(repository: Readable) -> dict[str, Any]:
    """List branches and tags."""

    def told(names: dict[str, str], kind: str) -> list[dict[str, str]]:
        return [
            {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit_id}
            for name, commit_id in sorted(names.items())
        ]

    tags, branches = told(repository.tags(), "tags"), told(repository.branches(), "heads")
    return {"branches": branches, "converts": [], "tags": tags, "pullRequests": []}


@router.get("/commits/{revision:path}")
def commits(repository: Readable, commit: AtRevision) -> list[dict[str, Any]]:
    """List a commit and those before it."""
    return [told_commit(each) for each in repository.history(commit.id)]


@router.get("/tree/{revision}")
@router.get("/tree/{revision}/{path:path}")
def tree(
    repository: Readable, commit: AtRevision, path: str = "", *, recursive: bool = False, expand: bool = False
) -> list[dict[str, Any]]:
    """List the files and folders of a commit, or of a folder in it."""
    found = list(_tree(commit, f"{path.strip('/')}/" if path.strip("/") else "", recursive=recursive))
    if path and not found:
        raise Refusal(404, f"{path} does not exist on {commit.id}", "EntryNotFound")
    return _with_last_commits(repository, commit, found) if expand else found


@router.post("/paths-info/{revision:path}")
async def paths_info(request: Request, repository: Readable, commit: AtRevision) -> list[dict[str, Any]]:
    """Tell some files and folders of a commit; those that are not there are left out."""
    asked = await _asked(request)
    paths, expand = asked.get("paths", []), asked.get("expand") in {True, "true", "True", "1"}
    folders = {each["path"]: each for each in _tree(commit, "", recursive=True) if each["type"] == "directory"}
    found = [
        told_file(path, commit.files[path]) if path in commit.files else folders[path]
        for path in (map(str, paths) if isinstance(paths, list) else [str(paths)])
        if path in commit.files or path in folders
    ]
    return _with_last_commits(repository, commit, found) if expand else found


async def _asked(request: Request) -> dict[str, Any]:
    """Read a form, or JSON; older clients send the one, newer ones the other."""
    body = await request.body()
    if request.headers.get("content-type", "").startswith("application/json"):
        found = json.loads(body)
        return found if isinstance(found, dict) else {}
    fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=_MOST_PATHS)
    return {name: values if name == "paths" else values[0] for name, values in fields.items()}


def _tree(commit: Commit, inside: str, *, recursive: bool) -> Iterator[dict[str, Any]]:
    folders: set[str] = set()
    for path, entry in sorted(commit.files.items()):
        if not path.startswith(inside):
            continue
        parts = path.removeprefix(inside).split("/")
        for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
            folder = inside + "/".join(parts[:depth])
            if folder not in folders:
                folders.add(folder)
                yield {"type": "directory", "oid": _folder_id(commit, folder), "size": 0, "path": folder}
        if recursive or len(parts) == 1:
            yield told_file(path, entry)


def _folder_id(commit: Commit, folder: str) -> str:
    """Return what is the same for folders of the same files, in the form of git's ids of trees."""
    within = sorted((path, entry.oid) for path, entry in commit.files.items() if path.startswith(f"{folder}/"))
    return hashlib.sha256(repr(within).encode()).hexdigest()[:40]


def _with_last_commits(repository: HubRepository, commit: Commit, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each the commit that changed it last."""
    history = list(repository.history(commit.id))
    return [{**each, "lastCommit": _last(history, each["path"])} for each in found]


def _last(history: list[Commit], path: str) -> dict[str, str]:
    def state(commit: Commit) -> list[tuple[str, str]]:
        inside = f"{path}/"
        files = commit.files.items()
        return [(name, entry.sha256) for name, entry in files if name == path or name.startswith(inside)]

    last = history[0]
    for before in history[1:]:
        if state(before) != state(last):
            break
        last = before
    return {"id": last.id, "title": last.title, "date": last.time}
