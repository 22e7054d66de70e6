"""Running the server."""

from __future__ import annotations

import ipaddress
import socket

import uvicorn
from starlette.types import ASGIApp

from lorry.errors import Conflict, InvalidArgument
from lorry_registry.disk import durable
from lorry_registry.hub.app import create_app
from lorry_registry.hub.settings import Settings


class Server(uvicorn.Server):
    """A server that Ctrl-C and a polite kill stop: what is at work gets a few seconds to finish."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,  # addresses of uploads carry rights
                server_header=False,
                timeout_graceful_shutdown=5,
            )
        )

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until somebody stops it."""
        try:
            super().run(sockets)
        except KeyboardInterrupt:  # raised anew when all is stopped; that is what it was for
            return


def make_server(settings: Settings) -> Server:
    """Return a server of a registry, which `run` starts."""
    return Server(create_app(settings))


def listen(host: str, port: int) -> socket.socket:
    """Open a port; raise Conflict where it is taken, InvalidArgument for an address that is not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=256)
    except socket.gaierror as error:
        raise InvalidArgument(f"{host!r} is no address of this machine: {error.strerror}") from error
    except OSError as error:
        raise Conflict(f"cannot listen at {host} port {port}: {durable.reason(error)}; try another --port") from error
    # A socket made of a descriptor knows its protocol; else asyncio sets no TCP_NODELAY, and answers wait 40 ms.
    return socket.socket(fileno=listener.detach())


def address_of(listener: socket.socket) -> str:
    """Return the address that clients use."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
