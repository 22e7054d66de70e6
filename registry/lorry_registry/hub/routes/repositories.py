"""Repositories made, hidden and deleted."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from lorry_registry.hub.answers import Refusal, address
from lorry_registry.hub.hub import HubRepository, now
from lorry_registry.hub.routes.given import (
    CallerGiven,
    HubGiven,
    SettingsGiven,
    Writable,
    WriterGiven,
    readable,
    refuse_other,
)

router = APIRouter()


class Named(BaseModel):
    """The repository meant; without an organization it is the caller's own."""

    name: str
    organization: str | None = None
    type: str | None = None


class Made(Named):
    """A repository to be made. `visibility` is what newer clients send, `private` older ones."""

    visibility: str | None = None
    private: bool | None = None


class Changed(BaseModel):
    """Settings to be changed."""

    visibility: str | None = None
    private: bool | None = None


@router.post("/api/repos/create")
def create(told: Made, hub: HubGiven, writer: WriterGiven, request: Request) -> JSONResponse:
    """Make a repository; one that is there is told as a conflict with its address, which clients may take for done."""
    _refuse_type(told.type)
    refuse_other(writer, (told.organization or writer.name).lower())
    repository = hub.repository(told.organization or writer.name, told.name)
    url = address(request, repository)
    private = _private(told.visibility, private=told.private)
    if repository.exists or not repository.written.create(private=bool(private), time=now()):
        raise Refusal(409, "You already created this model repo", url=url, id=repository.id)
    return JSONResponse({"url": url, "name": repository.id, "id": repository.id})


@router.put("/api/models/{namespace}/{name}/settings")
def change(told: Changed, repository: Writable) -> dict[str, Any]:
    """Change who sees a repository."""
    private = _private(told.visibility, private=told.private)
    if private is not None and not repository.written.create(private=private, time=now()):
        repository.written.set_private(private=private)
    return {"private": repository.written.private}


@router.delete("/api/repos/delete")
def delete(
    told: Named, hub: HubGiven, writer: WriterGiven, caller: CallerGiven, settings: SettingsGiven
) -> dict[str, Any]:
    """Delete a repository and all that clients wrote to it, unless versions of it are published."""
    _refuse_type(told.type)
    repository: HubRepository = readable(told.organization or writer.name, told.name, hub, caller, settings)
    refuse_other(writer, repository.reference.namespace)
    if repository.versions():
        raise Refusal(403, f"{repository.id} has published versions, and those never go; yank them instead")
    repository.written.delete()
    return {}


def _private(visibility: str | None, *, private: bool | None) -> bool | None:
    return visibility == "private" if visibility else private


def _refuse_type(text: str | None) -> None:
    if text not in {None, "model"}:
        raise Refusal(400, f"this server holds models, and no {text}s")
