"""A process for the crash tests: publishes on and on, and tells of each version when it is published.

python publisher.py loop HOME PREFIX     versions PREFIX.0.0, PREFIX.0.1, …; one line each once it stands
python publisher.py race HOME COUNT      COUNT processes publish demo/race@1.0.0 at once, each its own content
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from lorry.errors import Conflict
from lorry_registry.store import LocalStore
from tests.registry.helpers import publish_bytes


def loop(home: Path, prefix: int) -> None:
    store, chance = LocalStore(home), random.Random(prefix)  # noqa: S311  sizes, not secrets
    for number in range(1000):
        publish_bytes(store, f"demo/cat@{prefix}.0.{number}", chance.randbytes(chance.randrange(1, 200_000)))
        sys.stdout.write(f"{prefix}.0.{number}\n")
        sys.stdout.flush()


def race(home: Path, count: int) -> None:
    start, go = os.pipe()
    children = []
    for number in range(count):
        child = os.fork()
        if not child:
            os.close(go)
            os.read(start, 1)  # blocks until the parent closes its end, for all of them at once
            os._exit(_race_one(home, number))
        children.append(child)
    os.close(go)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.stdout.write(" ".join(map(str, codes)))


def _race_one(home: Path, number: int) -> int:
    try:
        publish_bytes(LocalStore(home), "demo/race@1.0.0", bytes([number]) * 1000)
    except Conflict:
        return 4
    except BaseException:  # noqa: BLE001  whatever it is, the parent must hear of it
        return 1
    return 0


if __name__ == "__main__":
    {"loop": loop, "race": race}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
