"""Claim: of 5,000 versions, ls and search cost at most 50 ms of CPU over `lorry --version`, a new index 1 s.

    python benchmarks/registry.py [RUNS]

500 adapters of ten versions each are published into a temporary home. CPU time is user + system of the whole
process; the median of the runs is compared. Exits 1 if one is over. Needs a POSIX system.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from lorry_registry import Registry
from lorry_registry.disk import durable
from lorry_registry.home.blobs import Content
from lorry_registry.version.manifest import AdapterFacts, Base, File, Id, Manifest

ADAPTERS, VERSIONS = 500, 10
LIMIT_MS, REBUILD_MS = 50.0, 1000.0


def publish(home: Path) -> None:
    """Publish versions of one small file each, by way of the store alone, which does not care what is in it."""
    store = Registry(home).store
    store.layout.prepare()
    os.fsync = lambda fd: None  # noqa: ARG005  what is measured comes after
    for number in range(ADAPTERS):
        for minor in range(VERSIONS):
            data = f"{number} {minor}".encode()
            content = Content(hashlib.sha256(data).hexdigest(), len(data))
            manifest = Manifest(
                id=Id(
                    namespace=f"people-{number % 7}",
                    name=f"adapter-{number}",
                    version=f"1.{minor}.0",
                    title=f"A thing of kind {number % 97}",
                    tags=("style", f"tag-{number % 11}"),
                ),
                files=(File(path="a.bin", role="weights", media_type="application/octet-stream", **content._asdict()),),
                adapter=AdapterFacts(
                    kinds=("lora",), format="none", components=(), layers=0, ranks={}, dtypes=(), n_params=0
                ),
                base=Base(id="sd1@1", fingerprint="0" * 64),
            )
            with durable.draft(store.layout.drafts) as draft:
                draft.write_bytes(data)
                store.publish(manifest, {"a.bin": draft})


def cpu_ms(home: Path, *arguments: str) -> float:
    """Run a lorry command and return the milliseconds of CPU it took."""
    environment = {**os.environ, "LORRY_HOME": str(home)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-m", "lorry", *arguments]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"lorry {' '.join(arguments)} exited with {process.returncode}")
    return 1000 * (usage.ru_utime + usage.ru_stime)


def main(runs: int = 11) -> int:
    """Measure, print the table, and return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        publish(home)
        rebuild = cpu_ms(home, "ls")
        commands = ("--version", "ls", "search adapter-7", "search nothing-of-this-name")
        measured: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(runs + 1):
            for name, times in measured.items():
                spent = cpu_ms(home, *name.split())
                if number:  # the first round writes bytecode and warms the disk
                    times.append(spent)
    base = statistics.median(measured.pop("--version"))
    over = {name: (statistics.median(times) - base, LIMIT_MS) for name, times in measured.items()}
    over["ls, making the index"] = (rebuild - base, REBUILD_MS)
    print(f"{ADAPTERS * VERSIONS:,} versions; CPU ms over lorry --version ({base:.0f} ms), median of {runs}")
    for name, (spent, limit) in over.items():
        print(f"{name:32} {spent:8.0f}   limit {limit:.0f}{'   too slow' if spent > limit else ''}")
    return int(any(spent > limit for spent, limit in over.values()))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
