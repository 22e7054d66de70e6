"""Requests to an OCI registry: who we are is told to that registry alone, and nothing travels in the clear.

The token flow is that of https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import ipaddress
import re
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from time import sleep
from typing import TypedDict, Unpack

import httpx2

from lorry.errors import AccessDenied, UpstreamFailed
from lorry_registry.remotes.oci.credentials import Credentials, credentials

_TIMEOUT = httpx2.Timeout(300, connect=15)  # a registry reads a whole upload again before it answers
_BUSY = (429, 500, 502, 503, 504)
_PAUSES = (0.05, 0.2, 0.8)  # seconds
_MOST = 4 << 20  # what registries take as a manifest
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class _More(TypedDict, total=False):
    headers: dict[str, str]
    content: bytes | httpx2.SyncByteStream


class Session:
    """Sends requests below one origin, `https://host[:port]`."""

    def __init__(self, origin: str) -> None:
        self._origin = httpx2.URL(origin)
        self._authorization = ""
        self._client = httpx2.Client(
            base_url=self._origin,
            timeout=_TIMEOUT,
            headers={"Accept-Encoding": "identity"},
            follow_redirects=True,  # without the Authorization header where they lead elsewhere
            event_hooks={"request": [self._look_at]},
        )
        weakref.finalize(self, self._client.close)  # a remote is not closed by whoever opens it

    @property
    def host(self) -> str:
        """The registry's host and port."""
        return self._origin.netloc.decode()

    @contextmanager
    def stream(
        self, method: str, url: str, *, allowed: tuple[int, ...] = (), **more: Unpack[_More]
    ) -> Iterator[httpx2.Response]:
        """Send a request and yield its answer, whose body is still to come; log in where the registry asks for it.

        Raises AccessDenied for 401 and 403, and UpstreamFailed for every other status of 400 and more that is not
        `allowed`, and where the connection fails.
        """
        try:
            response = self._send(method, url, **more)
            if response.status_code == httpx2.codes.UNAUTHORIZED and _place(response.url) == _place(self._origin):
                response.close()
                self._authorization = self._answer(response.headers.get("WWW-Authenticate", ""))
                response = self._send(method, url, **more)
            with closing(response):
                if response.is_error and response.status_code not in allowed:
                    self._refuse(response)
                yield response
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise UpstreamFailed(f"{self.host}: {_first_line(error)}; try again") from error

    def send(
        self, method: str, url: str, *, allowed: tuple[int, ...] = (), repeat: bool = True, **more: Unpack[_More]
    ) -> tuple[httpx2.Response, bytes]:
        """Send a request; return its answer and body, of at most 4 MiB. Raises what `stream` does.

        What the registry is too busy for (429, 5xx: docker-registry answers so while another writes the same tag) is
        asked again, if it may be repeated.
        """
        for pause in _PAUSES if repeat else ():
            with self.stream(method, url, allowed=(*allowed, *_BUSY), **more) as response:
                if response.status_code not in _BUSY:
                    return response, _body(response)
            sleep(pause)
        with self.stream(method, url, allowed=allowed, **more) as response:
            return response, _body(response)

    def _send(self, method: str, url: str, **more: Unpack[_More]) -> httpx2.Response:
        request = self._client.build_request(method, url, **more)
        if self._authorization and _place(request.url) == _place(self._origin):
            request.headers["Authorization"] = self._authorization
        return self._client.send(request, stream=True)

    def _answer(self, challenge: str) -> str:
        """Return what to authorize the next request with, by RFC 7617 or with a token; "" where nothing is known."""
        scheme, _, rest = challenge.partition(" ")
        known = credentials(self.host)
        if scheme.lower() == "bearer":
            response = self._client.send(_token_request(self._origin, _parameters(rest), known), stream=True)
            with closing(response):
                return f"Bearer {_token(response, self._origin)}"
        return known.basic if known and scheme.lower() == "basic" else ""

    def _look_at(self, request: httpx2.Request) -> None:
        """Let no request out unencrypted, but to a registry that was opened so; redirects come by here too."""
        if request.url.scheme != "https" and _place(request.url) != _place(self._origin):
            raise UpstreamFailed(f"{self.host} leads to {request.url.host} over plain http; nothing was sent there")

    def _refuse(self, response: httpx2.Response) -> None:
        status, said = response.status_code, _said(_body(response))
        if status in {httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN}:
            raise AccessDenied(f"{self.host} refuses: {status} {said}; run: docker login {self.host}")
        raise UpstreamFailed(f"{self.host} answers {response.request.method} with {status} {said}")


def _parameters(challenge: str) -> dict[str, str]:
    found: list[tuple[str, str]] = _PARAMETER.findall(challenge)
    return dict(found)


def _token_request(origin: httpx2.URL, challenge: dict[str, str], known: Credentials | None) -> httpx2.Request:
    realm = httpx2.URL(challenge.get("realm", ""))
    if realm.scheme != "https" and _place(realm) != _place(origin):
        raise AccessDenied(f"{origin.host} has its tokens made by {str(realm)!r}, which is not safe; nothing was sent")
    asked: dict[str, str] = {name: value for name, value in challenge.items() if name in {"service", "scope"}}
    if known and known.identity:
        form = {**asked, "grant_type": "refresh_token", "refresh_token": known.secret, "client_id": "lorry"}
        return httpx2.Request("POST", realm, data=form)
    return httpx2.Request(
        "GET", realm.copy_merge_params(asked), headers={"Authorization": known.basic} if known else {}
    )


def _token(answer: httpx2.Response, origin: httpx2.URL) -> str:
    data = _body(answer)
    with suppress(ValueError, AttributeError, RecursionError):
        told = httpx2.Response(200, content=data).json()
        token = told.get("token") or told.get("access_token")
        if answer.is_success and isinstance(token, str) and token.isascii() and token.isprintable():
            return token
    said, host = f"{answer.status_code} {_said(data)}", origin.netloc.decode()
    raise AccessDenied(f"{answer.url.host} gives no token for {host}: {said}; run: docker login {host}")


def _body(response: httpx2.Response) -> bytes:
    data = bytearray()
    for chunk in response.iter_raw():
        data += chunk
        if len(data) > _MOST:
            raise UpstreamFailed(f"{response.url.host}: an answer of more than {_MOST:,} bytes; it was not read")
    return bytes(data)


def loopback(host: str) -> bool:
    """Tell whether a host is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _place(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _said(body: bytes) -> str:
    """Return the first error a registry tells of, in its own words."""
    with suppress(ValueError, AttributeError, LookupError, TypeError, RecursionError):
        first = httpx2.Response(200, content=body).json()["errors"][0]
        return f"{first['code']}: {first.get('message', '')}"[:200]
    return ""


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
