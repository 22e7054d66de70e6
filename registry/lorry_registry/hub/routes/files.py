"""The bytes of files, whole or in part."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from lorry_registry.hub.answers import Refusal, error_answer
from lorry_registry.hub.made import holding
from lorry_registry.hub.routes.given import AtRevision, HubGiven, Readable

router = APIRouter()

# Nothing that somebody uploaded is ever shown by a browser as a page of this server.
_INERT = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Content-Disposition": "attachment",
}


@router.api_route("/{namespace}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
def resolve(path: str, _: Readable, commit: AtRevision, hub: HubGiven) -> Response:
    """Send a file as a revision has it; clients learn the commit and the hash from the headers."""
    entry = commit.files.get(path)
    here = {"X-Repo-Commit": commit.id}
    if entry is None:
        return error_answer(Refusal(404, f"Entry not found: {path}", "EntryNotFound"), here)
    hub.require_sound(entry.content)
    linked = {"X-Linked-Etag": f'"{entry.sha256}"', "X-Linked-Size": str(entry.size)} if entry.lfs else {}
    return FileResponse(
        holding(hub.store, entry.sha256).path(entry.sha256),
        media_type="application/octet-stream",
        headers={**here, **linked, **_INERT, "ETag": f'"{entry.etag}"'},
    )
