"""A home of an older layout becomes today's when it is opened, whatever happens meanwhile; a newer one is refused."""

from __future__ import annotations

import errno
import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lorry.errors import Incompatible, LorryError, LorryWarning
from lorry_registry import Registry
from lorry_registry.disk import durable
from lorry_registry.home.layout import FORMAT

from .helpers import write_lora

HOMES = Path(__file__).parent / "homes"
"""Homes that a lorry of each older layout wrote, with two adapters, a yanked version and a deprecated one."""


@pytest.fixture(params=sorted(path.name for path in HOMES.iterdir()))
def old(request: pytest.FixtureRequest, home: Path) -> Path:
    return shutil.copytree(HOMES / request.param, home)


def mark(home: Path) -> str:
    return (home / "FORMAT").read_text().strip()


def check(registry: Registry, tmp_path: Path) -> None:
    """Everything that was in it is in it, and found as it was."""
    versions = ["demo/cat@1.0.0", "demo/cat@1.1.0", "demo/cat@2.0.0-rc.1", "demo/ink@1.0.0"]
    assert [str(each.reference) for each in registry.ls()][:4] == versions
    assert registry.fsck() == ()
    assert registry.gc(grace=-60) == ()
    assert [str(each.reference) for each in registry.search("animal")] == ["demo/cat@1.0.0"]
    assert str(registry.resolve("demo/cat").reference) == "demo/cat@1.0.0"
    with pytest.warns(LorryWarning, match="drew only dogs"):
        assert registry.pull("demo/cat@1.1.0", tmp_path / "pulled")
    assert {name: str(version) for name, version in registry.aliases("demo/cat").items()} == {
        "best": "1.1.0",
        "latest": "1.0.0",
    }
    assert registry.note("demo/ink@1.0.0").deprecated == "old"


def test_an_older_layout_becomes_todays_when_it_is_opened(old: Path, tmp_path: Path) -> None:
    registry = Registry(old)
    assert mark(old) == FORMAT
    check(registry, tmp_path)
    registry.publish("demo/new@1.0.0", [write_lora(tmp_path / "new.safetensors", seed=3)])
    check(Registry(old), tmp_path)


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("when", range(7))
def test_an_upgrade_that_was_cut_off_anywhere_is_done_by_the_next(
    when: int, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, put, count = mark(old), durable.put, itertools.count()

    def die(draft: Path, target: Path) -> None:
        if next(count) == when:
            raise Killed
        put(draft, target)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "put", die)
        killed = False
        try:
            Registry(old)
        except Killed:
            killed = True
    assert (mark(old) == before) is killed
    check(Registry(old), tmp_path)


def test_of_many_who_open_it_one_upgrades_and_nothing_is_lost(old: Path) -> None:
    code = "import sys; from lorry_registry import Registry; Registry(sys.argv[1]).set_alias(sys.argv[2], '1.0.0')"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(old), f"demo/cat@by-{number}"]) for number in range(4)
    ]
    assert [process.wait() for process in processes] == [0] * 4
    registry = Registry(old)
    told = {
        entry.get("alias") for entry in registry.store.records(registry.resolve("demo/cat").reference).log.history()
    }
    assert told >= {f"by-{number}" for number in range(4)}
    assert registry.store.records(registry.resolve("demo/cat").reference).log.torn_lines() == 0


def test_an_older_home_that_cannot_be_written_to_says_so(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path, target: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(target))

    monkeypatch.setattr(durable, "put", refuse)
    with pytest.raises(LorryError, match="Read-only file system.*open it once where it can be written to"):
        Registry(old)


def test_a_newer_layout_is_refused_untouched(published: Registry, lora: Path) -> None:
    (published.home / "FORMAT").write_text("99\n")
    for touch in (lambda: Registry(published.home), lambda: published.publish("demo/cat@2.0.0", [lora])):
        with pytest.raises(Incompatible, match=r"layout '99', this lorry knows .*; upgrade lorry"):
            touch()
    assert mark(published.home) == "99"


def test_two_who_start_a_home_mark_it_once(home: Path) -> None:
    for registry in (Registry(home), Registry(home)):
        registry.store.layout.prepare()
    assert mark(home) == FORMAT
