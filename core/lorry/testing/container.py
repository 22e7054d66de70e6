"""The laws of containers: bytes come back as they were, and damage is an InvalidFile and nothing else."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st

from lorry.errors import InvalidArgument, InvalidFile, NotRepresentable
from lorry.ir import TensorMap, TensorRef
from lorry.ir.tensor import BITS, from_bytes
from lorry.plugin import Container
from lorry.plugin.host import Host
from lorry.testing import strategies
from lorry.testing.beside import beside
from lorry.testing.laws import expect, hold, keep
from lorry.testing.light import expect_light, without_heavy
from lorry.testing.samples import Random

_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=9)


def check_container(
    container: Container,
    *samples: Path,
    dtypes: Sequence[str] = tuple(BITS),
    numbered: bool = False,
    examples: int = 25,
) -> None:
    """Hold a container to every law of its contract; raise LawBroken for the first that is broken.

    A container that is only read needs `samples`, files or folders of its own. `dtypes` are the ones that it keeps,
    and `numbered` says that it keeps no keys, so that tensors go by their number.
    """
    plugins, subject = beside("containers", container.name, container), f"container {container.name!r}"
    keep(subject, is_light, container)
    with tempfile.TemporaryDirectory() as folder:
        places = partial(_Place, container, plugins, Path(folder))
        if container.write:
            hold(subject, WRITE_LAWS, st.builds(places, _maps(dtypes, numbered=numbered)), examples)
            for dtype in dtypes:
                keep(subject, what_is_written_is_read, places(_ones(dtype)))
            keep(subject, plain_tensors_are_held, places(_plain()))
            keep(subject, is_told_at_any_length, places(_plain()))
        found = [*samples, *([places(_plain()).written] if container.write else [])]
        expect(found, f"{subject} is not written, so give check_container a file of its own to read")
        for sample in found:
            for law in READ_LAWS:
                keep(subject, law, _Sample(container, plugins, sample, Path(folder)))


class _Place:
    """Tensors on their way to files of a container, in folders of their own."""

    def __init__(self, container: Container, plugins: Host, folder: Path, tensors: TensorMap) -> None:
        self.container, self.plugins, self.tensors = container, plugins, tensors
        self.folder = Path(tempfile.mkdtemp(dir=folder))

    def __str__(self) -> str:
        refs = (f"{key!r} {ref.dtype}{list(ref.shape)}" for key, ref in self.tensors.tensors.items())
        rest = {"metadata": self.tensors.metadata, "values": self.tensors.values, "sides": self.tensors.sides}
        return ", ".join([*refs, *(f"{name} {dict(each)}" for name, each in rest.items() if each)]) or "no tensors"

    @property
    def written(self) -> Path:
        """Write them once more, at a path without a suffix."""
        path = Path(tempfile.mkdtemp(dir=self.folder), "written")
        if self.container.write:
            self.container.write(self.tensors, path)
        return path

    @property
    def held(self) -> Path | None:
        """Write them; None for what the container says that it cannot hold."""
        try:
            return self.written
        except (NotRepresentable, InvalidArgument):
            return None


class _Sample(NamedTuple):
    """A file or folder of a container, and room for damaged copies."""

    container: Container
    plugins: Host
    path: Path
    folder: Path

    def __str__(self) -> str:
        return f"{self.path.name}, {sum(len(data) for data in _contents(self.path).values())} bytes"

    def damaged(self, change: Callable[[bytes], bytes]) -> Iterator[Path]:
        """Yield a copy for each file in it with that one's bytes changed."""
        for name, data in _contents(self.path).items():
            copy = Path(tempfile.mkdtemp(dir=self.folder), "damaged")
            (shutil.copytree if self.path.is_dir() else shutil.copyfile)(self.path, copy)
            (copy / name if name else copy).write_bytes(change(data))
            yield copy


def what_is_written_is_read(each: _Place) -> None:
    """Keys, dtypes, shapes and bytes of all tensors come back as they were; what cannot be held is refused."""
    path = each.held
    if path:
        found, wanted = each.container.read(path), each.tensors
        expect(set(found.tensors) == set(wanted.tensors), f"the keys are {sorted(found.tensors)}")
        for key, ref in wanted.tensors.items():
            back = found.tensors[key]
            said = f"{back.dtype}{list(back.shape)}"
            expect((back.dtype, back.shape) == (ref.dtype, ref.shape), f"{key!r} comes back as {said}")
            expect(back.tobytes() == ref.tobytes(), f"{key!r} comes back with other bytes")


