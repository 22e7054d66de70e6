"""Finding what goes into a recipe: by the path or reference it tells, and by digest wherever else it may stand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from lorry.errors import InvalidArgument, LorryError, NotFound, VerificationFailed
from lorry.ir.frame import Published
from lorry.ops.bases.base import open_base
from lorry.ops.headers.recipe import known_digest, known_sha256, told_folder, told_model
from lorry.ops.reading.read import SEVERAL
from lorry.plugin.host import Host
from lorry.recipe.document import Input, Model

_MOST_FILES = 100_000


class Found(NamedTuple):
    """What was found: its files or its folder, where that was in words, and the digests that tell its content.

    `version` is the published version that it is, where the recipe tells one or a reference meant one.
    """

    paths: tuple[Path, ...]
    where: str
    digests: tuple[str, ...]
    version: Published | None = None

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(each.stat().st_size for path in self.paths for each in _files_of(path))


@dataclass(kw_only=True)
class Finder:
    """Looks where a recipe's inputs may be.

    folder: what its paths are seen from. given: paths by the names that the recipe has for inputs and models.
    below: folders to search for digests. stored(sha256): a file of a store of one's own, asked before all others.
    """

    plugins: Host
    folder: Path = Path()
    given: Mapping[str, Path] = field(default_factory=dict)
    below: Sequence[Path] = ()
    stored: Callable[[str], Path | None] = lambda _: None
    _used: set[str] = field(default_factory=set)

    def check_all_used(self) -> None:
        """Raise InvalidArgument where a path was given for something that the recipe does not have."""
        if strange := [name for name in self.given if name not in self._used]:
            raise InvalidArgument(f"the recipe has no input that is called {strange[0]!r}; look at it with --dry-run")

    def adapter(self, wanted: Input) -> Found | None:
        """Find an adapter; return None where there is only a recipe for it.

        Raises NotFound saying what was looked for where, and VerificationFailed where another file was given for it.
        """
        tried: list[str] = []
        names = [wanted.adapter, Path(wanted.adapter).name, Path(wanted.adapter).stem, *wanted.files]
        if given := self._given(names):
            paths = self._fitting((given,), wanted.files)
            if paths is None:
                raise VerificationFailed(f"{given} is not the {_called(wanted)} that the recipe was made with")
            return self._found(paths, "as given", wanted)
        for paths, where, version in self._named(wanted.adapter):
            fitting = self._fitting(paths, wanted.files)
            if fitting is not None:
                return self._found(fitting, where, wanted, version)
            tried.append(f"{where}: another content")
        if wanted.files:
            if found := self._all_by_digest(wanted.files):
                return self._found(tuple(path for path, _ in found), found[0][1], wanted)
            tried += ["stores by digest", *(f"below {each}" for each in self.below)]
        if wanted.recipe is not None:
            return None
        looked = f" (looked at {'; '.join(tried)})" if tried else ""
        raise NotFound(
            f"{_called(wanted)} is needed and not found{looked}; say where it is with --input "
            f"{Path(wanted.adapter).name or 'NAME'}=PATH, or where to search for its digest with --find-in FOLDER"
        )

    def model(self, wanted: Model, *, folder_only: bool = False) -> Found | None:
        """Find a base model, or only a folder of configurations; as `adapter`."""
        name = wanted.name or Path(wanted.path).name
        if given := self._given([wanted.path, wanted.name, name]):
            if not _holds(given, wanted.files):
                raise VerificationFailed(f"{given} is not the {name} that the recipe was made with: its digests differ")
            return self._found_model(given, "as given", wanted, folder_only=folder_only)
        tried = []
        for path, where in self._models(wanted, name):
            if _holds(path, wanted.files):
                return self._found_model(path, where, wanted, folder_only=folder_only)
            tried.append(f"{where}: another content")
        if wanted.recipe is not None:
            return None
        looked = f" (looked at {'; '.join(tried)})" if tried else ""
        raise NotFound(
            f"the model {name} is needed and not found{looked}; say where it is with --input {name}=PATH, or in "
            "which folder it stands under that name with --find-in FOLDER"
        )

    def _given(self, names: Sequence[str]) -> Path | None:
        name = next((each for each in names if each and each in self.given), None)
        if name is None:
            return None
        self._used.add(name)
        path = self.given[name]
        if not path.exists():
            raise NotFound(f"{path}, given for {name}, does not exist")
        return path

    def _named(self, text: str) -> Iterator[tuple[tuple[Path, ...], str, Published | None]]:
        """Yield the files that a path or reference names, where that is, and the version that a reference means."""
        if not text:
            return
        for parts in ([text], text.split(SEVERAL)):
            paths = tuple(self.folder / part for part in parts)
            if all(path.exists() for path in paths):
                yield paths, SEVERAL.join(map(str, paths)), None
                return
        for store in self.plugins.stores().values():
            with suppress(NotFound):
                files, version = store.answer(text)
                if files:
                    yield files, f"{text} ({store.title})", version

    def _all_by_digest(self, files: Mapping[str, str]) -> list[tuple[Path, str]]:
        """Return a file for each digest, and where it was; none at all where one of them is nowhere."""
        found = []
        for name, digest in files.items():
            one = self._by_digest(name, digest)
            if one is None:
                return []
            found.append(one)
        return found

    def _by_digest(self, name: str, digest: str) -> tuple[Path, str] | None:
        """Return a file of this digest, and where it was; raise VerificationFailed where it is only found damaged."""
        damage: VerificationFailed | None = None
        algorithm, _, digits = digest.partition(":")
        if algorithm == "sha256":
            stores = [(self.stored, "the registry")]
            stores += [(each.file, each.title) for each in self.plugins.stores().values()]
            for ask, where in stores:
                try:
                    path = ask(digits)
                except VerificationFailed as error:
                    damage = damage or error
                    continue
                if path:
                    return path, where
        alike = sorted(self._candidates, key=lambda path: path.name != name)
        found = next(((path, str(path)) for path in alike if _is(path, digest)), None)
        if damage and not found:
            raise damage
        return found

    @cached_property
    def _candidates(self) -> list[Path]:
        """Every file that may hold an adapter below the folders to search."""
        suffixes = {suffix for each in self.plugins.containers().values() for suffix in each.suffixes} | {".json"}
        return [path for path in self._walk() if path.suffix.lower() in suffixes and path.is_file()]

    def _walk(self) -> Iterator[Path]:
        seen = 0
        for top in self.below:
            if not top.is_dir():
                raise NotFound(f"{top} is no folder to search in")
            for at, folders, files in os.walk(top):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                for name in (*folders, *sorted(files)):
                    seen += 1
                    if seen > _MOST_FILES:
                        raise LorryError(f"{top} holds more than {_MOST_FILES:,} files; name a smaller folder")
                    yield Path(at, name)

    def _models(self, wanted: Model, name: str) -> Iterator[tuple[Path, str]]:
        known = {each: path for store in self.plugins.stores().values() for each, path in store.bases().items()}
        places = [self.folder / wanted.path] if wanted.path else []
        places += [known[each] for each in (wanted.path, name) if each in known]
        places += [self.folder / name, *(path for path in self._walk() if path.name == name)]
        if wanted.files:
            places += known.values()
        yield from ((path, str(path)) for path in dict.fromkeys(places) if path.exists())

    @staticmethod
    def _fitting(paths: Sequence[Path], files: Mapping[str, str]) -> tuple[Path, ...] | None:
        """Return the paths, where they hold every file by its digest: of a folder the files by name."""
        if not files:
            return tuple(paths)
        if len(paths) == 1 and paths[0].is_dir():
            return tuple(paths) if _holds(paths[0], files) else None
        chosen = [next((path for path in paths if _is(path, digest)), None) for digest in files.values()]
        return None if None in chosen else tuple(path for path in chosen if path)

    @staticmethod
    def _found(paths: tuple[Path, ...], where: str, wanted: Input, version: Published | None = None) -> Found:
        told = tuple(wanted.files.values())
        if told and wanted.version:  # the same files: what is made of them tells the same version again
            version = Published(wanted.version.reference, wanted.version.digest)
        digests = told or tuple(f"sha256:{known_sha256(each)}" for p in paths for each in _files_of(p))
        return Found(paths, where, digests, version)

    def _found_model(self, path: Path, where: str, wanted: Model, *, folder_only: bool) -> Found:
        files: Mapping[str, str] = wanted.files
        if not files:
            told = told_folder(path) if folder_only else told_model(open_base(path, self.plugins), self.plugins)
            files = told["files"]
        return Found((path,), where, tuple(files.values()))


def _called(wanted: Input) -> str:
    digests = ", ".join(wanted.files.values())
    return " ".join(filter(None, (wanted.adapter or "an adapter", f"({digests})" if digests else "")))


def _holds(path: Path, files: Mapping[str, str]) -> bool:
    """Tell whether a file, told of under the name "", or a folder has all files by name and digest."""
    places = {path / name if name else path: digest for name, digest in files.items()}
    return all(place.is_file() for place in places) and all(_is(place, digest) for place, digest in places.items())


def _is(path: Path, digest: str) -> bool:
    if not path.is_file():
        return False
    return digest == (known_digest(path) if digest.startswith("blake3:") else f"sha256:{known_sha256(path)}")


def _files_of(path: Path) -> list[Path]:
    return sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
