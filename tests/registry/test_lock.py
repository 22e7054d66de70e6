"""Lock files: everybody gets the bytes that were locked, or is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lorry.cli import cli
from lorry.errors import Conflict, Incompatible, InvalidFile, LorryError, LorryWarning, NotFound, VerificationFailed
from lorry_registry import Registry
from lorry_registry.lock import Lock

from .helpers import publish_bytes, write_lora


@pytest.fixture
def project(published: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A project folder, and a registry with demo/cat@1.0.0 and demo/dog@2.0.0."""
    published.publish("demo/dog@2.0.0", [write_lora(tmp_path / "dog.safetensors", seed=2)])
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return published


def lorry(*arguments: str) -> str:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def fails(*arguments: str) -> LorryError:
    error = CliRunner().invoke(cli, arguments).exception
    assert isinstance(error, LorryError), error
    return error


@pytest.mark.usefixtures("project")
def test_what_is_locked_is_got_wherever_the_names_move() -> None:
    assert "demo/cat@1.0.0 for demo/cat@^1 (new)" in lorry("lock", "demo/cat@^1", "demo/dog")
    registry = Registry()
    publish_bytes(registry.store, "demo/cat@1.1.0", b"newer")
    assert "2 adapters, 2 files, as locked" in lorry("sync")
    assert {path.name for path in Path("adapters").rglob("*.*")} == {"cat.safetensors", "dog.safetensors"}
    assert lorry("sync", "--frozen") == "adapters is as locked\n"


@pytest.mark.usefixtures("project")
def test_locking_again_moves_on(project: Registry) -> None:
    lorry("lock", "demo/cat@^1")
    publish_bytes(project.store, "demo/cat@1.1.0", b"newer")
    assert lorry("lock") == "demo/cat@1.1.0 for demo/cat@^1 (was 1.0.0)\n"
    assert lorry("lock", "demo/dog").splitlines() == [
        "demo/cat@1.1.0 for demo/cat@^1 (as before)",
        "demo/dog@2.0.0 for demo/dog (new)",
    ]
    assert "demo/cat@1.0.0 for demo/cat@1.0.0 (was 1.1.0)" in lorry("lock", "demo/cat@1.0.0")


@pytest.mark.usefixtures("project")
def test_the_same_lock_is_the_same_bytes() -> None:
    lorry("lock", "demo/dog", "demo/cat")
    first = Path("lorry.lock").read_bytes()
    lorry("lock", "demo/cat", "demo/dog")
    assert Path("lorry.lock").read_bytes() == first


@pytest.mark.usefixtures("project")
def test_frozen_fails_on_any_difference_and_changes_nothing() -> None:
    lorry("lock", "demo/cat", "demo/dog")
    lorry("sync", "--to", "out")
    Path("out/demo/cat/cat.safetensors").write_bytes(b"other")
    Path("out/demo/dog/dog.safetensors").unlink()
    Path("out/demo/dog/stray.txt").write_text("?")
    Path("out/mine.txt").write_text("not the lock's")
    told = json.loads(CliRunner().invoke(cli, ["sync", "--to", "out", "--frozen", "--json"]).stdout)["differences"]
    assert [(Path(each["where"]).name, each["what"]) for each in told] == [
        ("cat.safetensors", "has other content than was locked"),
        ("dog.safetensors", "is missing"),
        ("stray.txt", "is no part of the locked version; move it away"),
    ]
    assert isinstance(fails("sync", "--to", "out", "--frozen"), VerificationFailed)
    assert Path("out/demo/cat/cat.safetensors").read_bytes() == b"other"
    assert isinstance(fails("sync", "--to", "out"), Conflict)
    lorry("sync", "--to", "out", "--force")
    error = str(fails("sync", "--to", "out", "--frozen"))
    assert "move out/demo/dog/stray.txt out of the folder" in error
    assert "lorry sync" not in error
    Path("out/demo/dog/stray.txt").unlink()
    lorry("sync", "--to", "out", "--frozen")


def test_a_locked_version_that_was_yanked_is_got_and_warned_of(project: Registry) -> None:
    lorry("lock", "demo/cat")
    project.yank("demo/cat@1.0.0", "it barks")
    with pytest.warns(LorryWarning, match="it barks"):
        project.sync(Lock.read(Path("lorry.lock")), "adapters")
    assert Path("adapters/demo/cat/cat.safetensors").exists()


def test_another_registry_s_version_of_that_name_is_refused(
    project: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.lock(["demo/cat"]).write(Path("lorry.lock"))
    other = Registry(tmp_path / "elsewhere")
    publish_bytes(other.store, "demo/cat@1.0.0", b"an impostor")
    monkeypatch.setenv("LORRY_HOME", str(other.home))
    error = fails("sync")
    assert isinstance(error, VerificationFailed)
    assert "another version here" in str(error)
    assert not Path("adapters").exists()


def test_one_adapter_has_one_version(project: Registry) -> None:
    with pytest.raises(Conflict, match="asked for twice"):
        project.lock(["demo/cat@1.0.0", "demo/cat@^1"])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", InvalidFile),
        ("[]", InvalidFile),
        ("{}", InvalidFile),
        ('{"schema_version": 1}', InvalidFile),
        ('{"adapters": [{"reference": "demo/cat"}]}', InvalidFile),
        ('{"schema_version": 1, "adapters": [], "more": 1}', InvalidFile),
        ('{"schema_version": 2}', Incompatible),
    ],
)
def test_what_is_no_lock_file_is_refused(text: str, error: type[LorryError], tmp_path: Path) -> None:
    (tmp_path / "lorry.lock").write_text(text)
    with pytest.raises(error):
        Lock.read(tmp_path / "lorry.lock")


def test_without_a_lock_file_the_way_to_one_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("lock", "sync"):
        error = fails(command)
        assert isinstance(error, NotFound)
        assert "lorry lock NS/NAME" in str(error)
