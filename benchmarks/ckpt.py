"""Claim: a checkpoint becomes safetensors with a third of the CPU that torch.load and save_file take, or less.

    python benchmarks/ckpt.py [--record] [--runs N] [--in FOLDER]

Stable Diffusion 1.5 in float16 (2.1 GB), pickled by torch.save as {"state_dict": …}, under its own names both before
and after. Needs 7 GB of disk, and 5 GB of memory for the contestant without mmap.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness import BARE, Claim, Contestant, Result, command_line, conclude, cpu, peak, python, race, versions

CHECKPOINTS = Path(__file__).with_name("checkpoints.py")

PICKLE = """
import sys, torch
from safetensors.torch import load_file
torch.save({"state_dict": load_file(sys.argv[1])}, sys.argv[2])
"""

TORCH = """
import sys, torch
from safetensors.torch import save_file
state = torch.load(sys.argv[1], map_location="cpu", weights_only=True, mmap=sys.argv[3] == "mmap")["state_dict"]
save_file(state, sys.argv[2])
"""

SAME = """
import sys
from safetensors import safe_open
with safe_open(sys.argv[1], "pt") as first, safe_open(sys.argv[2], "pt") as second:
    assert sorted(first.keys()) == sorted(second.keys())
    assert all(first.get_tensor(key).equal(second.get_tensor(key)) for key in first.keys())
"""

FACTOR = 3


def measure(folder: Path, runs: int) -> int:
    """Build, measure, check that all did the same job, and return the exit code."""
    original, pickled, out = folder / "sd15.safetensors", folder / "sd15.ckpt", folder / "out.safetensors"
    if not original.exists():
        subprocess.run([sys.executable, CHECKPOINTS, "sd15", folder / "sd15"], check=True)
    if not pickled.exists():
        subprocess.run(python(PICKLE, original, pickled), check=True)
    lorry = [sys.executable, "-m", "lorry", "-q", "convert-base", str(pickled), "--to", "ldm", "-o", str(out)]
    peers = ["torch", "safetensors"]
    contestants = [
        Contestant(BARE, python("")),
        Contestant("lorry convert-base", lorry, ["lorry"]),
        Contestant("torch.load, save_file", python(TORCH, pickled, out, "read"), peers),
        Contestant("torch.load(mmap=True), save_file", python(TORCH, pickled, out, "mmap"), peers),
        Contestant("import torch, safetensors.torch", python("import torch, safetensors.torch"), peers),
    ]
    for each in contestants[1:4]:
        out.unlink(missing_ok=True)
        subprocess.run(each.command, check=True)
        subprocess.run(python(SAME, original, out), check=True)
    costs = race(contestants, runs, lambda: out.unlink(missing_ok=True))
    out.unlink(missing_ok=True)
    _, ours, read, mapped, imports = costs.values()
    ratios = {
        "torch.load and save_file": cpu(read) / cpu(ours),
        "the same without their imports": (cpu(read) - cpu(imports)) / cpu(ours),
        "torch.load(mmap=True) and save_file": cpu(mapped) / cpu(ours),
    }
    return conclude(
        Result(
            name="ckpt",
            title="Stable Diffusion 1.5 in float16 (2.1 GB) from .ckpt to .safetensors",
            counted="the whole process, from starting Python to the file; lorry alone waits for the disk (fsync)",
            accuracy="the files hold the same tensors, bit for bit, as the one that the .ckpt was made from",
            costs=costs,
            claims=[
                *(
                    Claim(f"{ratio:.1f} times less CPU than {what}; {FACTOR} were wanted", ratio >= FACTOR)
                    for what, ratio in ratios.items()
                ),
                Claim(f"no more than 100 MB of memory: {peak(ours):.0f} MB", peak(ours) < 100),  # noqa: PLR2004  the claim
            ],
            versions=versions(contestants),
        )
    )


if __name__ == "__main__":
    sys.exit(command_line(measure))
