"""A client for addresses that strangers chose: it goes only where it may, and takes no more than it may.

Every connection is made to an address that was looked at first, and its peer is looked at again before a byte is
sent: so no name, spelling of a number, redirect or second answer of a name server leads to a private machine. Proxies
and passwords of the environment are not used. Nothing is decompressed. One deadline holds for all of it.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, NamedTuple, Self
from urllib.parse import quote, urljoin, urlsplit

import httpcore2

from lorry.errors import AccessDenied, InvalidArgument, LorryError, NotFound, UpstreamFailed
from lorry.plugin.fetched import Limits

PACE_SECONDS, PACE_BYTES = 60.0, 64 << 10
"""A body must come faster than so many bytes in so many seconds."""

_SILENCE = 30.0
"""Seconds that a server may say nothing."""

_REDIRECTS = {301, 302, 303, 307, 308}
_MOST_REDIRECTS = 5
_LARGEST_JSON = 8 << 20
_NAT64 = IPv6Network("64:ff9b::/96")
_URL_SAFE = "/%:@!$&'()*+,;=~-._?"


class Cut(UpstreamFailed):
    """A connection that ended before its time: what came so far may be gone on from."""


class TooLarge(UpstreamFailed):
    """More bytes than may be fetched: nothing of them is worth keeping."""


class Answer(NamedTuple):
    """What a server answered: from which address in the end, with which headers (names in lower case)."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: Iterator[bytes]


