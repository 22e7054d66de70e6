"""Files at https addresses: `https://host/file.safetensors#sha256=…`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from lorry.errors import InvalidArgument, UpstreamFailed
from lorry.ir.watch import watch
from lorry.plugin.fetched import PART, Facts, Fetched, Limits
from lorry_registry.disk import durable
from lorry_registry.sources.file_names import name_of
from lorry_registry.sources.guarded import Answer, Cut, Guarded, TooLarge, limited, shown

_TRIES = 5
_WHOLE, _PARTIAL = 200, 206
_SHA256 = re.compile(r"sha256=([0-9a-fA-F]{64})")
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


def fetch(address: str, into: Path, limits: Limits) -> Fetched:
    """Fetch one file; a sha256 behind the # is told for it. See `lorry.plugin.Store`."""
    url, _, fragment = address.partition("#")
    told = _SHA256.fullmatch(fragment)
    if fragment and not told:
        raise InvalidArgument(f"what stands behind the # of {shown(url)} must be sha256= and 64 hexadecimal digits")
    with Guarded(limits) as web:
        file = download(web, url, into, limits.nbytes)
    return Fetched((file,), Facts(shown(url), hashes={file.name: {"SHA256": told[1].lower()}} if told else {}))


def download(web: Guarded, url: str, into: Path, most: int, name: str = "") -> Path:
    """Fetch one file of at most so many bytes into a folder, under a name made safe; return where it is.

    Where the connection is cut, or an earlier fetch was, it goes on from there if the server has ranges and a strong
    ETag, and begins anew else.
    """
    part = _Part(into, url)
    for left in reversed(range(_TRIES)):
        before = part.size
        try:
            with web.get(url, part.wanted()) as answer:
                chunks = part.begin(answer, most, shown(url))
                with part.file.open("ab") as file:
                    for chunk in chunks:
                        file.write(chunk)
                        file.flush()  # what came is there for the next one, whatever ends this process
                        watch().advance(len(chunk))
                named = name or name_of(answer.headers.get("content-disposition", ""), url, answer.url)
                return part.finish(named)
        except Cut:
            stale = before and not part.size
            if not left or (part.size <= before and not stale):  # it does not get on
                raise
        except TooLarge:
            part.drop()
            raise
    raise UpstreamFailed(f"{shown(url)} was cut off {_TRIES} times; try again later")


class _Part(NamedTuple):
    """The beginning of a file, and beside it the ETag of what it is the beginning of."""

    into: Path
    url: str

    @property
    def file(self) -> Path:
        return self.into / f"{hashlib.sha256(self.url.encode()).hexdigest()[:16]}{PART}"

    @property
    def tag(self) -> Path:
        return self.file.with_suffix(f".etag{PART}")

    @property
    def size(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0

    def wanted(self) -> Mapping[str, str]:
        """Return the headers that ask for the rest, or for everything."""
        tag = self.tag.read_text(encoding="ascii") if self.size and self.tag.exists() else ""
        return {"Range": f"bytes={self.size}-", "If-Range": tag} if tag else {}

    def begin(self, answer: Answer, most: int, what: str) -> Iterator[bytes]:
        """Make ready for what an answer brings, the rest or everything; return that, of bytes that may come."""
        rest = _RANGE.fullmatch(answer.headers.get("content-range", "")) if answer.status == _PARTIAL else None
        if answer.status != _WHOLE and not (rest and int(rest[1]) == self.size):
            self.drop()
            raise Cut(f"{what}: the server sent another part of the file than was asked for; try again")
        if not rest:
            self.drop()
            tag = answer.headers.get("etag", "")
            if re.fullmatch(r'"[\x21\x23-\x7e]*"', tag):  # a weak one says nothing of bytes
                self.tag.write_text(tag, encoding="ascii")
        total = rest[2] if rest else answer.headers.get("content-length", "")
        if total.isdecimal():
            watch().expect(int(total) - self.size)
        if total.isdecimal() and int(total) > most:
            raise TooLarge(f"{what} is {int(total):,} bytes, more than may be fetched; see --max-size")
        return limited(answer.body, most - self.size, what)

    def finish(self, name: str) -> Path:
        """Give the whole file its name, another where that is taken."""
        name = name.removesuffix(PART) or "download"
        target, number = self.into / name, 2
        while target.exists():
            target = self.into / f"{Path(name).stem}-{number}{Path(name).suffix}"
            number += 1
        self.tag.unlink(missing_ok=True)
        if not durable.WINDOWS:
            self.file.chmod(durable.READ_ONLY)
        return self.file.rename(target)

    def drop(self) -> None:
        """Take it away."""
        self.file.unlink(missing_ok=True)
        self.tag.unlink(missing_ok=True)
