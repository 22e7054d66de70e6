"""Claim: a command that needs no arithmetic costs at most 50 ms of CPU over `import click, pluggy`.

    python benchmarks/startup.py [RUNS]

CPU time is user + system of the whole process (wait4), which other work on the machine does not inflate the
way it does wall time; the median of the runs is compared, and the commands take turns. Exits 1 if one is over.
Needs a POSIX system.
"""

from __future__ import annotations

import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

LIMIT_MS = 50.0

BASELINE = "import click, pluggy"


def write_adapter(path: Path) -> None:
    """Write a kohya LoRA for SD1 of 64 attention layers, as zeros: 192 tensors."""
    header: dict[str, object] = {}
    at = 0
    for block in range(4):
        for side in range(4):
            for name in ("q", "k", "v", "out_0"):
                stem = f"lora_unet_down_blocks_{block}_attentions_{side}_transformer_blocks_0_attn1_to_{name}"
                shapes = {"alpha": [], "lora_down.weight": [4, 320], "lora_up.weight": [320, 4]}
                for suffix, shape in shapes.items():
                    size = 2 * (shape[0] * shape[1] if shape else 1)
                    header[f"{stem}.{suffix}"] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
                    at += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))


def cpu_ms(arguments: list[str], environment: dict[str, str]) -> float:
    """Run a command and return the milliseconds of CPU it took; a failing one ends the benchmark."""
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(arguments)} exited with {process.returncode}")
    return 1000 * (usage.ru_utime + usage.ru_stime)


def main(runs: int = 15) -> int:
    """Measure, print the table, and return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        sample = Path(folder, "sample.safetensors")
        write_adapter(sample)
        environment = {**os.environ, "LORRY_HOME": str(Path(folder, "home"))}
        lorry = [sys.executable, "-m", "lorry"]
        publish = [*lorry, "publish", "demo/sample@1.0.0", str(sample)]
        subprocess.run(publish, env=environment, stdout=subprocess.DEVNULL, check=True)
        commands = {
            BASELINE: [sys.executable, "-c", BASELINE],
            "lorry --help": [*lorry, "--help"],
            "lorry identify FILE": [*lorry, "identify", str(sample)],
            "lorry inspect FILE": [*lorry, "inspect", str(sample)],
            "lorry ls": [*lorry, "ls"],
        }
        measured: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(runs + 1):
            for name, arguments in commands.items():
                spent = cpu_ms(arguments, environment)
                if number:  # the first round writes bytecode and warms the disk
                    measured[name].append(spent)
    baseline = statistics.median(measured[BASELINE])
    print(f"{'CPU ms, median of ' + str(runs):24} {'total':>8} {'over':>8}   limit {LIMIT_MS:.0f}")
    slow = False
    for name, times in measured.items():
        over = statistics.median(times) - baseline
        slow |= over > LIMIT_MS
        print(f"{name:24} {baseline + over:8.1f} {over:8.1f}{'   too slow' if over > LIMIT_MS else ''}")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
