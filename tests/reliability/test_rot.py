"""Rot in any kind of file is found or of no consequence, is refused, and is mended where the bytes are to be had."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lorry.errors import LorryError, VerificationFailed
from lorry_registry import Registry
from tests.reliability import rot

BITS = 3
"""Bits of a file that are flipped by chance, beside its first and its last; `benchmarks/reliability.py` flips more."""

pytestmark = pytest.mark.filterwarnings("ignore::lorry.errors.LorryWarning")  # of what is yanked and deprecated


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with every kind of file in it."""
    folder = tmp_path_factory.mktemp("rot")
    return rot.make(folder / "home", folder / "sources").home


@pytest.fixture
def rotten(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "home"))


@pytest.mark.parametrize("kind", rot.KINDS)
def test_what_rots_is_found_or_of_no_consequence(kind: str, sound: Path, tmp_path: Path) -> None:
    outcome = rot.sweep(sound, kind, BITS, tmp_path)
    assert outcome.harmed >= BITS
    assert outcome.missed == []
    if kind in ("weights", "manifest", "version"):
        assert outcome.found == outcome.harmed


def test_every_kind_of_file_is_in_the_home_that_rots(sound: Path) -> None:
    listed = {path for kind in rot.KINDS for path in rot.files(Registry(sound), kind)}
    assert {path for path in sound.rglob("*") if path.is_file()} == listed


def test_an_index_that_rotted_is_made_anew_where_it_makes_no_sense(rotten: Path) -> None:
    registry = Registry(rotten)
    index, before = rotten / "index.sqlite", [entry.reference for entry in registry.ls()]
    data, listed = index.read_bytes(), 0
    for harmed in rot.flips(data, 150, seed=3):
        index.write_bytes(harmed)
        listed += [entry.reference for entry in registry.ls()] == before
        index.unlink()
    assert listed > 140, "no flip ends in an error; few go unnoticed, and fsck finds those"


@pytest.fixture(params=["weights", "manifest"])
def blob(request: pytest.FixtureRequest, rotten: Path) -> Path:
    """A blob of demo/cat@1.0.0."""
    registry = Registry(rotten)
    file = registry.manifest("demo/cat@1.0.0").files[0].sha256
    return registry.store.blobs.path(file if request.param == "weights" else registry.resolve("demo/cat@1.0.0").digest)


def harms(data: bytes) -> Iterator[bytes]:
    yield from rot.flips(data, BITS)
    yield from rot.cuts(data)
    yield data[::-1]


def test_what_rots_is_refused_and_mended_by_publishing_it_again(rotten: Path, blob: Path, sound: Path) -> None:
    registry, data = Registry(rotten), blob.read_bytes()
    for harmed in harms(data):
        rot.overwrite(blob, harmed)
        with pytest.raises(VerificationFailed):
            registry.verify("demo/cat@1.0.0")
        with pytest.raises(VerificationFailed):
            registry.pull("demo/cat@1.0.0", rotten / "out")
        assert not (rotten / "out").exists()
        registry.publish("demo/cat@1.0.0", [sound.parent / "sources" / "0.safetensors"])
        assert blob.read_bytes() == data
        assert registry.fsck() == ()


def test_weights_are_mended_from_any_folder_that_has_them(rotten: Path, sound: Path, tmp_path: Path) -> None:
    registry = Registry(rotten)
    shutil.rmtree(rotten / "views")
    (tmp_path / "backup").mkdir()
    for number, path in enumerate(rot.files(Registry(sound), "weights")):
        shutil.copy(path, tmp_path / "backup" / str(number))
    for path in rot.files(registry, "weights"):
        rot.overwrite(path, path.read_bytes()[:-1])
    faults = registry.fsck()
    assert len(faults) == 4
    assert set(registry.repair(faults, [tmp_path / "backup"])) == set(faults)
    assert registry.fsck() == ()


@pytest.mark.parametrize("harm", ["flipped", "cut", "swapped", "gone"])
def test_the_record_of_a_version_is_mended_from_the_log(harm: str, rotten: Path) -> None:
    registry = Registry(rotten)
    record = rotten / "names/demo/cat/versions/1.0.0"
    before = record.read_bytes()
    if harm == "gone":
        record.unlink()
    else:
        other = record.with_name("1.1.0").read_bytes()
        rot.overwrite(record, {"flipped": next(rot.flips(before, 0)), "cut": before[:9], "swapped": other}[harm])
    assert [fault.where for fault in registry.repair(registry.fsck())] == ["demo/cat@1.0.0"]
    assert record.read_bytes() == before
    assert registry.fsck() == ()


def test_an_alias_a_note_and_a_log_are_mended_by_saying_it_again(rotten: Path, sound: Path) -> None:
    registry = Registry(rotten)
    for path in ("aliases/latest", "notes/1.1.0"):
        rot.overwrite(rotten / "names/demo/cat" / path, b"?")
    with pytest.raises(LorryError):
        registry.resolve("demo/cat@latest")
    registry.yank("demo/cat@1.1.0", "it barks")
    registry.set_alias("demo/cat@latest", "1.0.0")
    assert registry.fsck() == ()
    (rotten / "names/demo/cat/log.jsonl").unlink()
    assert registry.fsck()
    for number, version in enumerate(("1.0.0", "1.1.0")):
        registry.publish(f"demo/cat@{version}", [sound.parent / "sources" / f"{number}.safetensors"])
    registry.yank("demo/cat@1.1.0")
    assert registry.fsck() == ()


@pytest.mark.skipif(os.name == "nt", reason="a file that is open cannot be changed there")
def test_bytes_that_change_after_they_were_verified_are_not_pulled(rotten: Path) -> None:
    registry = Registry(rotten)
    registry.verify("demo/cat@1.0.0")
    (path,) = (registry.store.blobs.path(file.sha256) for file in registry.manifest("demo/cat@1.0.0").files)
    before = path.stat()
    rot.overwrite(path, next(rot.flips(path.read_bytes(), 0)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # the clock and the size do not tell
    with pytest.raises(VerificationFailed):
        registry.pull("demo/cat@1.0.0", rotten / "out")
