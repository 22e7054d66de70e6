"""Rot: bytes that change, end early or are another file's, in any kind of file a registry's home holds."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lorry.errors import LorryError
from lorry_registry import Registry
from lorry_registry.home.view import adapter_files
from lorry_registry.references.reference import Reference
from tests.registry.helpers import write_lora

Harm = Callable[[bytes], bytes]

KINDS = {
    "FORMAT": "FORMAT",
    "weights": "blobs/sha256/*/*",
    "manifest": "blobs/sha256/*/*",
    "version": "names/*/*/versions/*",
    "note": "names/*/*/notes/*",
    "alias": "names/*/*/aliases/*",
    "log": "names/*/*/log.jsonl",
    "view": "views/*/*",
    "index": "index.sqlite",
}
"""Every kind of file that a registry writes, and where it stands."""


def make(home: Path, sources: Path) -> Registry:
    """Make a registry in which every kind of file is there twice at least, where there can be two."""
    registry = Registry(home)
    sources.mkdir()
    for number, reference in enumerate(("demo/cat@1.0.0", "demo/cat@1.1.0", "demo/dog@1.0.0", "demo/dog@1.1.0")):
        file = write_lora(sources / f"{number}.safetensors", seed=number)
        registry.publish(reference, [file], aliases=["best", "tried"])
    registry.set_alias("demo/cat@best", "1.0.0")
    registry.yank("demo/cat@1.1.0", "it barks")
    registry.deprecate("demo/dog@1.1.0", "it meows")
    for adapter in ("demo/cat", "demo/dog"):
        adapter_files(registry.store, registry.resolve(f"{adapter}@1.0.0"))
    for view in home.glob("views/*/*"):  # a copy, as on a disk without hard links
        data = view.read_bytes()
        view.unlink()
        view.write_bytes(data)
    registry.ls()
    return registry


def files(registry: Registry, kind: str) -> list[Path]:
    """Return the files of a kind."""
    manifests = {registry.store.resolve(reference).digest for reference in registry.store.published()}
    found = sorted(registry.home.glob(KINDS[kind]))
    if kind in ("weights", "manifest"):
        found = [path for path in found if (path.name in manifests) == (kind == "manifest")]
    return found


def flips(data: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield the bytes with one bit another: at the first, at the last, and at others by chance."""
    chance = random.Random(seed)
    bits = {0, len(data) * 8 - 1, *(chance.randrange(len(data) * 8) for _ in range(count))}
    for bit in sorted(bits):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def cuts(data: bytes) -> Iterator[bytes]:
    """Yield the bytes ended early."""
    yield from (data[:end] for end in sorted({0, 1, len(data) // 2, len(data) - 1}))


def overwrite(path: Path, data: bytes) -> None:
    """Change a file in place, as a failing disk does: read-only and linked elsewhere as it is."""
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


def answers(home: Path) -> Mapping[str, Any]:
    """Return all that a registry answers: to each question what it says, or the name of the error it raises."""
    told: dict[str, Any] = {}

    def ask(question: str, answer: Callable[[], Any]) -> None:
        try:
            told[question] = answer()
        except LorryError as error:
            told[question] = type(error)

    ask("open", lambda: Registry(home).ls() and None)
    if told["open"] is not None:
        return told
    registry = Registry(home)
    ask("ls", registry.ls)
    for adapter in ("demo/cat", "demo/dog"):
        records = registry.store.records(Reference.parse(adapter))
        ask(f"{adapter} aliases", records.aliases)
        ask(f"{adapter} history", records.log.history)
        for version in ("1.0.0", "1.1.0"):
            reference = f"{adapter}@{version}"
            ask(f"{reference} note", lambda: registry.note(reference))  # noqa: B023  asked at once
            ask(f"{reference} pull", lambda: _pulled(registry, reference))  # noqa: B023  asked at once
            ask(f"{reference} open", lambda: _opened(registry, reference))  # noqa: B023  asked at once
    return told


class Outcome(NamedTuple):
    """What came of rot in files of a kind: how often harm was done, how often it was found, and what was missed."""

    kind: str
    harmed: int
    found: int
    missed: list[str]


def sweep(home: Path, kind: str, bits: int, folder: Path) -> Outcome:
    """Let every file of a kind rot in every way, one at a time, in copies of a home.

    It is found where the registry cannot be opened, or checking it tells a fault. What is not found must be of no
    consequence: every answer of the registry is what it was.
    """
    registry, before = Registry(home), answers(home)
    harmed = found = 0
    missed = []
    for path in files(registry, kind):
        data = path.read_bytes()
        others = {other.read_bytes() for other in files(registry, kind)} - {data}
        for number, rotten in enumerate([*flips(data, bits), *cuts(data), *others, None]):
            copy = Path(shutil.copytree(home, folder / "rotten"))
            target = copy / path.relative_to(home)
            target.unlink() if rotten is None else overwrite(target, rotten)
            harmed += 1
            if _is_found(copy):
                found += 1
            elif answers(copy) != before:
                missed.append(f"{path.relative_to(home)}, harm {number}")
            shutil.rmtree(copy)
    return Outcome(kind, harmed, found, missed)


def _is_found(home: Path) -> bool:
    try:
        return bool(Registry(home).fsck())
    except LorryError:
        return True


def _pulled(registry: Registry, reference: str) -> list[str]:
    out = registry.home.with_name("out")
    try:
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in registry.pull(reference, out)]
    finally:
        shutil.rmtree(out, ignore_errors=True)


def _opened(registry: Registry, reference: str) -> list[str]:
    found = adapter_files(registry.store, registry.store.resolve(Reference.parse(reference)))
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in found]
