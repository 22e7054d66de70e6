"""Harm from inside: in a process, the k-th call that changes the disk goes wrong.

`Faults` takes the place of the functions of `os` and `io` through which Python changes a disk. It tells every call that
was made, and at the k-th it does what it is told to: a SIGKILL before it, a SIGKILL in the middle of a write, an error
from the system, or an error from there on. It is for a process that was made to die: nothing is put back.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

KILLED, TORN, EIO, ENOSPC, DEAD = "killed", "torn", "EIO", "ENOSPC", "dead disk"
HARMS = (KILLED, TORN, EIO, ENOSPC, DEAD)
"""killed: SIGKILL before the call. torn: half of a write, then SIGKILL. EIO, ENOSPC: this call fails, the ones after
it do not. dead disk: this call and all after it fail."""

_ERRNO = {EIO: errno.EIO, ENOSPC: errno.ENOSPC, DEAD: errno.EIO}

T = TypeVar("T")


class Call(NamedTuple):
    """One call that changed the disk.

    name: create, write, fsync, link, rename, mkdir, unlink, rmdir or copy_file_range. path, target: what it was given,
    as absolute paths. size: of the file, at an fsync.
    """

    name: str
    path: str
    target: str = ""
    size: int = 0


class Faults:
    """Does `harm` at the `at`-th call, counted from 1 (0: never), and adds each call made to the file `told`."""

    def __init__(self, at: int, harm: str, told: Path) -> None:
        self._at, self._harm, self._number = at, harm, 0
        self._told = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._write = os.write
        self._install()

    def do(self, call: Call, act: Callable[[], T], half: Callable[[], object] | None = None) -> T:
        """Make a call, or do harm instead."""
        self._number += 1
        if self._number == self._at or (self._harm == DEAD and 0 < self._at < self._number):
            self._tell("harm", *call)
            if self._harm in _ERRNO:
                raise OSError(_ERRNO[self._harm], os.strerror(_ERRNO[self._harm]), call.path)
            if self._harm == TORN and half:
                half()
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            result = act()
        except OSError:
            self._tell("failed", *call)
            raise
        self._tell("call", *call)
        return result

    def _tell(self, *entry: object) -> None:
        self._write(self._told, json.dumps(entry).encode() + b"\n")

    def _install(self) -> None:
        self._replace_files()
        for name, told in {"link": "link", "rename": "rename", "replace": "rename"}.items():
            setattr(os, name, self._of_two(told, getattr(os, name)))
        for name in ("mkdir", "unlink", "rmdir"):
            setattr(os, name, self._of_one(name, getattr(os, name)))
        os.remove = os.unlink
        if hasattr(os, "copy_file_range"):
            os.copy_file_range = self._copied(os.copy_file_range)

    def _replace_files(self) -> None:
        """Replace what makes, writes and syncs a file."""
        real_open, real_write, real_fsync, real_io_open = os.open, os.write, os.fsync, io.open

        def open_(path: Any, flags: int, *rest: Any, **named: Any) -> int:
            if not flags & os.O_CREAT or Path(path).exists():
                return real_open(path, flags, *rest, **named)
            return self.do(Call("create", _absolute(path)), lambda: real_open(path, flags, *rest, **named))

        def write(descriptor: int, data: Any) -> int:
            view, half = memoryview(data), memoryview(data)[: len(data) // 2]
            call = Call("write", _path_of(descriptor))
            return self.do(call, lambda: real_write(descriptor, view), lambda: real_write(descriptor, half))

        def fsync(descriptor: int) -> None:
            call = Call("fsync", _path_of(descriptor), size=os.fstat(descriptor).st_size)
            self.do(call, lambda: real_fsync(descriptor))

        class Raw(io.FileIO):
            def write(self, data: Any, /) -> int:
                return write(self.fileno(), data)

        def fdopen(descriptor: int, *_: Any, **__: Any) -> Any:
            return io.BufferedWriter(Raw(descriptor, "wb"))

        def io_open(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
            if "b" not in mode or mode == "rb":
                return real_io_open(file, mode, *rest, **named)
            flags = {"w": os.O_CREAT | os.O_TRUNC, "x": os.O_CREAT | os.O_EXCL, "a": os.O_CREAT | os.O_APPEND, "r": 0}
            return io.BufferedRandom(Raw(open_(file, os.O_RDWR | flags[mode[0]], 0o666), "r+b"))

        for module, name, stand_in in (
            (os, "open", open_), (os, "write", write), (os, "fsync", fsync), (os, "fdopen", fdopen),
            (io, "open", io_open), (builtins, "open", io_open),
        ):  # fmt: skip
            setattr(module, name, stand_in)

    def _of_one(self, name: str, real: Callable[..., None]) -> Callable[..., None]:
        def call(path: Any, *rest: Any, **named: Any) -> None:
            where = _absolute(path, named.get("dir_fd"))
            self.do(Call(name, where), lambda: real(path, *rest, **named))

        return call

    def _of_two(self, name: str, real: Callable[..., None]) -> Callable[..., None]:
        def call(source: Any, target: Any, **named: Any) -> None:
            self.do(Call(name, _absolute(source), _absolute(target)), lambda: real(source, target, **named))

        return call

    def _copied(self, real: Callable[..., int]) -> Callable[..., int]:
        def call(source: int, target: int, count: int, *rest: Any, **named: Any) -> int:
            return self.do(
                Call("copy_file_range", _path_of(target)),
                lambda: real(source, target, count, *rest, **named),
                lambda: real(source, target, count // 2, *rest, **named),
            )

        return call


class Told(NamedTuple):
    """What a process with faults told: the calls it made, the names of all it tried, and whether harm was done."""

    calls: list[Call]
    tried: list[str]
    harmed: bool


def read_told(told: Path) -> Told:
    """Read what was told, and remove it."""
    entries = [json.loads(line) for line in told.read_text("utf-8").splitlines()] if told.exists() else []
    told.unlink(missing_ok=True)
    calls = [Call(*entry[1:]) for entry in entries if entry[0] == "call"]
    return Told(calls, [entry[1] for entry in entries], any(entry[0] == "harm" for entry in entries))


def _absolute(path: Any, folder: int | None = None) -> str:
    return str(Path(_path_of(folder) if folder is not None else Path.cwd(), os.fsdecode(path)))


def _path_of(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink()) if os.name == "posix" else ""
