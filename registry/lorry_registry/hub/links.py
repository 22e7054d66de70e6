"""Links that carry their own right: an upload goes to an address that only this server can have made.

Clients send no token with the bytes of a large file, since on the Hub those go to another machine.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time

from lorry.errors import AccessDenied

LIFETIME = 6 * 3600
"""Seconds that a link holds: long enough for a large file over a slow line."""


class Links:
    """Signs what a link allows, with a key that is made anew whenever the server starts."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def sign(self, *allowed: object) -> str:
        """Return the query "expires=…&signature=…" that allows this."""
        expires = int(time.time()) + LIFETIME
        return f"expires={expires}&signature={self._signature(expires, allowed)}"

    def check(self, expires: int, signature: str, *allowed: object) -> None:
        """Raise AccessDenied for a link that this server did not make for this, or that is too old."""
        genuine = hmac.compare_digest(self._signature(expires, allowed), signature)
        if not genuine or expires < time.time():
            raise AccessDenied("the link is not valid, or no longer; begin the upload again")

    def _signature(self, expires: int, allowed: tuple[object, ...]) -> str:
        return hmac.new(self._key, repr((expires, allowed)).encode(), hashlib.sha256).hexdigest()
