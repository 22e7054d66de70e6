"""Large files sent: the batch call of Git LFS (github.com/git-lfs, docs/api/batch.md), and where the bytes then go."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from lorry_registry.home.blobs import Content
from lorry_registry.hub.answers import Refusal
from lorry_registry.hub.hub import HubRepository
from lorry_registry.hub.links import Links
from lorry_registry.hub.possession import prove
from lorry_registry.hub.routes.given import HubGiven, PossessionGiven, Readable, SettingsGiven, Writable, WriterGiven
from lorry_registry.hub.uploads import PART, join, part_sizes, receive, receive_part

router = APIRouter()


class Wanted(BaseModel):
    """A file by its sha256 and its bytes."""

    oid: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]

    @property
    def content(self) -> Content:
        """What it holds."""
        return Content(self.oid, self.size)


class Batch(BaseModel):
    """Files to be sent, or fetched."""

    operation: str
    objects: Annotated[list[Wanted], Field(max_length=10_000)]
    transfers: tuple[str, ...] = ("basic",)


class Signed(BaseModel):
    """What a link carries: whom it was given to, until when it holds, and that this server made it."""

    caller: str
    expires: int
    signature: str


@router.post("/{namespace}/{name}.git/info/lfs/objects/batch")
def batch(  # noqa: PLR0913, PLR0917  what a batch is given
    told: Batch,
    repository: Writable,
    writer: WriterGiven,
    possession: PossessionGiven,
    settings: SettingsGiven,
    request: Request,
) -> JSONResponse:
    """Tell where each file is to be sent; what is in the repository already needs not be."""
    if told.operation != "upload":
        raise Refusal(400, "files are fetched from /resolve/, not by LFS")
    multipart = "multipart" in told.transfers
    for each in told.objects:
        if each.size > settings.largest_file:
            raise Refusal(413, f"a file of {each.size:,} bytes; this server takes {settings.largest_file:,}")
    objects = [
        {"oid": each.oid, "size": each.size}
        if each.oid in possession.there and repository.store.blobs.intact(each.content)
        else _object(repository, each, request, writer.name, multipart=multipart)
        for each in told.objects
    ]
    return JSONResponse({"transfer": "multipart" if multipart else "basic", "objects": objects})


@router.put("/lfs/whole/{oid}/{size}")
async def put_whole(
    oid: str, size: int, link: Annotated[Signed, Query()], request: Request, hub: HubGiven
) -> JSONResponse:
    """Take in a whole file."""
    links: Links = request.app.state.links
    links.check(link.expires, link.signature, link.caller, "whole", oid, size)
    await receive(hub.store, Content(oid, size), request.stream())
    prove(hub.store, link.caller, oid)
    return JSONResponse({}, headers={"ETag": f'"{oid}"'})


@router.put("/lfs/part/{oid}/{size}/{number}")
async def put_part(  # noqa: PLR0913, PLR0917  what a part is told by
    oid: str, size: int, number: int, link: Annotated[Signed, Query()], request: Request, hub: HubGiven
) -> JSONResponse:
    """Take in a part of a file."""
    links: Links = request.app.state.links
    links.check(link.expires, link.signature, link.caller, "part", oid, size, number)
    etag = await receive_part(hub.store, Content(oid, size), number, request.stream())
    return JSONResponse({}, headers={"ETag": f'"{etag}"'})


@router.post("/lfs/join/{oid}/{size}")
async def join_parts(
    oid: str, size: int, link: Annotated[Signed, Query()], request: Request, hub: HubGiven
) -> dict[str, Any]:
    """Make a file of its parts."""
    links: Links = request.app.state.links
    links.check(link.expires, link.signature, link.caller, "join", oid, size)
    await to_thread.run_sync(join, hub.store, Content(oid, size))
    prove(hub.store, link.caller, oid)
    return {}


@router.post("/{namespace}/{name}.git/info/lfs/verify")
def verify(told: Wanted, repository: Readable) -> dict[str, Any]:
    """Tell whether a file is here."""
    path = repository.store.blobs.path(told.oid)
    if not path.is_file() or path.stat().st_size != told.size:
        raise Refusal(404, f"sha256 {told.oid} was not uploaded")
    return {}


def _object(
    repository: HubRepository, wanted: Wanted, request: Request, caller: str, *, multipart: bool
) -> dict[str, Any]:
    oid, size = wanted.content
    links: Links = request.app.state.links
    here = str(request.base_url).rstrip("/")

    def link(kind: str, *more: int) -> str:
        tail = "/".join(map(str, (oid, size, *more)))
        return f"{here}/lfs/{kind}/{tail}?caller={caller}&{links.sign(caller, kind, oid, size, *more)}"

    if multipart and size > PART:
        parts = {str(number + 1): link("part", number) for number in range(len(part_sizes(size)))}
        upload: dict[str, Any] = {"href": link("join"), "header": {"chunk_size": str(PART), **parts}}
    else:
        upload = {"href": link("whole")}
    verify_link = f"{here}/{quote(repository.id)}.git/info/lfs/verify"
    return {"oid": oid, "size": size, "actions": {"upload": upload, "verify": {"href": verify_link}}}
