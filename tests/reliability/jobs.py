"""What is done while harm comes: one job each, and how to tell how far it got."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from lorry_registry import Registry
from lorry_registry.disk import durable
from lorry_registry.references.reference import Reference
from lorry_registry.references.semver import Version
from tests.registry.helpers import write_lora

BEFORE, BETWEEN, AFTER = "before", "between", "after"
"""Nothing of the job is done; it stands, and what should follow it is not all done; all of it is done."""

CAT = Reference.parse("demo/cat")
ONE, TWO = Version(1, 0, 0), Version(1, 1, 0)
LONG_AGO = time.time() - 24 * 3600


class Job(NamedTuple):
    """A job in a folder.

    `prepare` makes what it starts from. `act` does it; where that returns, it is acknowledged, and doing it again is
    lawful. `state` tells how far it got, and raises AssertionError or what the registry raises for what is broken.
    `lasts`: whether a power cut leaves what was acknowledged; of what is deleted or copied out, that is not promised.
    """

    prepare: Callable[[Path], object]
    act: Callable[[Path], object]
    state: Callable[[Path], str]
    lasts: bool = True


def home(folder: Path) -> Registry:
    """Return the registry that jobs work in."""
    return Registry(folder / "home")


def there(folder: Path) -> Registry:
    """Return the registry that jobs send to and fetch from."""
    return Registry(folder / "there")


UNFINISHED = ("are torn", "is not logged", "another one than the log has")
"""Faults that an interrupted job leaves: a line of the log is torn or missing. Doing it again mends the latter."""


def assert_sound(registry: Registry) -> None:
    """Every record, manifest and byte is right; at most the log lacks what was not finished."""
    faults = [fault for fault in registry.fsck() if not any(what in fault.what for what in UNFINISHED)]
    assert not faults, faults
    listed = [str(entry.reference) for entry in registry.ls()]
    assert listed == [str(reference) for reference in registry.store.published()]


def state_of(registry: Registry, version: Version, aliases: Mapping[str, Version]) -> str:
    """Tell how far the publishing of a version got that these aliases should point at then, and nothing else."""
    assert_sound(registry)
    records = registry.store.records(CAT)
    if version not in records.versions():
        assert not records.aliases() or set(records.aliases().values()) == {ONE}
        return BEFORE
    logged = records.log.published().keys() == set(map(str, records.versions()))
    return AFTER if logged and records.aliases() == aliases else BETWEEN


def with_one(folder: Path) -> Registry:
    """Make a registry of demo/cat@1.0.0, and a file for the next version."""
    registry = home(folder)
    registry.publish("demo/cat@1.0.0", [write_lora(folder / "cat.safetensors")], aliases=["best"])
    write_lora(folder / "new.safetensors", seed=1)
    return registry


def with_two(folder: Path) -> Registry:
    """Make a registry of demo/cat@1.0.0, which is "best", and demo/cat@1.1.0."""
    registry = with_one(folder)
    registry.publish("demo/cat@1.1.0", [folder / "new.safetensors"])
    return registry


def publish(folder: Path) -> None:
    """Publish demo/cat@1.1.0, and point "best" at it."""
    home(folder).publish("demo/cat@1.1.0", [folder / "new.safetensors"], aliases=["best"])


def _only_a_file(folder: Path) -> None:
    write_lora(folder / "new.safetensors", seed=1)
    Registry(folder / "elsewhere").publish("demo/dog@1.0.0", [folder / "new.safetensors"])  # loads all it takes


def _published(folder: Path) -> str:
    return state_of(home(folder), TWO, {"latest": TWO, "best": TWO})


def _damaged(folder: Path) -> None:
    registry = with_two(folder)
    assert_sound(registry)
    blob = registry.store.blobs.path(registry.manifest("demo/cat@1.1.0").files[0].sha256)
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-7])


def _mended(folder: Path) -> str:
    faults = home(folder).fsck()
    blobs = [fault for fault in faults if "its blob" in fault.what]
    assert all("1.1.0" in fault.where for fault in blobs)
    return BEFORE if blobs else _published(folder)


def _pushed(folder: Path) -> str:
    assert_sound(home(folder))
    remote = there(folder)
    if not remote.store.records(CAT).versions():
        assert_sound(remote)
        return BEFORE
    return state_of(remote, TWO, {"latest": TWO})


def _to_clone(folder: Path) -> None:
    with_two(folder).push("demo/cat@1.1.0", (folder / "there").as_uri())
    (folder / "home").rename(folder / "elsewhere")


def _move(folder: Path) -> None:
    home(folder).set_alias("demo/cat@best", "1.1.0")


def _moved(folder: Path) -> str:
    registry = home(folder)
    assert_sound(registry)
    records = registry.store.records(CAT)
    assert records.versions() == (ONE, TWO)
    if records.aliases() == {"latest": TWO, "best": ONE}:
        return BEFORE
    assert records.aliases() == {"latest": TWO, "best": TWO}
    return AFTER if any(entry.get("after") == "1.1.0" for entry in records.log.history()[-1:]) else BETWEEN


def _yank(folder: Path) -> None:
    home(folder).yank("demo/cat@1.1.0", "it barks")


def _yanked(folder: Path) -> str:
    registry = home(folder)
    assert_sound(registry)
    records = registry.store.records(CAT)
    if not records.yanked(TWO):
        assert records.aliases() == {"latest": TWO, "best": ONE}
        return BEFORE
    assert records.note(TWO).yanked == "it barks"
    logged = records.log.has_note(TWO, records.written_note(TWO))
    return AFTER if logged and records.aliases() == {"latest": ONE, "best": ONE} else BETWEEN


def _with_garbage(folder: Path) -> None:
    registry = with_two(folder)
    blob = registry.store.blobs.path(registry.store.blobs.add_bytes(b"nobody's"))
    draft = registry.store.layout.drafts / "host-1-abc"
    draft.write_bytes(b"half")
    for path in (blob, draft):
        os.utime(path, (LONG_AGO, LONG_AGO))


def _collected(folder: Path) -> str:
    registry = home(folder)
    assert_sound(registry)
    assert registry.store.records(CAT).versions() == (ONE, TWO)
    left = registry.gc(dry_run=True)
    return {0: AFTER, 2: BEFORE}.get(len(left), BETWEEN)


def _pull(folder: Path) -> None:
    home(folder).pull("demo/cat@1.1.0", folder / "out", force=True)


def _pulled(folder: Path) -> str:
    assert_sound(home(folder))
    if not (folder / "out").exists():
        return BEFORE
    assert [path.name for path in (folder / "out").iterdir()] == ["new.safetensors"]
    assert (folder / "out" / "new.safetensors").read_bytes() == (folder / "new.safetensors").read_bytes()
    return AFTER


JOBS = {
    "the first publish": Job(_only_a_file, publish, _published),
    "a publish": Job(with_one, publish, _published),
    "a publish that mends": Job(_damaged, publish, _mended),
    "a push": Job(with_two, lambda folder: home(folder).push("demo/cat@1.1.0", (folder / "there").as_uri()), _pushed),
    "a clone": Job(
        _to_clone,
        lambda folder: home(folder).clone(f"{(folder / 'there').as_uri()}#demo/cat@1.1.0"),
        lambda folder: state_of(home(folder), TWO, {"latest": TWO}),
    ),
    "an alias": Job(with_two, _move, _moved),
    "a yank": Job(with_two, _yank, _yanked),
    "a collection": Job(_with_garbage, lambda folder: home(folder).gc(), _collected, lasts=False),
    "a pull": Job(with_two, _pull, _pulled, lasts=False),
}


def _sync_nothing(path: Path) -> None:
    """Lie."""


def _publish_careless_of_names(folder: Path) -> None:
    durable.sync_folder = _sync_nothing
    publish(folder)


def _publish_careless_of_bytes(folder: Path) -> None:
    durable.sync_file = _sync_nothing
    publish(folder)


CARELESS = {
    "a publish that syncs no names": Job(with_one, _publish_careless_of_names, _published),
    "a publish that syncs no bytes": Job(with_one, _publish_careless_of_bytes, _published),
}
"""Jobs that lose what they acknowledged, to see that this is found; for a process of their own, which they spoil."""
