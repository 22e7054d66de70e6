"""Only distributions that the settings file allows may add plugins, where it says anything of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lorry.errors import InvalidArgument, NotFound, UnknownName
from lorry.ops.judging.confined import confined, means_for
from lorry.plugin.allowed import allowed
from lorry.plugin.host import Host, host


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    monkeypatch.setenv("LORRY_CONFIG", str(path))
    return path


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution "Some_Stranger" with a plugin that leaves a mark when it is imported."""
    site = tmp_path / "site"
    folder = site / "some_stranger-1.5.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: Some_Stranger\nVersion: 1.5\n")
    (folder / "entry_points.txt").write_text("[lorry.kinds]\nstranger = some_stranger\n")
    (site / "some_stranger.py").write_text(
        "from pathlib import Path\nfrom lorry.plugin import hookimpl\nLORRY_API = 1\n"
        f"Path({str(site / 'ran')!r}).touch()\n"
        "@hookimpl\ndef lorry_kinds():\n    return []\n"
    )
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
    return site / "ran"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", None),
        ("[plugins]", None),
        ("[plugins]\nallow = []", set()),
        ('plugins.allow = ["Lorry_Hello", "lorry.more"]', {"lorry-hello", "lorry-more"}),
    ],
)
def test_names_are_read_in_any_spelling(text: str, names: set[str] | None, settings: Path) -> None:
    settings.write_text(text)
    assert allowed() == names


@pytest.mark.parametrize(
    "text",
    [
        "allow = []",
        "[plugin]\nallow = []",
        "[plugins]\nalow = []",
        "plugins.allow = 1",
        "plugins = 1",
        "plugins.allow =",
    ],
)
def test_a_slip_of_the_pen_is_told_and_lets_nobody_in(text: str, settings: Path) -> None:
    settings.write_text(text)
    with pytest.raises(InvalidArgument, match=r"config\.toml"):
        allowed()


@pytest.mark.usefixtures("settings")
def test_a_file_that_was_named_must_be_there() -> None:
    with pytest.raises(NotFound, match="LORRY_CONFIG"):
        allowed()


def test_by_default_the_file_is_among_the_users_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LORRY_CONFIG", raising=False)
    monkeypatch.setattr("platformdirs.user_config_path", lambda name, **_: tmp_path / name)
    assert allowed() is None
    (tmp_path / "lorry").mkdir()
    (tmp_path / "lorry/config.toml").write_text("plugins.allow = []")
    assert allowed() == frozenset()


def test_who_is_not_allowed_is_told_and_never_imported(stranger: Path) -> None:
    found = Host(allow=[])
    (info,) = [each for each in found.plugins() if each.name == "stranger"]
    assert (info.allowed, info.distribution, info.version, info.error) == (False, "Some_Stranger", "1.5", "")
    assert "lora" in found.kinds()
    with pytest.raises(UnknownName, match="plugins.allow does not allow some plugins"):
        found.get("kinds", "strange")
    assert not stranger.exists()
    assert all(each.allowed for each in Host(allow=["some-stranger"]).plugins())
    assert stranger.exists()


def test_the_command_line_holds_to_it(stranger: Path, settings: Path) -> None:
    def listed() -> dict[str, bool]:
        done = subprocess.run(
            [sys.executable, "-m", "lorry", "plugins", "--json"], capture_output=True, text=True, check=True, timeout=60
        )
        return {each["name"]: each["allowed"] for each in json.loads(done.stdout)}

    settings.write_text("plugins.allow = []")
    found = listed()
    assert (found["stranger"], found["lora"], stranger.exists()) == (False, True, False)
    settings.write_text('plugins.allow = ["some-stranger"]')
    assert listed()["stranger"] is True


def test_without_strangers_nothing_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lorry.plugin.host.allowed", lambda: pytest.fail("looked"))
    monkeypatch.setattr("lorry.plugin.host.installed", list)
    host.cache_clear()
    try:
        assert host().plugins() == ()
    finally:
        host.cache_clear()


@pytest.mark.parametrize("name", ["LORRY_CONFIG", "XDG_CONFIG_HOME", "HOME", "APPDATA", "LOCALAPPDATA"])
def test_the_process_that_reads_pickles_finds_the_same_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "here")
    assert confined("os:getenv", [name], means_for(0)) == "here"
