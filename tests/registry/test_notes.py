"""Yanked and deprecated versions: who still finds them, and who is warned."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from lorry.cli import cli
from lorry.errors import Conflict, InvalidArgument, LorryWarning, NotFound, VerificationFailed
from lorry_registry import Registry

from .helpers import publish_bytes


@pytest.fixture
def several(registry: Registry) -> Registry:
    for version in ("1.0.0", "1.1.0", "2.0.0"):
        publish_bytes(registry.store, f"demo/cat@{version}", version.encode())
    return registry


def found(registry: Registry, reference: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error", LorryWarning)
        return str(registry.resolve(reference).reference.selector)


def test_only_the_exact_number_finds_a_yanked_version(several: Registry) -> None:
    digest = several.resolve("demo/cat@2.0.0").digest
    several.set_alias("demo/cat@best", "2.0.0")
    assert several.yank("demo/cat@2.0.0", "drew only dogs", replaced_by="demo/cat@^1")
    assert found(several, "demo/cat") == found(several, "demo/cat@latest") == "1.1.0"
    for reference in ("demo/cat@2", "demo/cat@best"):
        with pytest.raises(NotFound, match=r"yanked: 2\.0\.0 \(drew only dogs\)"):
            several.resolve(reference)
    for reference in ("demo/cat@2.0.0", f"demo/cat@sha256:{digest}"):
        with pytest.warns(LorryWarning, match=r"demo/cat@2\.0\.0 is yanked: drew only dogs; use demo/cat@\^1 instead"):
            assert several.resolve(reference).digest == digest
    with pytest.raises(Conflict, match="yanked"):
        several.set_alias("demo/cat@best", "2.0.0")


def test_a_yank_is_taken_back(several: Registry) -> None:
    several.yank("demo/cat@2.0.0")
    assert several.yank("demo/cat@2.0.0") is False
    assert several.unyank("demo/cat@2.0.0") is True
    assert several.unyank("demo/cat@2.0.0") is False
    assert found(several, "demo/cat") == found(several, "demo/cat@2") == "2.0.0"


def test_a_deprecated_version_is_found_with_a_warning(several: Registry) -> None:
    several.deprecate("demo/cat@2.0.0", "too large", replaced_by="demo/cat@1.1.0")
    with pytest.warns(LorryWarning, match=r"deprecated: too large; use demo/cat@1\.1\.0 instead"):
        assert str(several.resolve("demo/cat").reference) == "demo/cat@2.0.0"
    several.undeprecate("demo/cat@2.0.0")
    assert found(several, "demo/cat") == "2.0.0"


def test_yanked_and_deprecated_are_two_things(several: Registry) -> None:
    several.deprecate("demo/cat@1.0.0", "old")
    several.yank("demo/cat@1.0.0", "broken")
    several.unyank("demo/cat@1.0.0")
    assert several.note("demo/cat@1.0.0").said == {"deprecated": "old"}


def test_where_all_versions_are_yanked_none_is_the_latest(several: Registry) -> None:
    for version in ("1.0.0", "1.1.0", "2.0.0"):
        several.yank(f"demo/cat@{version}")
    with pytest.raises(NotFound, match="yanked"):
        several.resolve("demo/cat")
    assert "latest" not in several.aliases("demo/cat")
    several.unyank("demo/cat@1.0.0")
    assert found(several, "demo/cat@latest") == "1.0.0"
    several.yank("demo/cat@1.0.0")
    publish_bytes(several.store, "demo/cat@2.0.1", b"mended")
    assert found(several, "demo/cat") == "2.0.1"


@pytest.mark.parametrize("change", [Registry.yank, Registry.unyank, Registry.deprecate])
def test_notes_are_of_versions_that_are_there(change: Callable[[Registry, str], bool], several: Registry) -> None:
    with pytest.raises(InvalidArgument, match="does not name a version"):
        change(several, "demo/cat")
    with pytest.raises(NotFound):
        change(several, "demo/cat@9.0.0")


def test_a_reason_stays_where_none_is_given(several: Registry) -> None:
    several.yank("demo/cat@2.0.0", "dogs")
    assert several.yank("demo/cat@2.0.0") is False
    assert several.note("demo/cat@2.0.0").yanked == "dogs"


def test_a_damaged_note_is_told_and_mended(several: Registry, home: Path) -> None:
    several.yank("demo/cat@2.0.0")
    (home / "names/demo/cat/notes/2.0.0").write_bytes(b"\0" * 40)
    with pytest.raises(VerificationFailed, match="yank or deprecate the version again"):
        several.resolve("demo/cat@2")
    several.yank("demo/cat@2.0.0", "again")
    assert several.note("demo/cat@2.0.0").yanked == "again"


def test_the_log_tells_who_yanked(several: Registry) -> None:
    several.yank("demo/cat@2.0.0", "why not")
    events = several.store.records(several.resolve("demo/cat").reference).log.history()
    assert [(entry["event"], entry["yanked"]) for entry in events if "yanked" in entry] == [("yank", "why not")]


def test_an_alias_of_a_yanked_version_is_marked(several: Registry) -> None:
    several.set_alias("demo/cat@best", "1.0.0")
    several.yank("demo/cat@1.0.0")
    listed = CliRunner().invoke(cli, ["alias", "ls", "demo/cat"]).stdout.split("\n")
    assert [line.split() for line in listed if "best" in line] == [["best", "1.0.0", "(yanked)"]]


@pytest.mark.parametrize("say", [Registry.yank, Registry.deprecate])
def test_what_is_to_be_used_instead_must_be_there(several: Registry, say: Callable[..., bool]) -> None:
    with pytest.raises(NotFound, match="no version 9"):
        say(several, "demo/cat@1.0.0", replaced_by="demo/cat@9.0.0")
    assert several.note("demo/cat@1.0.0").warns is False


def test_the_commands_say_the_same(several: Registry) -> None:
    def lorry(*arguments: str) -> str:
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    assert json.loads(lorry("yank", "demo/cat@2.0.0", "--reason", "dogs", "--json"))["changed"] is True
    assert "was yanked already" in lorry("yank", "demo/cat@2.0.0", "--reason", "dogs")
    told = {each["version"]: each.get("yanked") for each in json.loads(lorry("versions", "demo/cat", "--json"))}
    assert told == {"2.0.0": "dogs", "1.1.0": None, "1.0.0": None}
    assert "yanked: dogs" in lorry("versions", "demo/cat")
    with pytest.warns(LorryWarning, match="yanked"):
        shown = lorry("show", "demo/cat@2.0.0", "--json")
    assert json.loads(shown)["note"] == {"yanked": "dogs"}
    assert "no longer yanked" in lorry("unyank", "demo/cat@2.0.0")
    assert "is deprecated" in lorry("deprecate", "demo/cat@2.0.0")
    assert "no longer deprecated" in lorry("deprecate", "demo/cat@2.0.0", "--undo")
    assert several.note("demo/cat@2.0.0").warns is False
