"""Many processes at once on one registry, and processes killed at random moments.

python -m tests.reliability.crowd WHAT FOLDER COUNT    one JSON object of what came of it; see the functions
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lorry.errors import Conflict
from lorry_registry import Registry
from lorry_registry.references.semver import Version
from tests.registry.helpers import write_lora
from tests.reliability.jobs import CAT, LONG_AGO, assert_sound, home, with_one

LOST_RACE = 4
ROOT = Path(__file__).parents[2]
_SECONDS = 0.12
"""The longest that a process is let live, beyond its first acknowledgement where that is waited for."""


def run(what: str, folder: Path, count: int) -> dict[str, Any]:
    """Run a crowd in a process of its own and return what it told."""
    command = [sys.executable, "-m", "tests.reliability.crowd", what, str(folder), str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def kills(folder: Path, count: int) -> dict[str, Any]:
    """Kill publishers at random moments, two at a time; every other pair only after its first acknowledgement.

    Every publisher makes versions PREFIX.0.0, PREFIX.1.0, … and acknowledges each through a pipe.
    """
    registry, chance = with_one(folder), random.Random(count)
    acknowledged: set[Version] = set()
    unfinished = killed = 0
    for start in range(0, count, 2):
        children = [_started(_publish_on_and_on, folder, start + 2 + number) for number in range(min(2, count - start))]
        told = [os.read(reader, 9) if start % 4 else b"" for _, reader in children]
        time.sleep(chance.uniform(0, _SECONDS))
        for number, (child, reader) in enumerate(children):
            os.kill(child, signal.SIGKILL)
            killed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
            with os.fdopen(reader, "rb") as pipe:
                acks = {Version.parse(line.decode()) for line in (told[number] + pipe.read()).split()}
            there = {version for version in registry.versions("demo/cat") if version.major == start + 2 + number}
            assert acks <= there, f"acknowledged, and lost: {acks - there}"
            assert len(there - acks) <= 1, f"nobody published {there - acks}"
            acknowledged |= acks
            unfinished += len(there - acks)
    left = len(list(registry.store.layout.drafts.iterdir()))
    assert_sound(registry)
    registry.gc(grace=-60)
    assert_sound(registry)
    assert acknowledged <= set(registry.versions("demo/cat"))
    registry.publish(f"demo/cat@{count + 99}.0.0", [folder / "new.safetensors"])
    assert registry.aliases("demo/cat")["latest"] == Version(count + 99, 0, 0)
    assert not list(registry.store.layout.drafts.iterdir())
    return {"killed": killed, "acknowledged": len(acknowledged), "unacknowledged": unfinished, "drafts left": left}


def version(folder: Path, count: int) -> dict[str, Any]:
    """Publish one version from many processes at once, each with its own content."""
    files = [write_lora(folder / f"{number}.safetensors", seed=number) for number in range(count)]

    def publish(number: int) -> None:
        home(folder).publish("demo/race@1.0.0", [files[number]])

    codes = _at_once(publish, count)
    (file,) = home(folder).verify("demo/race@1.0.0").files
    assert_sound(home(folder))
    return {"codes": codes, "published": file.path}


def alias(folder: Path, count: int) -> dict[str, Any]:
    """Move one alias from many processes at once, each to its own version, which it publishes."""
    registry = with_one(folder)

    def move(number: int) -> None:
        file = write_lora(folder / f"{number}.safetensors", seed=number)
        home(folder).publish(f"demo/cat@2.{number}.0", [file], aliases=["best"])

    codes = _at_once(move, count)
    assert_sound(registry)
    records = registry.store.records(CAT)
    moves = [entry for entry in records.log.history() if entry.get("alias") == "best"]
    return {
        "codes": codes,
        "aliases": {name: str(version) for name, version in records.aliases().items()},
        "moves": len(moves),
        "torn": records.log.torn_lines(),
    }


def notes(folder: Path, count: int) -> dict[str, Any]:
    """Yank and unyank one version from many processes at once."""
    registry = with_one(folder)

    def say(number: int) -> None:
        home(folder).yank("demo/cat@1.0.0", f"reason {number}")
        home(folder).unyank("demo/cat@1.0.0")
        home(folder).yank("demo/cat@1.0.0", f"reason {number}")

    codes = _at_once(say, count)
    assert_sound(registry)
    records = registry.store.records(CAT)
    return {"codes": codes, "note": records.note(Version(1, 0, 0)).yanked, "torn": records.log.torn_lines()}


def collect(folder: Path, count: int) -> dict[str, Any]:
    """Publish from some processes while one collects garbage on and on: orphans of the very bytes they publish."""
    registry = with_one(folder)

    def publish(number: int) -> None:
        if not number:
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                home(folder).gc(grace=60)
            return
        for minor in range(6):
            seed = 100 * number + minor
            file = write_lora(folder / f"{seed}.safetensors", seed=seed)
            blob = registry.store.blobs.path(registry.store.blobs.add_bytes(file.read_bytes()))
            os.utime(blob, (LONG_AGO, LONG_AGO))
            home(folder).publish(f"demo/cat@{number + 1}.{minor}.0", [file])

    orphan = registry.store.blobs.path(registry.store.blobs.add_bytes(b"nobody's"))
    os.utime(orphan, (LONG_AGO, LONG_AGO))
    codes = _at_once(publish, count)
    assert_sound(registry)
    return {"codes": codes, "versions": len(registry.versions("demo/cat")), "collected": not orphan.exists()}


def _publish_on_and_on(folder: Path, prefix: int, told: int) -> None:
    chance = random.Random(prefix)
    for number in range(1000):
        file = write_lora(folder / f"{prefix}-{number}.safetensors", seed=chance.getrandbits(32))
        Registry(folder / "home").publish(f"demo/cat@{prefix}.{number}.0", [file], aliases=["best"])
        file.unlink()
        os.write(told, f"{prefix}.{number}.0\n".encode())


def _started(act: Callable[[Path, int, int], None], folder: Path, number: int) -> tuple[int, int]:
    """Start a copy of this process; return its number and the end of the pipe that it tells through."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reader)
            act(folder, number, writer)
        except BaseException:  # noqa: BLE001  it ends here, and not in what its parent does next
            traceback.print_exc()
        os._exit(1)
    os.close(writer)
    return child, reader


def _at_once(act: Callable[[int], None], count: int) -> list[int]:
    """Let copies of this process act at once; return their exit codes, LOST_RACE for a Conflict."""
    start, go = os.pipe()
    children = []
    for number in range(count):
        child = os.fork()
        if not child:
            os.close(go)
            os.read(start, 1)  # blocks until the parent closes its end, for all of them at once
            os._exit(_code_of(act, number))
        children.append(child)
    os.close(go)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def _code_of(act: Callable[[int], None], number: int) -> int:
    try:
        act(number)
    except Conflict:
        return LOST_RACE
    except BaseException as error:  # noqa: BLE001  whatever it is, the parent must hear of it
        sys.stderr.write(f"{number}: {type(error).__name__}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    place = Path(sys.argv[2])
    place.mkdir(parents=True, exist_ok=True)
    doings = {"kills": kills, "version": version, "alias": alias, "notes": notes, "collect": collect}
    sys.stdout.write(json.dumps(doings[sys.argv[1]](place, int(sys.argv[3]))))
