"""Adding in place: files that stay where they are, and are never used where they changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import lorry
from lorry.errors import InvalidArgument, LorryError, VerificationFailed
from lorry_registry import Registry
from lorry_registry.adding.add import Outcome, Wishes
from lorry_registry.home.view import adapter_files

from .helpers import write_lora

IN_PLACE = Wishes(in_place=True)


def add(registry: Registry, path: Path, wishes: Wishes = IN_PLACE) -> Outcome:
    (outcome,) = registry.add([path], wishes=wishes)
    return outcome


@pytest.fixture
def kept(registry: Registry, tmp_path: Path) -> Path:
    """A file that a registry holds as foreign/cat@1.0.0, in place."""
    folder = tmp_path / "models" / "Lora"
    folder.mkdir(parents=True)
    path = write_lora(folder / "cat.safetensors")
    assert add(registry, path).reference == "foreign/cat@1.0.0"
    return path


def bytes_held(registry: Registry) -> int:
    """Count the bytes of safetensors files that the registry itself has."""
    return sum(
        each.lstat().st_size
        for each in registry.home.rglob("*")
        if each.is_file() and not each.is_symlink() and b"lora_down" in each.read_bytes()
    )


def test_nothing_is_copied_and_everything_works(registry: Registry, kept: Path, tmp_path: Path) -> None:
    assert bytes_held(registry) == 0
    assert lorry.open("foreign/cat").origin[0].path.read_bytes() == kept.read_bytes()
    assert bytes_held(registry) == 0
    registry.verify("foreign/cat")
    assert not registry.fsck()
    assert not registry.gc(grace=0)
    (pulled,) = registry.pull("foreign/cat", tmp_path / "out")
    assert pulled.read_bytes() == kept.read_bytes()
    assert not pulled.is_symlink()
    assert registry.push("foreign/cat", f"file://{tmp_path}/shared")
    assert not [each for each in (tmp_path / "shared").rglob("*") if each.is_symlink()]
    assert kept.stat().st_nlink == 1
    assert os.access(kept, os.W_OK)


def test_a_file_that_changed_is_found_out_and_never_used(registry: Registry, kept: Path, tmp_path: Path) -> None:
    lorry.open("foreign/cat")  # there is a view now
    data = bytearray(kept.read_bytes())
    data[-1] ^= 1
    kept.write_bytes(data)
    for use in (
        lambda: lorry.open("foreign/cat"),
        lambda: registry.verify("foreign/cat"),
        lambda: registry.pull("foreign/cat", tmp_path / "out"),
        lambda: registry.push("foreign/cat", f"file://{tmp_path}/shared"),
    ):
        with pytest.raises(VerificationFailed, match="added in place .* is damaged"):
            use()
    (fault,) = registry.fsck()
    assert str(kept) in fault.what
    assert kept.read_bytes() == data


def test_a_file_of_the_same_bytes_is_hashed_again_and_used(registry: Registry, kept: Path) -> None:
    resolved = registry.resolve("foreign/cat")
    before = adapter_files(registry.store, resolved)
    os.utime(kept, ns=(1, 1))
    assert adapter_files(registry.store, resolved) == before
    assert not registry.fsck()


def test_a_file_that_was_moved_is_missing_until_it_is_added_again(registry: Registry, kept: Path) -> None:
    moved = kept.rename(kept.parents[1] / "renamed.safetensors")
    with pytest.raises(VerificationFailed, match="added in place .* is missing"):
        lorry.open("foreign/cat")
    (fault,) = registry.fsck()
    assert "put it back, or add it again" in fault.what
    again = add(registry, moved)
    assert (again.outcome, again.reference) == ("already here", "foreign/cat@1.0.0")
    assert lorry.open("foreign/cat")
    assert not registry.fsck()


def test_a_file_that_is_gone_is_mended_from_a_copy(registry: Registry, kept: Path, tmp_path: Path) -> None:
    (tmp_path / "backup").mkdir()
    shutil.move(kept, tmp_path / "backup" / "x.bin")
    assert len(registry.repair(registry.fsck(), [tmp_path / "backup"])) == 1
    (tmp_path / "backup" / "x.bin").unlink()
    assert lorry.open("foreign/cat")
    assert not registry.fsck()


def test_publishing_a_copy_makes_the_bytes_the_registrys_own(registry: Registry, kept: Path) -> None:
    registry.publish("demo/own@1.0.0", [kept])
    assert bytes_held(registry) == kept.stat().st_size
    kept.unlink()
    assert lorry.open("foreign/cat")
    assert registry.verify("demo/own")


def test_a_copy_of_the_registrys_own_is_not_replaced_by_a_link(registry: Registry, tmp_path: Path) -> None:
    lora = write_lora(tmp_path / "cat.safetensors")
    registry.publish("demo/own@1.0.0", [lora])
    add(registry, lora)
    lora.unlink()
    assert lorry.open("demo/own")


def test_what_no_version_holds_is_forgotten_and_the_file_stays(registry: Registry, kept: Path) -> None:
    lorry.open("foreign/cat")
    shutil.rmtree(registry.store.layout.names)
    assert {each.what for each in registry.gc(grace=0)} >= {"blob"}
    assert kept.exists()


def test_a_folder_of_a_tool_is_added_where_it_is(registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "loras"
    for at, name in enumerate(("a", "deep/b")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_lora(folder / f"{name}.safetensors", at)
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    outcomes = list(registry.add([folder], wishes=IN_PLACE))
    assert [each.reference for each in outcomes] == ["foreign/a@1.0.0", "foreign/b@1.0.0"]
    assert bytes_held(registry) == 0
    (folder / "a.png").unlink()  # what is small is copied
    registry.verify("foreign/a")


@pytest.mark.parametrize(
    ("name", "says"), [("a.pt", "a pickle, of which"), ("https://example.org/a", "no place of its own")]
)
def test_what_has_no_place_or_must_be_converted(registry: Registry, tmp_path: Path, name: str, says: str) -> None:
    import torch

    torch.save({"string_to_param": {"*": torch.ones(2, 768)}, "name": "x"}, tmp_path / "a.pt")
    source = name if ":" in name else str(tmp_path / name)
    (outcome,) = registry.add([source], wishes=IN_PLACE)
    assert isinstance(outcome.error, InvalidArgument | LorryError)
    assert says in outcome.why


def test_what_is_warned_of_is_not_taken_into_quarantine(registry: Registry, tmp_path: Path) -> None:
    lora = write_lora(tmp_path / "a.safetensors", metadata={"sshs_model_hash": "0" * 64})
    outcome = add(registry, lora)
    assert (outcome.outcome, outcome.step) == ("waits", "lorry add -y lets it in")
    assert not list(registry.quarantine.ls())
    assert add(registry, lora, IN_PLACE._replace(warned=True)).outcome == "added"
