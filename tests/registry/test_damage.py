"""Bit rot, stumps and swapped files are found, named, kept from doing harm, and mended by publishing again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import lorry
from lorry.cli import cli
from lorry.errors import InvalidFile, VerificationFailed
from lorry_registry import Registry
from lorry_registry.home.index import list_versions

from .helpers import publish_bytes, write_lora


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    overwrite(path, bytes(data))


def overwrite(path: Path, data: bytes) -> None:
    """Change a file in place, as a failing disk does: read-only and linked elsewhere as it is."""
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


def cut(path: Path) -> None:
    overwrite(path, path.read_bytes()[:-1])


def empty(path: Path) -> None:
    overwrite(path, b"")


def delete(path: Path) -> None:
    path.chmod(0o644)
    path.unlink()


Harm = Callable[[Path], None]
HARM: list[Harm] = [flip, cut, empty, delete]


NAMED = r"demo/cat@1\.0\.0: cat\.safetensors: its blob .* is (damaged|missing)"


def blob(registry: Registry, reference: str = "demo/cat") -> Path:
    return registry.store.blobs.path(registry.manifest(reference).files[0].sha256)


@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_file_is_named_and_kept_back(published: Registry, tmp_path: Path, harm: Harm) -> None:
    harm(blob(published))
    for use in (
        lambda: published.verify("demo/cat"),
        lambda: published.pull("demo/cat", tmp_path / "out"),
        lambda: lorry.open("demo/cat"),
    ):
        with pytest.raises(VerificationFailed, match=NAMED):
            use()
    assert not (tmp_path / "out").exists()


def disguised(path: Path) -> None:
    """Write to a file and give it the times it had, as far as anybody can."""
    before = path.stat()
    flip(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def use(command: str) -> None:
    raised = CliRunner().invoke(cli, command.split()).exception
    raise raised or AssertionError(f"{command} used it")


@pytest.mark.parametrize("cache", ["kept", ""])
@pytest.mark.parametrize(
    "command",
    [
        "inspect demo/cat",
        "merge demo/cat -o out.safetensors",
        "convert demo/cat --to diffusers -o out.safetensors",
        "bake toybox-sd demo/cat -o out",
        "diff demo/cat demo/cat",
        "link demo/cat --comfyui .",
    ],
)
def test_what_was_used_before_is_not_used_once_it_is_damaged(
    published: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, cache: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lorry.ops.disk.known._SETTLED_NS", -1)  # as if everything had been written long ago
    monkeypatch.setenv("LORRY_CACHE", cache and str(tmp_path / cache))
    for _ in range(2):
        lorry.open("demo/cat")
    disguised(blob(published))
    with pytest.raises(VerificationFailed, match=f"{NAMED}.*lorry fsck --repair"):
        use(command)
    assert not list(tmp_path.glob("out*"))


def test_what_did_not_change_is_hashed_once(published: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lorry.ops.disk.known._SETTLED_NS", -1)
    for _ in range(2):  # making the view changes the blob's file too: it gets another name
        lorry.open("demo/cat")
    monkeypatch.setattr("lorry_registry.home.blobs.measure", lambda path: pytest.fail(f"{path} was read again"))
    lorry.open("demo/cat")
    flip(blob(published))
    with pytest.raises(pytest.fail.Exception):
        lorry.open("demo/cat")


@pytest.mark.parametrize("harm", HARM)
def test_publishing_the_same_files_again_mends_them(published: Registry, lora: Path, harm: Harm) -> None:
    lorry.open("demo/cat")
    harm(blob(published))
    published.publish("demo/cat@1.0.0", [lora])
    published.verify("demo/cat")
    (opened,) = lorry.open("demo/cat").origin[0].source.paths
    assert opened.read_bytes() == lora.read_bytes()


@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_manifest_is_found_and_mended(published: Registry, lora: Path, harm: Harm) -> None:
    path = published.store.blobs.path(published.resolve("demo/cat").digest)
    harm(path)
    with pytest.raises(VerificationFailed, match=r"demo/cat@1\.0\.0: its manifest"):
        published.verify("demo/cat")
    (entry,) = published.ls()
    assert str(entry.reference) == "demo/cat@1.0.0"
    published.publish("demo/cat@1.0.0", [lora])
    published.verify("demo/cat")


@pytest.mark.parametrize("harm", [flip, cut])
def test_a_damaged_record_is_found(published: Registry, home: Path, harm: Harm) -> None:
    harm(home / "names" / "demo" / "cat" / "versions" / "1.0.0")
    with pytest.raises(VerificationFailed):
        published.verify("demo/cat@1.0.0")


def test_a_record_of_another_version_is_found(published: Registry, home: Path) -> None:
    publish_bytes(published.store, "demo/dog@1.0.0", b"dog")
    record = home / "names" / "demo" / "cat" / "versions" / "1.0.0"
    overwrite(record, (home / "names" / "demo" / "dog" / "versions" / "1.0.0").read_bytes())
    with pytest.raises(VerificationFailed, match=r"points at the manifest of demo/dog@1\.0\.0"):
        published.verify("demo/cat@1.0.0")


def test_a_damaged_alias_is_named_and_mended_by_setting_it(published: Registry, home: Path) -> None:
    overwrite(home / "names" / "demo" / "cat" / "aliases" / "latest", b"1.0\xff")
    with pytest.raises(VerificationFailed, match="latest is damaged"):
        published.resolve("demo/cat")
    published.set_alias("demo/cat@latest", "1.0.0")
    assert published.resolve("demo/cat")


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_copy_in_a_view_is_made_anew(home: Path, lora: Path, harm: Harm) -> None:
    (view,) = lorry.open("demo/cat").origin[0].source.paths
    assert home in view.parents
    data = view.read_bytes()
    view.unlink()
    view.write_bytes(data)  # no longer the blob itself, as on a disk without hard links
    harm(view)
    (again,) = lorry.open("demo/cat").origin[0].source.paths
    assert again.read_bytes() == lora.read_bytes()


@pytest.mark.parametrize(
    "harm",
    [delete, empty, flip, cut, lambda path: overwrite(path, b"this is no database" * 100)],
    ids=["deleted", "emptied", "flipped", "cut", "overwritten"],
)
def test_the_index_may_be_lost_at_any_time(published: Registry, home: Path, harm: Harm) -> None:
    before = published.ls()
    harm(home / "index.sqlite")
    assert published.ls() == before
    assert [str(entry.reference) for entry in before] == ["demo/cat@1.0.0"]


def test_the_index_follows_the_files(published: Registry, home: Path) -> None:
    published.ls()
    publish_bytes(published.store, "demo/dog@1.0.0", b"dog")
    assert [entry.reference.adapter for entry in published.ls()] == ["demo/cat", "demo/dog"]
    delete(home / "names" / "demo" / "cat" / "versions" / "1.0.0")
    assert [entry.reference.adapter for entry in published.ls()] == ["demo/dog"]


def test_a_home_that_cannot_be_written_to_is_still_listed(published: Registry, home: Path) -> None:
    before = published.ls()
    delete(home / "index.sqlite")
    (home / "index.sqlite").mkdir()
    assert list_versions(published.store) == before


def test_a_line_torn_from_the_log_does_not_take_the_next_one_with_it(published: Registry, home: Path) -> None:
    log = home / "names" / "demo" / "cat" / "log.jsonl"
    with log.open("ab") as file:
        file.write(b'{"time": "2026-')
    published.set_alias("demo/cat@stable", "1.0.0")
    history = published.store.records(published.resolve("demo/cat").reference).log.history()
    assert [entry["event"] for entry in history] == ["publish", "alias", "alias"]


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps no such permissions")
def test_blobs_are_read_only(published: Registry) -> None:
    assert blob(published).stat().st_mode & 0o222 == 0


def test_a_digest_is_never_a_path(published: Registry) -> None:
    for digest in ("../../../etc/passwd", "A" * 64, "", "0" * 63):
        with pytest.raises(ValueError, match="is not a sha256"):
            published.store.blobs.path(digest)


def test_a_file_that_changes_while_it_is_published_is_not_mixed(registry: Registry, tmp_path: Path) -> None:
    lora = write_lora(tmp_path / "cat.safetensors", seed=1)
    original = lora.read_bytes()
    with registry.draft("demo/cat@1.0.0", [lora]) as draft:
        lora.write_bytes(b"changed meanwhile")
        draft.publish()
    (pulled,) = registry.pull("demo/cat", tmp_path / "out")
    assert pulled.read_bytes() == original


def test_a_broken_file_of_bases_says_what_to_do(registry: Registry, home: Path) -> None:
    home.mkdir()
    (home / "bases.json").write_text("[")
    with pytest.raises(InvalidFile, match="mend or delete it"):
        registry.bases.all()
