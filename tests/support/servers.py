"""Real HTTP servers on this machine, that answer as a test wants: honestly, or not."""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Any

HOST = "127.0.0.1"


@dataclass
class Asked:
    """A request that came: its path with the query, and its headers, names in lower case."""

    path: str
    headers: Mapping[str, str]


@dataclass
class Reply:
    """What is answered; `body` may also write to the socket itself, and `length` be a lie."""

    body: bytes | Callable[[BufferedIOBase], None] = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = -1

    def send(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(self.status)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        if isinstance(self.body, bytes) and self.length is not None:
            handler.send_header("Content-Length", str(len(self.body) if self.length < 0 else self.length))
        handler.end_headers()
        if isinstance(self.body, bytes):
            handler.wfile.write(self.body)
        else:
            self.body(handler.wfile)


Answer = Callable[[Asked], Reply | None]


@dataclass
class Server:
    """One that runs; `asked` is what came so far."""

    url: str
    asked: list[Asked]


@contextmanager
def serving(answer: Answer, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Run a server as long as the block does; 404 where `answer` gives None."""
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(Asked(self.path, {name.lower(): value for name, value in self.headers.items()}))
            (answer(asked[-1]) or Reply(status=404)).send(self)

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            """Say nothing: clients hang up on servers that lie."""

    server = Quiet((HOST, 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    port = server.server_address[1]
    try:
        yield Server(f"http{'s' if context else ''}://{HOST}:{port!s}", asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def files(held: Mapping[str, bytes], *, tag: str = '"one"') -> Answer:
    """Return what serves files by path, with a strong ETag and ranges."""

    def answer(asked: Asked) -> Reply | None:
        data = held.get(asked.path.partition("?")[0])
        if data is None:
            return None
        wanted = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
        if wanted and asked.headers.get("if-range") in (None, tag):
            at = int(wanted[1])
            told = {"Content-Range": f"bytes {at}-{len(data) - 1}/{len(data)}", "ETag": tag}
            return Reply(data[at:], 206, told)
        return Reply(data, headers={"ETag": tag})

    return answer


def as_json(value: Any) -> Reply:
    return Reply(json.dumps(value).encode(), headers={"Content-Type": "application/json"})
