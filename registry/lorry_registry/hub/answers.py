"""What the protocol answers: repositories, commits and files as JSON, errors as headers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from lorry.errors import (
    AccessDenied,
    Conflict,
    Incompatible,
    InvalidArgument,
    InvalidFile,
    LorryError,
    NotFound,
    VerificationFailed,
)
from lorry_registry.hub.commits import Commit, Entry, pointer
from lorry_registry.hub.hub import HubRepository
from lorry_registry.hub.made import holding
from lorry_registry.hub.yaml_check import front_matter
from lorry_registry.remotes.hub.contents import CARD

_STATUS: tuple[tuple[type[LorryError], int], ...] = (
    (NotFound, 404), (Conflict, 409), (AccessDenied, 403), (InvalidArgument, 400), (InvalidFile, 422),
    (Incompatible, 422), (VerificationFailed, 500),
)  # fmt: skip
_LONGEST = 500


class Refusal(Exception):
    """An answer that is an error; `code` is the Hub's own word for it, which clients tell errors apart by."""

    def __init__(self, status: int, message: str, code: str = "", **told: str) -> None:
        super().__init__(message)
        self.status, self.code, self.told = status, code, told


def error_answer(error: LorryError | Refusal, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Tell an error as the Hub does: in the body, and in headers that clients raise their exceptions by."""
    message = str(error)
    if isinstance(error, Refusal):
        status, code, told = error.status, error.code, error.told
    else:
        status, code, told = next((number for kind, number in _STATUS if isinstance(error, kind)), 500), "", {}
    plain = "".join(letter if letter.isprintable() and letter.isascii() else "?" for letter in message)[:_LONGEST]
    given = {"X-Error-Message": plain, **({"X-Error-Code": code} if code else {}), **(headers or {})}
    return JSONResponse({"error": message, **told}, status, given)


def told_repository(repository: HubRepository, commit: Commit, *, blobs: bool = False) -> dict[str, Any]:
    """Tell a repository at a commit, with all its files."""
    card = card_data(repository, commit)
    return {
        **told_in_list(repository, commit.id),
        "lastModified": commit.time,
        "tags": told_tags(card),
        "pipeline_tag": card.get("pipeline_tag"),
        "library_name": card.get("library_name"),
        "cardData": card,
        "siblings": [_sibling(path, entry, blobs=blobs) for path, entry in sorted(commit.files.items())],
    }


def told_in_list(repository: HubRepository, commit_id: str | None) -> dict[str, Any]:
    """Tell as much of a repository as needs no look at its files."""
    return {
        "_id": repository.id,
        "id": repository.id,
        "modelId": repository.id,
        "author": repository.reference.namespace,
        "sha": commit_id,
        "private": repository.written.private,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        **({"createdAt": created} if (created := repository.written.created) else {}),
    }


def card_data(repository: HubRepository, commit: Commit) -> dict[str, Any]:
    """Return the fields of the card; none where it has none that can be read."""
    card = commit.files.get(CARD)
    if card is None or card.lfs:
        return {}
    try:
        text = holding(repository.store, card.sha256).read(card.sha256).decode("utf-8", "replace")
        return dict(json.loads(json.dumps(front_matter(text), default=str)))
    except ValueError:
        return {}


def told_tags(card: Mapping[str, Any]) -> list[str]:
    """Return what a repository is found by, as the Hub does: the card's tags, library, base models and licence."""

    def listed(name: str, prefix: str = "") -> Iterator[str]:
        value = card.get(name)
        yield from (f"{prefix}{each}" for each in (value if isinstance(value, list) else [value]) if each)

    found = [*listed("library_name"), *listed("tags"), *listed("pipeline_tag"), *listed("license", "license:")]
    relation = card.get("base_model_relation")
    found += listed("base_model", "base_model:")
    found += listed("base_model", f"base_model:{relation}:") if relation else []
    return list(dict.fromkeys(found))


def told_file(path: str, entry: Entry) -> dict[str, Any]:
    """Tell a file of a tree."""
    told: dict[str, Any] = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
    if entry.lfs:
        told["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": len(pointer(entry.content))}
    return told


def told_commit(commit: Commit) -> dict[str, Any]:
    """Tell a commit of a history."""
    return {
        "id": commit.id,
        "title": commit.title,
        "message": commit.message,
        "authors": [{"user": commit.author}],
        "date": commit.time,
        "parents": [commit.parent] if commit.parent else [],
    }


def address(request: Request, repository: HubRepository) -> str:
    """Return where a repository is, as the client addressed this server."""
    return f"{str(request.base_url).rstrip('/')}/{repository.id}"


def _sibling(path: str, entry: Entry, *, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": path}
    told = told_file(path, entry)
    lfs = {"lfs": {"sha256": entry.sha256, **told["lfs"]}} if entry.lfs else {}
    return {"rfilename": path, "size": entry.size, "blobId": entry.oid, **lfs}
