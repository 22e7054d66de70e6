from __future__ import annotations

from pathlib import Path

import pytest

from lorry.errors import Conflict
from lorry_registry import Registry

from .helpers import write_lora


@pytest.fixture
def with_card(registry: Registry, tmp_path: Path) -> Registry:
    folder = tmp_path / "source"
    (folder / "images").mkdir(parents=True)
    write_lora(folder / "cat.safetensors")
    (folder / "images" / "0.png").write_bytes(b"\x89PNG")
    registry.publish("demo/cat@1.0.0", [folder])
    return registry


def test_every_file_comes_out_as_it_went_in(with_card: Registry, tmp_path: Path) -> None:
    paths = with_card.pull("demo/cat", tmp_path / "new" / "folder")
    assert [path.relative_to(tmp_path / "new" / "folder").as_posix() for path in paths] == [
        "cat.safetensors",
        "images/0.png",
    ]
    for path in paths:
        assert path.read_bytes() == (tmp_path / "source" / path.relative_to(tmp_path / "new" / "folder")).read_bytes()


def test_what_is_pulled_is_the_persons_own_to_change(with_card: Registry, tmp_path: Path) -> None:
    path, _ = with_card.pull("demo/cat", tmp_path / "out")
    path.write_bytes(b"edited")
    with_card.verify("demo/cat")


def test_other_files_in_the_folder_are_left_alone(with_card: Registry, tmp_path: Path) -> None:
    other = tmp_path / "loras" / "other.safetensors"
    other.parent.mkdir()
    other.write_bytes(b"another")
    with_card.pull("demo/cat", other.parent, force=True)
    assert other.read_bytes() == b"another"
    assert sorted(path.name for path in other.parent.iterdir()) == ["cat.safetensors", "images", "other.safetensors"]


def test_pulling_again_changes_nothing(with_card: Registry, tmp_path: Path) -> None:
    first, _ = with_card.pull("demo/cat", tmp_path / "out")
    before = first.stat().st_mtime_ns, first.stat().st_ino
    with_card.pull("demo/cat", tmp_path / "out")
    assert (first.stat().st_mtime_ns, first.stat().st_ino) == before


def test_another_file_of_that_name_is_replaced_only_by_force(with_card: Registry, tmp_path: Path) -> None:
    target = tmp_path / "out" / "images" / "0.png"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"mine")
    with pytest.raises(Conflict, match=r"0\.png exists with other content"):
        with_card.pull("demo/cat", tmp_path / "out")
    assert target.read_bytes() == b"mine"
    assert not (tmp_path / "out" / "cat.safetensors").exists()
    with_card.pull("demo/cat", tmp_path / "out", force=True)
    assert target.read_bytes() == b"\x89PNG"


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_in_the_way_is_never_replaced(with_card: Registry, tmp_path: Path, force: bool) -> None:
    (tmp_path / "out" / "cat.safetensors" / "precious").mkdir(parents=True)
    with pytest.raises(Conflict, match="is a folder"):
        with_card.pull("demo/cat", tmp_path / "out", force=force)
    assert (tmp_path / "out" / "cat.safetensors" / "precious").is_dir()
