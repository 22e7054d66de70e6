"""A limit to what a client may send, but for the bytes of large files, which have a limit of their own."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lorry_registry.hub.answers import Refusal, error_answer

LARGEST = 16 << 20
"""Bytes of a request."""

LARGEST_COMMIT = 64 << 20
"""Bytes of a commit: room for 48 MB of text. It is only read once its sender may write."""

UPLOADS = "/lfs/"
"""Where the bytes of large files go."""


class BodyLimit:
    """Answers 413 to a request of more bytes than it may have, whether or not it tells its length."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http" or scope["path"].startswith(UPLOADS):
            await self._app(scope, receive, send)
            return
        most = LARGEST_COMMIT if "/commit/" in scope["path"] else LARGEST
        refusal = error_answer(Refusal(413, f"a request may have {most:,} bytes here; send large files by LFS"))
        told = dict(scope["headers"]).get(b"content-length", b"0")
        if not told.isdigit() or int(told) > most:
            await refusal(scope, receive, send)
            return
        came, answered = 0, False

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > most:
                raise _TooLargeError
            return message

        async def watched(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, counted, watched)
        except _TooLargeError:
            if answered:
                raise
            await refusal(scope, receive, send)


class _TooLargeError(Exception):
    """More came than was told."""
