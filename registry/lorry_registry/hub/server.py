"""Running the server."""

from __future__ import annotations

import uvicorn

from lorry_registry.hub.app import create_app
from lorry_registry.hub.settings import Settings


def make_server(settings: Settings, host: str, port: int) -> uvicorn.Server:
    """Return a server that `run` starts, and that stops when asked, finishing what it is at for a moment."""
    return uvicorn.Server(
        uvicorn.Config(
            create_app(settings),
            host=host,
            port=port,
            log_level="warning",
            access_log=False,  # addresses of uploads carry rights
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=5,
        )
    )