class Guarded:
    """Such a client, for one fetch: `limits` hold for all its requests together.

    `secrets` are the values of Authorization by host; each is sent to its host alone, where that is what was asked for:
    never on a redirect to another scheme, host or port.
    """

    def __init__(self, limits: Limits, secrets: Mapping[str, str] | None = None) -> None:
        self.limits, self._secrets = limits, secrets or {}
        self._deadline = time.monotonic() + limits.seconds
        self._pool = httpcore2.ConnectionPool(
            ssl_context=httpcore2.default_ssl_context(), network_backend=_Backend(limits.hosts, self._deadline)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[Answer]:
        """Ask for an address and follow redirects; the body must be read inside.

        Raises InvalidArgument for an address that it does not go to, UpstreamFailed where the server sends it to such
        a one or does not do its part, AccessDenied and NotFound where the server says so.
        """
        asked = url
        try:
            for _ in range(_MOST_REDIRECTS + 1):
                with self._stream(url, headers or {}, asked) as response:
                    told = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
                    if response.status in _REDIRECTS and "location" in told:
                        url = urljoin(url, told["location"])
                        continue
                    _check_answer(asked, response.status, told)
                    yield Answer(url, response.status, told, self._body(asked, response.iter_stream()))
                    return
        except httpcore2.TimeoutException:
            raise Cut(f"{shown(asked)}: the server was silent for too long; try again later") from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            raise Cut(f"{shown(asked)}: the connection failed: {error or type(error).__name__}; try again") from None
        except InvalidArgument as error:
            if url == asked:
                raise
            raise UpstreamFailed(f"{shown(asked)} leads elsewhere: {error}") from None
        raise UpstreamFailed(f"{shown(asked)} leads on and on: more than {_MOST_REDIRECTS} redirects")

    def json(self, url: str) -> Any:  # noqa: ANN401  whatever JSON holds
        """Ask for JSON of up to 8 MiB; raise UpstreamFailed for what is none."""
        with self.get(url, {"Accept": "application/json"}) as answer:
            data = b"".join(limited(answer.body, _LARGEST_JSON, shown(url)))
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise UpstreamFailed(f"{shown(url)} did not answer with JSON") from None

    @contextmanager
    def _stream(self, url: str, headers: Mapping[str, str], asked: str) -> Iterator[httpcore2.Response]:
        target = _checked(url, self.limits.hosts)
        name = target.host.decode()
        host = f"[{name}]" if ":" in name else name
        sent = {
            "Host": f"{host}:{target.port}" if target.port else host,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "User-Agent": "lorry",
            **headers,
        }
        if name in self._secrets and target.origin == _checked(asked, self.limits.hosts).origin:
            sent["Authorization"] = self._secrets[name]
        times = {"connect": _SILENCE, "read": _SILENCE, "write": _SILENCE, "pool": _SILENCE}
        with self._pool.stream("GET", target, headers=list(sent.items()), extensions={"timeout": times}) as response:
            yield response

    def _body(self, url: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield a body; raise UpstreamFailed where it comes too slowly or for too long."""
        since, came = time.monotonic(), 0
        for chunk in chunks:
            now, came = time.monotonic(), came + len(chunk)
            if now > self._deadline:
                raise UpstreamFailed(f"{shown(url)} took more than {self.limits.seconds:g} seconds; see --max-time")
            if now - since > PACE_SECONDS:
                if came < PACE_BYTES:
                    raise UpstreamFailed(f"{shown(url)} came too slowly: {came:,} bytes in {now - since:.0f} seconds")
                since, came = now, 0
            yield chunk


def limited(chunks: Iterable[bytes], most: int, what: str) -> Iterator[bytes]:
    """Yield no more bytes than are allowed; raise TooLarge where more come."""
    for chunk in chunks:
        most -= len(chunk)
        if most < 0:
            raise TooLarge(f"{what} is larger than may be fetched; see --max-size")
        yield chunk


def shown(url: str) -> str:
    """Return an address to be printed and recorded: without what may be a secret, its query and its fragment."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}{'?…' if parts.query else ''}"


def is_public(text: str) -> bool:
    """Tell whether an address of IP belongs to the public Internet, and what it stands for too."""
    address = ip_address(text.partition("%")[0])
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return all(is_public(str(each)) for each in _inner(address))


def _inner(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address]:
    """Yield the addresses of IPv4 that one of IPv6 leads to."""
    if isinstance(address, IPv6Address):
        yield from filter(None, (address.ipv4_mapped, address.sixtofour, (address.teredo or (None, None))[1]))
        if address in _NAT64:
            yield IPv4Address(int(address) & 0xFFFFFFFF)


def _checked(url: str, hosts: Iterable[str]) -> httpcore2.URL:
    """Return an address in its parts; raise InvalidArgument for one that cannot be asked, or must not."""
    if any(letter <= " " or letter in '\\"<>^`{|}\x7f' for letter in url):
        raise InvalidArgument(f"{shown(url)!r} has characters that no address has; check it")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").encode("idna").decode("ascii"), parts.port
    except ValueError as error:  # UnicodeError too
        raise InvalidArgument(f"{url[:80]!r} is no address: {error}") from None
    if not host or "%" in host:
        raise InvalidArgument(f"{shown(url)} names no host; write https://host/file")
    if "@" in parts.netloc:
        raise InvalidArgument(f"{shown(url)} carries a name or a password, which would be sent; leave it out")
    if parts.scheme != "https" and not (parts.scheme == "http" and host in hosts):
        raise InvalidArgument(f"{shown(url)} is no https address; --allow-host {host} permits http for this host")
    target = quote(parts.path or "/", safe=_URL_SAFE) + (
        f"?{quote(parts.query, safe=_URL_SAFE)}" if parts.query else ""
    )
    return httpcore2.URL(scheme=parts.scheme, host=host, port=port, target=target)


def _check_answer(url: str, status: int, headers: Mapping[str, str]) -> None:
    what = shown(url)
    if status in (401, 403):
        raise AccessDenied(f"{what} is not for everybody (status {status}); it needs a token")
    if status in (404, 410):
        raise NotFound(f"{what} is not there (status {status}); check the address")
    if status not in (200, 206, 416):  # the last says that there is no such range: the caller asked for it
        raise UpstreamFailed(f"{what} answered with status {status}; try again later")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise UpstreamFailed(f"{what} is sent compressed ({headers['content-encoding'][:20]}), which was not asked for")


class _Backend(httpcore2.NetworkBackend):
    """Connects to public addresses, and to those of `hosts`."""

    def __init__(self, hosts: Iterable[str], deadline: float) -> None:
        self._hosts, self._deadline, self._plain = frozenset(hosts), deadline, httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first address of a host that answers, by its number: no other can take its place."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise UpstreamFailed(f"there is no host {host}: {error}") from None
        addresses = dict.fromkeys(str(each[4][0]) for each in found)
        for address in addresses:
            self._check(host, address)
        failed: Exception = httpcore2.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                stream = self._plain.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.NetworkError, httpcore2.TimeoutException) as error:
                failed = error
                continue
            try:
                self._check(host, str(stream.get_extra_info("server_addr")[0]))
            except LorryError:
                stream.close()
                raise
            return _Timed(stream, self._deadline)
        raise failed

    def _check(self, host: str, address: str) -> None:
        if host not in self._hosts and not is_public(address):
            raise InvalidArgument(
                f"{host}{'' if host == address else f' ({address})'} is no public machine, and nothing is fetched from "
                f"others; --allow-host {host} permits it"
            )


class _Timed(httpcore2.NetworkStream):
    """A stream that nothing is read from and written to after the deadline."""

    def __init__(self, stream: httpcore2.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what is there."""
        return self._stream.read(max_bytes, self._left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write everything."""
        self._stream.write(buffer, self._left(timeout))

    def close(self) -> None:
        """Close it."""
        with suppress(OSError):
            self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """Go on by TLS."""
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, self._left(timeout)), self._deadline)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401  the library's own signature
        """Return what the stream knows."""
        return self._stream.get_extra_info(info)

    def _left(self, timeout: float | None) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("the time is up")
        return min(left, timeout if timeout is not None else left)
