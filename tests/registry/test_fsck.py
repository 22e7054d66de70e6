"""Checking a whole registry finds every kind of damage, and mends what intact bytes are found for."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from lorry.cli import cli, main
from lorry.errors import VerificationFailed
from lorry_registry import Card, Registry
from lorry_registry.home.log import Log
from lorry_registry.references.reference import Alias
from lorry_registry.references.semver import Version


def weights(registry: Registry) -> Path:
    (file,) = registry.manifest("demo/cat").files
    return registry.store.blobs.path(file.sha256)


def flip_a_bit(registry: Registry) -> None:
    path = weights(registry)
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def truncate(registry: Registry) -> None:
    path = weights(registry)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])


def lose(registry: Registry) -> None:
    weights(registry).unlink()


def damage_the_manifest(registry: Registry) -> None:
    path = registry.store.blobs.path(registry.resolve("demo/cat").digest)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])


def damage_the_record(registry: Registry) -> None:
    path = registry.home / "names/demo/cat/versions/1.0.0"
    path.chmod(0o644)
    path.write_text("abc\n")


def damage_an_alias(registry: Registry) -> None:
    (registry.home / "names/demo/cat/aliases/latest").write_text("?\n")


def lead_an_alias_nowhere(registry: Registry) -> None:
    registry.store.records(registry.resolve("demo/cat").reference).move(Alias("latest"), Version(7, 0, 0))


def damage_a_note(registry: Registry) -> None:
    registry.yank("demo/cat@1.0.0")
    (registry.home / "names/demo/cat/notes/1.0.0").write_bytes(b"\0")


def tear_the_log(registry: Registry) -> None:
    with (registry.home / "names/demo/cat/log.jsonl").open("ab") as log:
        log.write(b'{"time": "20')


DAMAGE = [
    (flip_a_bit, "is damaged"),
    (truncate, "is damaged"),
    (lose, "is missing"),
    (damage_the_manifest, "its manifest"),
    (damage_the_record, "it is no sha256"),
    (damage_an_alias, "set the alias again"),
    (lead_an_alias_nowhere, "not published"),
    (damage_a_note, "yank or deprecate the version again"),
    (tear_the_log, "1 lines of its log are torn"),
]


def test_a_sound_registry_has_no_faults(published: Registry) -> None:
    assert published.fsck() == ()
    result = CliRunner().invoke(cli, ["fsck"])
    assert (result.exit_code, result.stdout) == (0, f"{published.home} is intact\n")


@pytest.mark.parametrize(("damage", "told"), DAMAGE, ids=lambda each: getattr(each, "__name__", None))
def test_every_damage_is_found(damage: Callable[[Registry], None], told: str, published: Registry) -> None:
    damage(published)
    (fault,) = published.fsck()
    assert "demo/cat" in fault.where
    assert told in fault.what
    assert isinstance(CliRunner().invoke(cli, ["fsck"]).exception, VerificationFailed)


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, lose])
def test_damaged_files_are_mended_from_anywhere(
    damage: Callable[[Registry], None], published: Registry, lora: Path, tmp_path: Path
) -> None:
    damage(published)
    faults = published.fsck()
    assert published.repair(faults, [tmp_path / "nowhere"]) == ()
    lora.rename(tmp_path / "called otherwise")
    told = json.loads(CliRunner().invoke(cli, ["fsck", "--from", str(tmp_path), "--json"]).stdout)
    assert [len(told[name]) for name in ("faults", "mended", "left")] == [1, 1, 0]
    assert published.verify("demo/cat")


@pytest.mark.parametrize("lost", [False, True], ids=["damaged", "missing"])
def test_a_manifest_is_mended_from_anywhere(lost: bool, published: Registry, tmp_path: Path) -> None:
    manifest = published.store.blobs.path(published.resolve("demo/cat").digest)
    kept = tmp_path / "elsewhere" / "called otherwise"
    kept.parent.mkdir()
    kept.write_bytes(manifest.read_bytes())
    damage_the_manifest(published)
    if lost:
        manifest.unlink()
    told = json.loads(CliRunner().invoke(cli, ["fsck", "--from", str(kept.parent), "--json"]).stdout)
    assert [len(told[name]) for name in ("faults", "mended", "left")] == [1, 1, 0]
    assert published.verify("demo/cat")


def test_a_damaged_file_of_several_versions_is_one_fault(published: Registry, lora: Path) -> None:
    for version in ("1.0.1", "1.0.2"):
        published.publish(f"demo/cat@{version}", [lora], card=Card(title=version))
    lose(published)
    (fault,) = published.fsck()
    assert fault.where == "demo/cat@1.0.0: cat.safetensors (in 3 places)"


def test_what_was_added_and_interrupted_before_it_was_logged_is_mended(
    registry: Registry, lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Log, "add_publish", interrupt)
        with pytest.raises(KeyboardInterrupt) as caught:
            list(registry.add([lora], "demo/cat@1.0.0"))
    assert "demo/cat@1.0.0 is published and whole" in "".join(caught.value.__notes__)
    assert [fault.what for fault in registry.fsck()] == ["its publishing is not logged; lorry fsck --repair logs it"]
    assert len(registry.repair(registry.fsck())) == 1
    assert registry.fsck() == ()
    found = registry.resolve("demo/cat")
    assert registry.store.records(found.reference).log.digests() == {"1.0.0": found.digest}
    assert registry.aliases("demo/cat") == {"latest": Version(1, 0, 0)}


@pytest.mark.usefixtures("registry")
def test_an_interruption_that_leaves_something_to_do_tells_that_alone(
    lora: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Log, "add_publish", interrupt)
    monkeypatch.setattr("warnings.showwarning", warnings.showwarning)
    monkeypatch.setattr("gc.set_threshold", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["lorry", "publish", "demo/cat", str(lora), "-y"])
    with pytest.raises(SystemExit, match="130"):
        main()
    told, stopped = capsys.readouterr().err.strip().splitlines()[-2:]
    assert "demo/cat@1.0.0 is published and whole, but its log and aliases may lack it" in told
    assert stopped == "lorry: interrupted"
