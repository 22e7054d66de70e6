"""A network between client and server that does what networks do."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Seen(NamedTuple):
    """One request, as the server got it, and the status of its answer."""

    method: str
    path: str
    range: str
    authorized: bool
    host: str
    status: int


@dataclass
class Faults:
    """What goes wrong. `…_times` count down, and with 0 all is well again.

    cut_after: an answer with file content ends after so many bytes. flip: one bit of file content is another.
    fail_times: requests whose path contains `fail_path` get the status `fail_status`, and do nothing.
    lose_times: requests whose path contains `lose_path` are done, and the answer never comes.
    redirect: files named by sha256 are sent from "localhost", as the Hub sends them from another machine.
    """

    cut_after: int = 0
    cut_times: int = 0
    flip_times: int = 0
    fail_path: str = "/lfs/"
    fail_status: int = 500
    fail_times: int = 0
    lose_path: str = "/commit/"
    lose_times: int = 0
    redirect: bool = False

    def takes(self, name: str) -> bool:
        """Tell whether a fault is to happen now, and count it."""
        left = getattr(self, name)
        setattr(self, name, max(left - 1, 0))
        return bool(left)


class CutError(Exception):
    """The connection was cut on purpose."""


class FaultyNetwork:
    """Passes requests on to an application, notes them, and lets faults happen."""

    def __init__(self, app: ASGIApp, faults: Faults, seen: list[Seen]) -> None:
        self._app, self._faults, self._seen = app, faults, seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        path, faults = scope["path"], self._faults
        if faults.fail_path in path and faults.takes("fail_times"):
            self._note(scope, headers, faults.fail_status)
            await self._answer(send, faults.fail_status, {})
        elif path.startswith("/elsewhere/"):
            path = path.removeprefix("/elsewhere")
            await self._pass({**scope, "path": path, "raw_path": path.encode()}, headers, receive, send)
        elif faults.redirect and "/resolve/" in path:
            await self._redirect(scope, headers, receive, send)
        else:
            await self._pass(scope, headers, receive, send)

    async def _pass(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        """Pass a request on; where its answer is not sent to the end, the connection is closed."""
        faults = self._faults
        content = "/resolve/" in scope["path"] and scope["method"] == "GET"
        cut = content and faults.takes("cut_times")
        flip = content and faults.takes("flip_times")
        lost = faults.lose_path in scope["path"] and faults.takes("lose_times")
        sent = 0

        async def through(message: Message) -> None:
            nonlocal sent, flip
            if message["type"] == "http.response.start":
                self._note(scope, headers, message["status"])
            if lost:
                return
            body = message.get("body", b"")
            if flip and len(body) > 1:
                message, flip = {**message, "body": bytes([body[0] ^ 1]) + body[1:]}, False
            if cut and sent + len(body) > faults.cut_after:
                await send({**message, "body": body[: faults.cut_after - sent], "more_body": True})
                raise CutError
            sent += len(body)
            await send(message)

        with suppress(CutError):
            await self._app(scope, receive, through)

    async def _redirect(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        """Answer as the Hub does for large files: with where they are, and all that is to be known of them."""
        got: list[Message] = []

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                got.append(message)

        await self._app({**scope, "method": "HEAD"}, receive, keep)
        start = got[0]
        told = {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]}
        if "x-linked-etag" not in told:
            await self._app(scope, receive, send)
            self._note(scope, headers, start["status"])
            return
        port = scope["server"][1]
        kept = {name: told[name] for name in ("x-repo-commit", "x-linked-etag", "x-linked-size")}
        self._note(scope, headers, 302)
        await self._answer(send, 302, {**kept, "location": f"http://localhost:{port}/elsewhere{scope['path']}"})

    def _note(self, scope: Scope, headers: dict[str, str], status: int) -> None:
        authorized, host = "authorization" in headers, headers.get("host", "")
        seen = Seen(scope["method"], scope["path"], headers.get("range", ""), authorized, host, status)
        self._seen.append(seen)

    @staticmethod
    async def _answer(send: Send, status: int, headers: dict[str, Any]) -> None:
        raw = [(name.encode(), str(value).encode()) for name, value in {**headers, "content-length": "0"}.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": b""})
