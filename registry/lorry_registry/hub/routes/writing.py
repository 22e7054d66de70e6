"""Commits, branches and tags that clients make."""

from __future__ import annotations

import base64
import binascii
import fnmatch
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from lorry.errors import InvalidArgument
from lorry_registry.hub.answers import Refusal, address
from lorry_registry.hub.changes import StaleParent, commit, read_changes
from lorry_registry.hub.commits import Entry, is_lfs
from lorry_registry.hub.hub import HubRepository, now
from lorry_registry.hub.release import create_tag
from lorry_registry.hub.repository import MAIN, check_revision
from lorry_registry.hub.routes.given import AtRevision, PossessionGiven, Writable, WriterGiven

router = APIRouter(prefix="/api/models/{namespace}/{name}")


class Announced(BaseModel):
    """A file that is about to be sent: its path, its bytes, and the first 512 of them in base64."""

    path: str
    size: Annotated[int, Field(ge=0)]
    sample: str = ""


class Preupload(BaseModel):
    """The files of a commit that is about to be made."""

    files: Annotated[list[Announced], Field(max_length=10_000)]
    gitIgnore: str = ""  # noqa: N815  the protocol's name


class NewTag(BaseModel):
    """A tag to be made."""

    tag: str
    message: str | None = None


class NewBranch(BaseModel):
    """A branch to be made, and the revision it begins at."""

    startingPoint: str = MAIN  # noqa: N815  the protocol's name


@router.post("/preupload/{revision:path}")
def preupload(told: Preupload, _: Writable, at: AtRevision) -> dict[str, Any]:
    """Tell how each file is to be sent, and what is there in its place: clients do not send what is the same."""
    ignored = [line.strip() for line in told.gitIgnore.splitlines() if line.strip() and not line.startswith("#")]
    return {"commitOid": at.id, "files": [_answer(each, at.files.get(each.path), ignored) for each in told.files]}


async def body(request: Request) -> bytes:
    """Return what was sent; `BodyLimit` says how much that may be."""
    return await request.body()


@router.post("/commit/{branch:path}")
def make_commit(  # noqa: PLR0913, PLR0917  what a commit is given
    branch: str,
    repository: Writable,
    writer: WriterGiven,
    possession: PossessionGiven,
    request: Request,
    sent: Annotated[bytes, Depends(body)],
) -> dict[str, Any]:
    """Make a commit."""
    branch = check_revision(branch)
    _refuse_alias(repository, branch)
    try:
        made = commit(repository, branch, read_changes(repository, sent, possession), writer.name)
    except StaleParent as error:
        raise Refusal(412, str(error)) from error
    return {
        "success": True,
        "commitOid": made,
        "commitUrl": f"{address(request, repository)}/commit/{made}",
        "hookOutput": "",
    }


@router.post("/tag/{revision:path}")
def make_tag(told: NewTag, repository: Writable, at: AtRevision) -> dict[str, Any]:
    """Make a tag, which publishes a version where the commit holds one."""
    if not create_tag(repository, check_revision(told.tag), at):
        raise Refusal(409, f"Tag reference exists already: {told.tag}")
    return {}


@router.delete("/tag/{tag:path}")
def delete_tag(tag: str, repository: Writable) -> dict[str, Any]:
    """Take a tag away, unless it is a version's."""
    tag = check_revision(tag)
    if any(tag == f"v{each.reference.selector}" for each in repository.versions()):
        raise Refusal(403, f"{tag} is a published version, and those never go; yank it instead")
    if not repository.written.delete_tag(tag):
        raise Refusal(404, f"Invalid rev id: {tag}", "RevisionNotFound")
    return {}


@router.post("/branch/{branch:path}")
def make_branch(branch: str, repository: Writable, told: NewBranch | None = None) -> dict[str, Any]:
    """Make a branch."""
    branch = check_revision(branch)
    start = repository.find((told or NewBranch()).startingPoint)
    if start is None:
        raise Refusal(404, "Invalid rev id of the starting point", "RevisionNotFound")
    repository.written.create(private=False, time=now())
    if branch in repository.branches() or not repository.written.move(branch, 0, start.id):
        raise Refusal(409, f"Reference already exists: {branch}")
    return {}


@router.delete("/branch/{branch:path}")
def delete_branch(branch: str, repository: Writable) -> dict[str, Any]:
    """Take a branch away."""
    branch = check_revision(branch)
    _refuse_alias(repository, branch)
    if branch == MAIN:
        raise Refusal(403, f"{MAIN} cannot be deleted")
    if not repository.written.delete_branch(branch):
        raise Refusal(404, f"Invalid rev id: {branch}", "RevisionNotFound")
    return {}


def _refuse_alias(repository: HubRepository, branch: str) -> None:
    if branch in repository.aliases():
        raise Refusal(403, f"{branch} is an alias of a version; lorry alias moves it")


def _answer(file: Announced, there: Entry | None, ignored: list[str]) -> dict[str, Any]:
    try:
        sample = base64.b64decode(file.sample, validate=True)
    except binascii.Error as error:
        raise InvalidArgument(f"the sample of {file.path} is not base64") from error
    return {
        "path": file.path,
        "uploadMode": "lfs" if is_lfs(file.path, file.size, sample) else "regular",
        "shouldIgnore": any(fnmatch.fnmatch(file.path, pattern) for pattern in ignored),
        **({"oid": there.etag} if there else {}),
    }
