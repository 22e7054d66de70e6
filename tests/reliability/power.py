"""A power cut: what is left of a folder when only that is on the disk which was synced.

POSIX promises little: bytes are on the disk once their file was synced, a name once its folder was. `Disk` makes the
two worst folders that this allows for. Either every name that was not synced is gone, or every name is there, and the
bytes that were not synced are not: a file system writes names and bytes in any order it likes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from tests.reliability.faults import Call


class Disk:
    """Follows the calls of a process: which file has which name, for everybody and surely."""

    def __init__(self, before: Path, folder: Path) -> None:
        """Start with a folder whose content `before` is all on the disk."""
        self._before, self._folder, self._numbers = before, folder, count()
        self.names: dict[str, int] = {}
        self._bytes: dict[int, tuple[Path, int]] = {}
        for path in [before, *sorted(before.rglob("*"))]:
            number = self._name(str(folder / path.relative_to(before)))
            if path.is_file():
                self._bytes[number] = path, path.stat().st_size
        self.sure = dict(self.names)

    def follow(self, calls: Iterable[Call]) -> None:
        """Take calls into account; those outside the folder do not matter."""
        for call in calls:
            if Path(call.path).is_relative_to(self._folder):
                self._follow(call)

    def rest(self, target: Path, *, names_stay: bool) -> None:
        """Make the folder as a power cut leaves it now."""
        names = self.names if names_stay else self.sure
        now = {number: Path(path) for path, number in self.names.items()}
        for path in sorted(names):
            number, place = names[path], target / Path(path).relative_to(self._folder)
            if any(str(above) not in names for above in Path(path).parents if above.is_relative_to(self._folder)):
                continue
            if number not in self._bytes:
                place.mkdir()
                continue
            before, size = self._bytes[number]
            source = now.get(number, before)
            shutil.copyfile(source, place)
            with place.open("r+b") as file:
                file.truncate(size)
            shutil.copystat(source, place)

    def _follow(self, call: Call) -> None:
        match call.name:
            case "create":
                self._bytes[self._name(call.path)] = Path(call.path), 0
            case "mkdir":
                self._name(call.path)
            case "link":
                self.names[call.target] = self.names[call.path]
            case "rename":
                for path in [path for path in self.names if Path(path).is_relative_to(call.path)]:
                    self.names[call.target + path.removeprefix(call.path)] = self.names.pop(path)
            case "unlink" | "rmdir":
                del self.names[call.path]
            case "fsync" if self.names[call.path] in self._bytes:
                number = self.names[call.path]
                self._bytes[number] = self._bytes[number][0], call.size
            case "fsync":
                self._sync_folder(call.path)

    def _name(self, path: str) -> int:
        self.names[path] = next(self._numbers)
        return self.names[path]

    def _sync_folder(self, folder: str) -> None:
        kept = {path: number for path, number in self.sure.items() if str(Path(path).parent) != folder}
        now = {path: number for path, number in self.names.items() if str(Path(path).parent) == folder}
        self.sure = kept | now
