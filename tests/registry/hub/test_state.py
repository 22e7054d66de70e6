"""Aliases and notes: what the registry says shows on main, and what clients commit there the registry says too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lorry_registry import Registry
from lorry_registry.references.semver import Version
from tests.registry.helpers import write_lora
from tests.support.hub_server import ALICE, HubServer

from .calls import Answer, Client, commit, file, head

ONE, TWO = Version.parse("1.0.0"), Version.parse("1.1.0")


@pytest.fixture
def cat(registry: Registry, tmp_path: Path) -> Registry:
    """A registry with alice/cat in two versions."""
    for seed, version in enumerate((ONE, TWO)):
        (tmp_path / str(version)).mkdir()
        registry.publish(f"alice/cat@{version}", [write_lora(tmp_path / str(version) / "cat.safetensors", seed)])
    return registry


def shown(call: Client, name: str) -> Any:
    answer = call("GET", f"/alice/cat/resolve/main/{name}")
    return answer.json if answer.status == 200 else answer.status


def say(call: Client, name: str, table: Any) -> Answer:
    return commit(call, file(name, json.dumps(table).encode()), parent=head(call))


def test_what_the_registry_says_shows_on_main(cat: Registry, call: Client) -> None:
    assert shown(call, "aliases.json") == 404
    cat.set_alias("alice/cat@stable", "1.0.0")
    cat.deprecate("alice/cat@1.0.0", "old")
    assert shown(call, "aliases.json") == {"stable": "1.0.0"}
    assert {version: json.loads(note) for version, note in shown(call, "notes.json").items()} == {
        "1.0.0": {"deprecated": "old"}
    }
    at = head(call)
    assert head(call) == at
    cat.set_alias("alice/cat@stable", "1.1.0")
    assert shown(call, "aliases.json") == {"stable": "1.1.0"}
    assert call("GET", f"/api/models/alice/cat/revision/{at}").status == 200


def test_what_a_client_commits_is_said_in_the_registry(cat: Registry, call: Client) -> None:
    assert say(call, "aliases.json", {"champion": "1.0.0"}).status == 200
    assert cat.aliases("alice/cat") == {"champion": ONE, "latest": TWO}
    assert say(call, "notes.json", {"1.1.0": json.dumps({"yanked": "broken"})}).status == 200
    assert cat.note("alice/cat@1.1.0").yanked == "broken"
    assert cat.aliases("alice/cat")["latest"] == ONE
    assert shown(call, "aliases.json") == {"champion": "1.0.0"}
    manifest = call("GET", "/alice/cat/resolve/main/adapter.json").json
    assert manifest["id"]["version"] == "1.0.0"


def test_both_sides_keep_what_the_other_said_meanwhile(cat: Registry, call: Client) -> None:
    say(call, "aliases.json", {"champion": "1.0.0"})
    cat.set_alias("alice/cat@stable", "1.1.0")
    assert commit(call, file("aliases.json", b'{"champion": "1.1.0"}')).status == 200
    assert cat.aliases("alice/cat") == {"champion": TWO, "latest": TWO, "stable": TWO}
    assert shown(call, "aliases.json") == {"champion": "1.1.0", "stable": "1.1.0"}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("aliases.json", b"{"),
        ("aliases.json", b"[]"),
        ("aliases.json", b'{"champion": "9.0.0"}'),
        ("aliases.json", b'{"../x": "1.0.0"}'),
        ("aliases.json", b'{"champion": 1}'),
        ("notes.json", b'{"1.0.0": "nonsense"}'),
        ("notes.json", b'{"no version": "{}"}'),
    ],
)
def test_what_cannot_be_said_is_refused(cat: Registry, call: Client, name: str, data: bytes) -> None:
    before = head(call)
    assert commit(call, file(name, data), token=ALICE).status in {400, 404, 422}
    assert head(call) == before
    assert cat.aliases("alice/cat") == {"latest": TWO}


def test_what_lorry_pushes_is_published_aliased_and_yanked_here_too(
    hub: HubServer, registry: Registry, tmp_path: Path
) -> None:
    mine = Registry(tmp_path / "mine")
    mine.publish("alice/cat@1.0.0", [write_lora(tmp_path / "cat.safetensors")])
    told = {**os.environ, **hub.environment(tmp_path / "hf"), "LORRY_HOME": str(tmp_path / "mine")}
    for command in (
        ["push", "alice/cat@1.0.0", "hf://alice/cat", "--alias", "champion"],
        ["yank", "alice/cat@1.0.0", "--reason", "blurred", "--at", "hf://alice/cat"],
    ):
        done = subprocess.run([sys.executable, "-m", "lorry", *command], env=told, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
    assert registry.versions("alice/cat") == (ONE,)
    assert registry.fsck() == ()
    assert registry.aliases("alice/cat")["champion"] == ONE
    assert registry.note("alice/cat@1.0.0").yanked == "blurred"


def test_a_note_that_another_lorry_writes_otherwise_is_the_same_note(cat: Registry, call: Client) -> None:
    cat.deprecate("alice/cat@1.0.0", "old")
    told = {"1.0.0": json.dumps({"deprecated": "old", "of a later lorry": "yes"}, indent=1)}
    assert shown(call, "notes.json") != told
    assert say(call, "notes.json", told).status == 200
    assert shown(call, "notes.json") == told
    assert head(call) == head(call)
