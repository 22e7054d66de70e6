"""Commits: the files of a repository at one time, and the commit before."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lorry.errors import InvalidArgument, VerificationFailed
from lorry_registry.disk import durable
from lorry_registry.home.blobs import Content
from lorry_registry.version import canonical_json

ID_LENGTH = 40
"""Hexadecimal digits of a commit's id: as many as git's, which clients look for."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: its sha256, its bytes, its id as a git blob, and whether clients send and check it by sha256."""

    sha256: str
    size: int
    oid: str
    lfs: bool

    @property
    def content(self) -> Content:
        """What its blob holds."""
        return Content(self.sha256, self.size)

    @property
    def etag(self) -> str:
        """What tells clients that it changed: what they can work out from the bytes by themselves."""
        return self.sha256 if self.lfs else self.oid


def plain_entry(data: bytes) -> Entry:
    """Return the entry of a small file, named by git's hash of it."""
    return Entry(hashlib.sha256(data).hexdigest(), len(data), git_oid(data), lfs=False)


def lfs_entry(content: Content) -> Entry:
    """Return the entry of a file named by its sha256; git holds a pointer to it (github.com/git-lfs, docs/spec.md)."""
    return Entry(content.sha256, content.size, git_oid(pointer(content)), lfs=True)


def pointer(content: Content) -> bytes:
    """Return the text that git holds in place of the file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{content.sha256}\nsize {content.size}\n".encode()


def git_oid(data: bytes) -> str:
    """Return git's name of a blob: clients compare it with their files."""
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """All files by path. `time` is UTC, "2026-01-31T12:00:00.000Z"; `parent` is the id of the commit before."""

    files: Mapping[str, Entry]
    parent: str | None = None
    title: str = ""
    message: str = ""
    author: str = ""
    time: str = ""
    id: str = field(default="", compare=False)

    def to_bytes(self) -> bytes:
        """Write it down in canonical form."""
        told = {"parent": self.parent, "title": self.title, "message": self.message}
        files = {path: asdict(entry) for path, entry in self.files.items()}
        return canonical_json.dump({**told, "author": self.author, "time": self.time, "files": files})

    @staticmethod
    def from_bytes(data: bytes, commit_id: str) -> Commit:
        """Read a stored commit; raise VerificationFailed where it is not the one of this id."""
        if commit_hash(data) != commit_id:
            raise VerificationFailed(f"commit {commit_id} is damaged: its bytes have another hash")
        try:
            told: dict[str, Any] = canonical_json.load(data)
            files = {path: Entry(**entry) for path, entry in told.pop("files").items()}
            return Commit(**told, files=files, id=commit_id)
        except (InvalidArgument, TypeError, AttributeError, KeyError) as error:
            raise VerificationFailed(f"commit {commit_id} is damaged: {error}") from error


def read_files(path: Path) -> dict[str, Entry] | None:
    """Read the files of a commit from a record of their own; None where there is none, or it is damaged."""
    with suppress(FileNotFoundError, InvalidArgument, TypeError, AttributeError):
        return {name: Entry(**entry) for name, entry in canonical_json.load(path.read_bytes()).items()}
    return None


def write_files(draft: Path, files: Mapping[str, Entry]) -> None:
    """Write such a record."""
    durable.write(draft, canonical_json.dump({path: asdict(entry) for path, entry in files.items()}))


def commit_hash(data: bytes) -> str:
    """Return the id of a commit: the first 40 hexadecimal digits of its sha256."""
    return hashlib.sha256(data).hexdigest()[:ID_LENGTH]


_EMPTY = Commit(files={}, title="initial commit", time="1970-01-01T00:00:00Z")
EMPTY = replace(_EMPTY, id=commit_hash(_EMPTY.to_bytes()))
"""The commit of a repository that nobody wrote to yet."""

_BINARY = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".png", ".jpg", ".jpeg", ".webp", ".zip")
_LARGEST_PLAIN = 1 << 20


def is_lfs(path: str, size: int, sample: bytes) -> bool:
    """Tell whether a file goes by its sha256: what is large or no text, as on the Hub; `sample` are its first bytes."""
    return size > _LARGEST_PLAIN or path.lower().endswith(_BINARY) or b"\0" in sample