def what_is_beside_is_read(each: _Place) -> None:
    """Metadata comes back in its order, or there is none at all; values and side files come back, or are refused."""
    path = each.held
    if path:
        found, wanted = each.container.read(path), each.tensors
        both = list(found.metadata.items()), list(wanted.metadata.items())
        expect(both[0] == both[1] or (not both[0] and not each.container.edit), f"the metadata is {both[0]}")
        expect(dict(found.values) == dict(wanted.values), f"the values are {dict(found.values)}")
        expect(dict(found.sides) == dict(wanted.sides), f"the side files are {list(found.sides)}")


def equal_tensors_give_equal_bytes(each: _Place) -> None:
    """Written twice, the bytes are the same."""
    path = each.held
    if path:
        expect(_contents(path) == _contents(each.written), "they are not")


def it_is_taken_by_this_container_alone(each: _Place) -> None:
    """sniff takes what write wrote, by its bytes and not by a suffix, and no other installed container's does."""
    path = each.held
    if path and each.tensors.tensors:
        takers = [name for name, one in each.plugins.containers().items() if one.sniff(path)]
        expect(takers == [each.container.name], f"it is taken by {', '.join(takers) or 'none'}")


def edit_changes_the_metadata_alone(each: _Place) -> None:
    """edit writes other metadata and every tensor byte as it stands, and leaves the first file alone."""
    path = each.held
    if path and each.container.edit:
        before, target = _contents(path), path.with_name("edited")
        each.container.edit(path, target, {"other": "metadata"})
        expect(_contents(path) == before, "the first file is another")
        found, edited = each.container.read(path), each.container.read(target)
        expect(dict(edited.metadata) == {"other": "metadata"}, f"the metadata is {dict(edited.metadata)}")
        same = found.tensors.keys() == edited.tensors.keys()
        expect(same and all(ref.same(edited.tensors[key]) for key, ref in found.tensors.items()), "tensors changed")


WRITE_LAWS: tuple[Callable[[_Place], None], ...] = (
    what_is_written_is_read,
    what_is_beside_is_read,
    equal_tensors_give_equal_bytes,
    it_is_taken_by_this_container_alone,
    edit_changes_the_metadata_alone,
)


def plain_tensors_are_held(each: _Place) -> None:
    """Two float32 matrices are held by every container that is written."""
    expect(each.held, "it refuses them")


def is_told_at_any_length(each: _Place) -> None:
    """Whatever the length of its metadata, a file is taken by this container alone."""
    for length in (0, 100, *range(480, 720, 8), 5000):  # a header of 640 = 0x0280 bytes begins like a pickle
        note = _Place(each.container, each.plugins, each.folder, replace(each.tensors, metadata={"note": "x" * length}))
        it_is_taken_by_this_container_alone(note)


def reading_needs_no_torch(each: _Sample) -> None:
    """Headers are read without torch, numpy or anything else that is heavy."""
    with without_heavy():
        expect(each.container.sniff(each.path), "sniff does not take it")
        expect(each.container.read(each.path).tensors, "there are no tensors in it")


def nothing_stays_open(each: _Sample) -> None:
    """A file that was read is not kept open, so that others can be opened without end, and it can be replaced."""
    before = _open_files()
    found = each.container.read(each.path)
    for ref in found.tensors.values():
        ref.tobytes()
    expect(_open_files() <= before, f"{_open_files() - before} files are still open")


def what_is_cut_off_is_an_invalid_file(each: _Sample) -> None:
    """Cut off anywhere, a file of this container is an InvalidFile."""
    for share in range(16):
        for path in each.damaged(partial(_shortened, share=share / 16)):
            _expect_invalid(each, path, f"cut off after {share}/16", may_be_read=False)
    for path in each.damaged(lambda data: data[:-1]):
        _expect_invalid(each, path, "cut off by one byte", may_be_read=False)


