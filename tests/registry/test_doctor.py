"""lorry doctor tells what is around lorry, and what mends what is not as it should be."""

from __future__ import annotations

import errno
import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lorry.cli import cli
from lorry.errors import LorryError
from lorry.plugin.host import Host
from lorry_registry import Registry
from lorry_registry.disk import abilities as disk
from lorry_registry.upkeep import doctor
from lorry_registry.upkeep.doctor import EXTRAS, FAULT, GOOD, NOTE, Check

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))


def examined(home: Path, plugins: Host | None = None) -> dict[str, list[Check]]:
    found: dict[str, list[Check]] = {}
    for each in doctor.examine(home, plugins or Host()):
        found.setdefault(each.name, []).append(each)
    return found


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def test_nothing_is_wrong_with_a_sound_registry(published: Registry) -> None:
    found = examined(published.home)
    assert not [each for checks in found.values() for each in checks if each.state == FAULT]
    assert "1 versions" in found["registry"][0].told
    assert found["disk"] == [Check("disk", GOOD, "hard links, fsync and locks")]
    result = CliRunner().invoke(cli, ["doctor"])
    assert (result.exit_code, str(published.home) in result.stdout) == (0, True)


def test_looking_makes_nothing(tmp_path: Path) -> None:
    (home,) = examined(tmp_path / "a/b")["home"]
    assert "the first lorry publish makes it" in home.told
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_good_comes_with_what_mends_it(published: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    (published.home / "tmp/left").write_bytes(b"x")
    os.utime(published.home / "tmp/left", (0, 0))
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(doctor, "find_spec", lambda _: None)
    checks = [each for checks in examined(published.home).values() for each in checks]
    told = {each.name: each for each in checks if each.state == NOTE}
    assert set(told) == {"extra", "garbage", "disk", "hub"}
    assert "no hard links" in told["disk"].told
    assert told["garbage"].mend == "lorry gc"
    assert {each.mend for each in checks if each.name == "extra"} == {f"pip install 'lorry[{name}]'" for name in EXTRAS}
    assert all(each.mend for each in checks if each.state != GOOD)


def test_a_disk_that_makes_nothing_durable_is_a_fault(published: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refuse)
    (fault,) = [each for each in examined(published.home)["disk"] if each.state == FAULT]
    assert "fsync" in fault.told


def test_a_home_that_cannot_be_used_is_a_fault_and_the_exit_code_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    home.write_bytes(b"")
    monkeypatch.setenv("LORRY_HOME", str(home))
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    assert isinstance(result.exception, LorryError)
    assert result.exception.exit_code == 1
    found: list[dict[str, Any]] = json.loads(result.stdout)
    assert {each["name"] for each in found if each["state"] == FAULT} == {"home", "registry"}
    assert found[-1]["name"] == "hub"


def test_a_registry_of_a_newer_lorry_is_a_fault(published: Registry) -> None:
    (published.home / "FORMAT").write_text("99\n")
    assert "upgrade lorry" in examined(published.home)["registry"][0].told


def test_a_token_is_told_and_not_shown(published: Registry, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_sesame")
    (hub,) = examined(published.home)["hub"]
    assert (hub.state, "with a token" in hub.told, "sesame" in hub.told) == (GOOD, True, False)


def test_a_plugin_that_cannot_be_loaded_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site/stranger-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[lorry.kinds]\nstranger = no_such_module\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    (fault,) = examined(tmp_path, Host())["plugin"]
    assert (fault.state, "stranger 1.0" in fault.told, "LORRY_PLUGINS=no:stranger" in fault.mend) == (FAULT, True, True)
    assert examined(tmp_path, Host("no:stranger"))["plugins"][0].state == NOTE


def test_every_extra_for_people_is_told() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS) == set(extras) - {"dev", "docs", "testing"}


def test_linux_names_the_kind_of_a_disk() -> None:
    if not Path("/proc/self/mounts").exists():
        pytest.skip("not Linux")
    assert disk.kind(Path("/proc/self")) == "proc"
