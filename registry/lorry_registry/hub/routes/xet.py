"""Where clients that upload by xet leave their chunks."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from lorry_registry.hub.answers import Refusal
from lorry_registry.hub.routes.given import Writable, XetGiven

router = APIRouter()


@router.get("/api/models/{namespace}/{name}/xet-write-token/{revision}")
def write_token(_: Writable, area: XetGiven) -> JSONResponse:
    """Tell where to upload to."""
    if area is None:
        raise Refusal(404, "this server takes no uploads by xet; set HF_HUB_DISABLE_XET=1 and try again")
    access = area.access()
    told = {
        "casUrl": access["X-Xet-Cas-Url"],
        "accessToken": access["X-Xet-Access-Token"],
        "exp": int(access["X-Xet-Token-Expiration"]),
    }
    return JSONResponse(told, headers=access)