def other_damage_is_an_invalid_file_or_read(each: _Sample) -> None:
    """With bytes changed or garbage in it, a file is an InvalidFile, or can be read; never any other error."""
    size = max(len(data) for data in _contents(each.path).values())
    for at in {*range(min(size, 64)), *range(0, size, max(size // 64, 1))}:
        for bit in (0x01, 0x80):
            for path in each.damaged(partial(_flipped, at=at, bit=bit)):
                _expect_invalid(each, path, f"byte {at} changed by {bit:#x}", may_be_read=True)
    for garbage in (
        b"",
        b"\0",
        b"{}",
        b"[[[",
        b"PK\x03\x04",
        b"\x80\x02}q\0.",
        b"GGUF\x03\0\0\0",
        bytes(64),
        b"\xff" * 99,
    ):
        for path in each.damaged(_always(garbage)):
            _expect_invalid(each, path, f"nothing but {garbage[:8]!r}", may_be_read=True)


def a_suffix_is_no_proof(each: _Sample) -> None:
    """sniff takes nothing by its suffix alone, nor what is not there."""
    for suffix in (*each.container.suffixes, ".txt"):
        path = Path(tempfile.mkdtemp(dir=each.folder), f"some{suffix}")
        expect(not each.container.sniff(path), f"it takes {path.name}, which is not there")
        path.write_bytes(b"some text, and nothing else")
        expect(not each.container.sniff(path), f"it takes a text that is called {path.name}")


READ_LAWS: tuple[Callable[[_Sample], None], ...] = (
    reading_needs_no_torch,
    nothing_stays_open,
    what_is_cut_off_is_an_invalid_file,
    other_damage_is_an_invalid_file_or_read,
    a_suffix_is_no_proof,
)


def is_light(container: Container) -> None:
    """Its module imports neither torch nor anything heavy at its top: every command that reads a file loads it."""
    expect_light(container.sniff, container.read)


def _expect_invalid(each: _Sample, path: Path, what: str, *, may_be_read: bool) -> None:
    try:
        if not each.container.sniff(path):
            return
        found = each.container.read(path)
        for ref in found.tensors.values():
            ref.tobytes()
    except InvalidFile:
        return
    except Exception as error:
        raise AssertionError(f"{what}, it raises {type(error).__name__}: {error}") from error
    expect(may_be_read, f"{what}, it is read as if it were whole")


def _shortened(data: bytes, share: float) -> bytes:
    return data[: int(len(data) * share)]


def _always(garbage: bytes) -> Callable[[bytes], bytes]:
    return lambda _: garbage


def _flipped(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :] if at < len(data) else data


def _contents(path: Path) -> Mapping[str, bytes]:
    """Return the bytes of a file, or of every file in a folder, by name."""
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    return {str(each.relative_to(path)) if path.is_dir() else "": each.read_bytes() for each in files}


def _open_files() -> int:
    """Count this process's open files; 0 where the system does not tell."""
    place = next((place for place in ("/proc/self/fd", "/dev/fd") if Path(place).is_dir()), None)
    return len(os.listdir(place)) if place else 0  # noqa: PTH208  links that a Path would follow


def _plain() -> TensorMap:
    random = Random()
    return TensorMap(tensors={"0": random(2, 3), "1": random(4, 1)})


def _ones(dtype: str) -> TensorMap:
    """Return a matrix of one dtype whose bytes are all 1."""
    return TensorMap(tensors={"0": from_bytes(dtype, (2, 4), b"\1" * BITS[dtype])})


def _maps(dtypes: Sequence[str], *, numbered: bool) -> st.SearchStrategy[TensorMap]:
    """Draw tensors under any keys, sometimes with metadata, values or side files."""
    refs = st.lists(strategies.tensors(dtypes), max_size=4)
    keys = st.lists(_TEXT, min_size=4, max_size=4, unique=True)
    words = st.dictionaries(_TEXT, _TEXT, max_size=3)
    sides = st.sampled_from([{}, {}, {"note.json": b"{}", "a.txt": b"\xff"}])
    values = st.sampled_from([{}, {}, {"step": 3}])

    def made(
        found: list[TensorRef],
        names: list[str],
        metadata: dict[str, str],
        beside: dict[str, bytes],
        said: dict[str, int],
    ) -> TensorMap:
        known = [str(at) for at in range(len(found))] if numbered else names
        return TensorMap(tensors=dict(zip(known, found, strict=False)), metadata=metadata, sides=beside, values=said)

    return st.builds(made, refs, keys, words, sides, values)
