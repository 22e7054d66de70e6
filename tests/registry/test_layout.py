"""A home of an older layout is read as it is, and becomes today's when it is written to; a newer one is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lorry.errors import Incompatible, LorryWarning
from lorry_registry import Registry, durable
from lorry_registry.layout import FORMAT

from .helpers import write_lora

HOMES = Path(__file__).parent / "homes"
"""Homes that a lorry of each older layout wrote, with two adapters, a yanked version and a deprecated one."""


@pytest.fixture(params=sorted(path.name for path in HOMES.iterdir()))
def old(request: pytest.FixtureRequest, home: Path) -> Registry:
    shutil.copytree(HOMES / request.param, home)
    return Registry(home)


def mark(registry: Registry) -> str:
    return (registry.home / "FORMAT").read_text().strip()


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


def test_an_older_layout_is_read_as_it_is(old: Registry, tmp_path: Path) -> None:
    before = mark(old)
    with pytest.warns(LorryWarning, match="drew only dogs"):
        old.pull("demo/cat@1.1.0", tmp_path / "out")
    assert mark(old) == before


def test_an_older_layout_becomes_todays_when_it_is_written_to(old: Registry, tmp_path: Path) -> None:
    old.publish("demo/new@1.0.0", [write_lora(tmp_path / "new.safetensors", seed=3)])
    assert mark(old) == FORMAT
    check(old, tmp_path)


def test_an_upgrade_that_was_cut_off_is_done_by_the_next(
    old: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, file = mark(old), write_lora(tmp_path / "new.safetensors", seed=3)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(durable, "put", die)
        with pytest.raises(KeyboardInterrupt):
            old.publish("demo/new@1.0.0", [file])
    assert mark(old) == before
    old.publish("demo/new@1.0.0", [file])
    check(old, tmp_path)


def test_a_newer_layout_is_refused_untouched(published: Registry, lora: Path) -> None:
    (published.home / "FORMAT").write_text("99\n")
    for touch in (lambda: Registry(published.home), lambda: published.publish("demo/cat@2.0.0", [lora])):
        with pytest.raises(Incompatible, match=r"layout '99', this lorry knows .*; upgrade lorry"):
            touch()
    assert mark(published) == "99"


def test_two_who_start_a_home_mark_it_once(home: Path) -> None:
    for registry in (Registry(home), Registry(home)):
        registry.store.layout.prepare()
    assert mark(Registry(home)) == FORMAT
