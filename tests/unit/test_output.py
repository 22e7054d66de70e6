"""Nothing half-written is ever left, and nothing is replaced unasked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lorry.errors import Conflict, InvalidArgument, LorryError, NotFound
from lorry.ops.disk.output import replacing

Maker = Callable[[Path, str], None]


def make_file(path: Path, text: str) -> None:
    path.write_text(text)


def make_folder(path: Path, text: str) -> None:
    path.mkdir()
    (path / "inside.txt").write_text(text)


MAKERS = [pytest.param(make_file, id="file"), pytest.param(make_folder, id="folder")]


def content(path: Path) -> str:
    return (path / "inside.txt" if path.is_dir() else path).read_text()


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("make", MAKERS)
def test_what_was_written_stands_at_the_target_alone(make: Maker, tmp_path: Path) -> None:
    with replacing(tmp_path / "out") as draft:
        make(draft, "new")
        assert not (tmp_path / "out").exists()
    assert content(tmp_path / "out") == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError, OSError, MemoryError])
def test_whatever_is_raised_nothing_is_left(make: Maker, error: type[BaseException], tmp_path: Path) -> None:
    def fail() -> None:
        with replacing(tmp_path / "out") as draft:
            make(draft, "half")
            raise error

    with pytest.raises(error):
        fail()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("old", MAKERS)
@pytest.mark.parametrize("new", MAKERS)
def test_what_is_there_is_a_conflict_and_stays(old: Maker, new: Maker, tmp_path: Path) -> None:
    old(tmp_path / "out", "old")

    def overwrite() -> None:
        with replacing(tmp_path / "out") as draft:
            new(draft, "new")

    before = listing(tmp_path)
    with pytest.raises(Conflict, match="--force"):
        overwrite()
    assert listing(tmp_path) == before
    assert content(tmp_path / "out") == "old"


@pytest.mark.parametrize("make", MAKERS)
def test_force_replaces_a_file_by_a_file_and_a_folder_by_a_folder(make: Maker, tmp_path: Path) -> None:
    make(tmp_path / "out", "old")
    with replacing(tmp_path / "out", force=True) as draft:
        make(draft, "new")
    assert content(tmp_path / "out") == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("old", MAKERS)
@pytest.mark.parametrize("new", MAKERS)
def test_force_never_puts_a_file_in_the_place_of_a_folder_or_the_other_way(
    old: Maker, new: Maker, tmp_path: Path
) -> None:
    if old is new:
        return
    old(tmp_path / "out", "old")
    with pytest.raises(Conflict, match="would take its place"), replacing(tmp_path / "out", force=True) as draft:
        new(draft, "new")
    assert content(tmp_path / "out") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_force_never_loses_what_else_is_in_a_folder(tmp_path: Path) -> None:
    make_folder(tmp_path / "out", "old")
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(Conflict, match=r"holds mine\.txt"), replacing(tmp_path / "out", force=True) as draft:
        make_folder(draft, "new")
    assert content(tmp_path / "out") == "old"
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a system with named pipes")
def test_force_never_replaces_what_is_neither_file_nor_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out")
    with pytest.raises(Conflict, match="neither a file nor a folder"), replacing(tmp_path / "out", force=True):
        pass
    assert (tmp_path / "out").is_fifo()


def test_force_writes_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "out").symlink_to(tmp_path / "real")
    with replacing(tmp_path / "out", force=True) as draft:
        draft.write_text("new")
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


@pytest.mark.parametrize("old", MAKERS)
def test_a_failure_under_force_leaves_the_old_one(old: Maker, tmp_path: Path) -> None:
    old(tmp_path / "out", "old")

    def fail() -> None:
        with replacing(tmp_path / "out", force=True) as draft:
            make_file(draft, "half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert content(tmp_path / "out") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    def race() -> None:
        with replacing(tmp_path / "out") as draft:
            make_file(draft, "mine")
            make_file(tmp_path / "out", "theirs")

    with pytest.raises(Conflict, match="appeared meanwhile"):
        race()
    assert content(tmp_path / "out") == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    def race() -> None:
        with replacing(tmp_path / "out") as draft:
            make_folder(draft, "mine")
            make_folder(tmp_path / "out", "theirs")

    with pytest.raises(Conflict, match="appeared meanwhile"):
        race()
    assert content(tmp_path / "out") == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_dangling_link_counts_as_something(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Conflict), replacing(tmp_path / "out"):
        pass
    assert (tmp_path / "out").is_symlink()


def test_the_parent_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere is not a folder"), replacing(tmp_path / "nowhere" / "out"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_disk_without_links_works_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with replacing(tmp_path / "out") as draft:
        make_file(draft, "new")
    assert content(tmp_path / "out") == "new"


def test_a_folder_that_cannot_be_put_in_place_brings_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path / "out", "old")
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name.endswith(".part"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)

    def overwrite() -> None:
        with replacing(tmp_path / "out", force=True) as draft:
            make_folder(draft, "new")

    with pytest.raises(LorryError, match="out was not written.*No space"):
        overwrite()
    assert content(tmp_path / "out") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_the_system_refuses_is_told_of_the_output_and_not_of_its_draft(tmp_path: Path) -> None:
    def write() -> None:
        with replacing(tmp_path / "out.txt") as draft:
            raise PermissionError(13, "Permission denied", str(draft))

    with pytest.raises(LorryError) as caught:
        write()
    assert str(caught.value) == f"{tmp_path / 'out.txt'} was not written: {tmp_path}: Permission denied"


def test_what_the_system_refuses_elsewhere_is_told_of_that_place(tmp_path: Path) -> None:
    def write() -> None:
        with replacing(tmp_path / "out.txt"):
            raise PermissionError(13, "Permission denied", "another")

    with pytest.raises(PermissionError, match="another"):
        write()


@pytest.mark.parametrize("at", [1, 2])
def test_an_interrupt_while_a_folder_is_replaced_loses_nothing(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path / "out", "old")
    rename, calls = Path.rename, iter(range(1, 9))

    def interrupted(path: Path, to: Path) -> Path:
        if next(calls) == at:
            raise KeyboardInterrupt
        return rename(path, to)

    def replace() -> None:
        with monkeypatch.context() as patched, replacing(tmp_path / "out", force=True) as draft:
            make_folder(draft, "new")
            patched.setattr(Path, "rename", interrupted)

    with pytest.raises(KeyboardInterrupt):
        replace()
    monkeypatch.undo()
    assert content(tmp_path / "out") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_an_interrupted_removal_left_is_removed_the_next_time(tmp_path: Path) -> None:
    make_folder(tmp_path / "out", "old")
    make_folder(tmp_path / ".out.0123abcd.old", "older")
    with replacing(tmp_path / "out", force=True) as draft:
        make_folder(draft, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", [".", "..", "a/..", "/", ""])
def test_an_output_needs_a_name_of_its_own(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    with pytest.raises(InvalidArgument, match="a name of its own"), replacing(Path(name), force=True):
        pass
