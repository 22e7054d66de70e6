"""Where foreign adapters come from: paths of this machine, and addresses that a store fetches."""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lorry.errors import InvalidFile, LorryError, NotFound, UnknownName, VerificationFailed
from lorry.ops.disk.batch import find
from lorry.ops.headers import sides
from lorry.ops.judging.findings import REJECT
from lorry.ops.judging.validate import validate
from lorry.ops.reading.companions import companions
from lorry.ops.reading.files import inside, is_program
from lorry.ops.reading.read import open_adapter
from lorry.plugin.fetched import Facts, Fetched, Limits
from lorry.plugin.host import Host
from lorry.plugin.store import Store
from lorry_registry.adding.examine import PICTURES
from lorry_registry.disk import durable
from lorry_registry.home.blobs import copy
from lorry_registry.publishing.admission import rejecting
from lorry_registry.publishing.publish import choose
from lorry_registry.sources.civitai_facts import side_facts

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
"""Two letters at least: one is a drive of Windows."""


@dataclass(frozen=True, slots=True)
class Local:
    """Files of one adapter on this machine; `home` is the folder that they were found below."""

    paths: tuple[Path, ...]
    home: Path | None = None

    def __str__(self) -> str:
        return " ".join(map(str, self.paths))

    def check(self, plugins: Host) -> None:
        """Raise what reading it raises, so that what is no adapter need not be copied to be refused."""
        if self.home is not None:
            for path in self.paths:
                if not path.exists():
                    raise InvalidFile(f"{path} is a link that leads nowhere")
                inside(self.home, path)
        subject = list(self.paths) if len(self.paths) > 1 else self.paths[0]
        if not any(is_program(file, plugins) for path in self.paths for file in _files(path)):
            with rejecting():
                open_adapter(subject, plugins=plugins)
            return
        verdict = validate(subject)
        if verdict.verdict == REJECT:
            raise VerificationFailed(f"{self}: {verdict.findings[0].what}")

    def bring(self, into: Path, leave: Collection[Path] = ()) -> Fetched:
        """Copy the files, and the pictures beside a single one, into a folder; what side files say are the facts.

        Files to `leave` where they are are not copied.
        """
        chosen = {Path(name).name: file for name, file in choose(self.paths).items()}
        if len(self.paths) == 1 and self.paths[0].is_file():
            chosen |= {file.name: file for file in _pictures(self.paths[0])}
        brought = {name: file if file in leave else into / name for name, file in chosen.items()}
        for name, file in chosen.items():
            if file not in leave:
                copy(file, into / name, durable.READ_ONLY)
        words = [word for path in self.paths if path.is_file() for word in _words(path)]
        told = next((facts for path in self.paths if path.is_file() and (facts := side_facts(path))), Facts(""))
        return Fetched(tuple(brought.values()), told._replace(trigger_words=tuple(dict.fromkeys(words))))


@dataclass(frozen=True, slots=True)
class Remote:
    """An address that a store fetches."""

    address: str
    store: Store
    limits: Limits

    def __str__(self) -> str:
        return self.address

    @property
    def key(self) -> str:
        """Return the name of the folder that an interrupted fetch of this address goes on in."""
        return f"fetch-{hashlib.sha256(self.address.encode()).hexdigest()[:16]}"

    def check(self, plugins: Host) -> None:
        """Do nothing: what is there is not known before it is here."""

    def bring(self, into: Path, leave: Collection[Path] = ()) -> Fetched:
        """Fetch what is there into a folder; raise InvalidFile where the store kept to no rule of its contract."""
        del leave  # nothing of it is here
        module, _, attribute = self.store.fetch.partition(":")
        fetched: Fetched = getattr(importlib.import_module(module), attribute)(self.address, into, self.limits)
        for file in fetched.files:
            if file.parent != into or file.is_symlink() or not file.is_file():
                raise InvalidFile(f"{self.address}: the store {self.store.name} put {file.name} where it must not")
        return fetched


Origin = Local | Remote


def origins(sources: Sequence[str], plugins: Host, limits: Limits, *, together: bool) -> Iterator[Origin]:
    """Yield where every adapter among `sources` comes from: addresses, files, and below folders every adapter.

    `together` says that all paths are the files of one. Raises NotFound for what is neither a path nor an address
    and for a folder without an adapter, and UnknownName for an address that no store fetches.
    """
    stores = [each for each in plugins.stores().values() if each.fetch]
    fetching = {scheme: each for each in stores for scheme in each.schemes}
    paths: list[Path] = []
    for source in sources:
        scheme = scheme_of(source)
        if not scheme:
            paths.append(Path(source).expanduser())
        elif scheme not in fetching:
            raise UnknownName("kind of address", scheme, fetching, "a plugin may add one")
        else:
            shown = next((each for each in stores if each.pages and source.startswith(each.pages)), None)
            yield Remote(source, shown or fetching[scheme], limits)
    if together and paths:
        yield Local(tuple(paths))
        return
    for path in paths:
        seen: set[Path] = set()
        there = list(find([path], plugins))
        if not there:
            raise NotFound(f"{path} holds no adapter; name the folder or the file that is one")
        for found in there:
            if found not in seen:
                # Of several files that make up one adapter by their names, all come at once.
                group = (found, *companions(found, plugins)) if path.is_dir() else (found,)
                seen.update(group)
                yield Local(group, path if path.is_dir() else None)


def _files(path: Path) -> Iterable[Path]:
    return filter(Path.is_file, path.iterdir()) if path.is_dir() else (path,)


def scheme_of(source: str) -> str:
    """Return what an address begins with, "" for what is none or is there as a file."""
    found = _SCHEME.match(source)
    return found[1].lower() if found and not Path(source).exists() else ""


def _words(path: Path) -> Iterator[str]:
    for side in sides.beside(path):
        yield from sides.words(side.name, side.read_bytes())


def _pictures(path: Path) -> Iterator[Path]:
    """Yield the previews of a file of weights: cat.png and cat.preview.png beside cat.safetensors."""
    for suffix in PICTURES:
        for name in (f"{path.stem}{suffix}", f"{path.stem}.preview{suffix}"):
            picture = path.with_name(name)
            if picture.is_file() and not picture.is_symlink():
                yield picture


def reason(error: LorryError, origin: Origin) -> str:
    """Say what an error says, without the path that stands beside it anyway."""
    return str(error).removeprefix(str(origin)).lstrip(": ")
