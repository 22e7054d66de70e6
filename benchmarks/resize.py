"""Claim: an adapter is resized in factor space, for a fraction of what building every difference takes.

    python benchmarks/resize.py [--record] [--runs N] [--in FOLDER]

A LoRA of rank 128 for 264 layers of Stable Diffusion 1.5, in float16, is cut to rank 32. The other way is sampled
(benchmarks/sampled.py). Needs about 4 GB of disk.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from harness import BARE, Claim, Contestant, Cost, Result, command_line, conclude, cpu, python, run, versions
from sampled import sampled

HERE = Path(__file__).parent
EXCESS = 1e-4

DENSE = """
import torch
from safetensors import safe_open
torch.set_grad_enabled(False)
file = safe_open(sys.argv[1], "pt")
def work(name):
    up, down = (file.get_tensor(f"{name}.lora_{side}.weight").float().flatten(1) for side in ("up", "down"))
    left, values, right = torch.linalg.svd(up @ down)
    (left[:, :32] * values[:32]).half(), right[:32].half()
ends = ".lora_down.weight"
shapes = {}
for key in file.keys():
    if key.endswith(ends):
        name = key.removesuffix(ends)
        shapes[name] = file.get_slice(f"{name}.lora_up.weight").get_shape()[:1] + file.get_slice(key).get_shape()[1:2]
measure(work, shapes)
"""
"""One layer as sd-scripts networks/resize_lora.py does it: the difference is built and decomposed in full."""


def measure(folder: Path, runs: int) -> int:
    """Build, measure, check that all did the same job, and return the exit code."""
    base, big, small = folder / "base", folder / "big.safetensors", folder / "small.safetensors"
    if not base.exists():
        subprocess.run([sys.executable, HERE / "checkpoints.py", "sd15", base], check=True)
        base.with_suffix(".safetensors").unlink()
    if not big.exists():
        subprocess.run([sys.executable, HERE / "tuned.py", "adapter", base, big], check=True)
    ours = [sys.executable, "-m", "lorry", "resize", str(big), "-o", str(small), "--rank", "32"]
    small.unlink(missing_ok=True)
    subprocess.run(ours, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([sys.executable, HERE / "tuned.py", "resized", big, small, folder / "resized.json"], check=True)
    worst = max(json.loads((folder / "resized.json").read_text()).values())
    costs: dict[str, list[Cost]] = {}
    told: Mapping[str, float] = {}
    for _ in range(runs):
        costs.setdefault(BARE, []).append(run(python("")))
        small.unlink()
        costs.setdefault("lorry resize", []).append(run(ours))
        cost, told = sampled(DENSE, [big])
        costs.setdefault("the whole difference decomposed (as sd-scripts), sampled", []).append(cost)
    mine, dense = (cpu(each) for each in list(costs.values())[1:])
    return conclude(
        Result(
            name="resize",
            title="Resizing a LoRA of Stable Diffusion 1.5 (264 layers, float16) from rank 128 to 32",
            counted="whole processes, imports and files in it; of the one sampled, the work on "
            f"{told['timed']} layers, one of each shape, times their number, and starting once",
            accuracy=f"each layer's error over the least that its rank can have, less 1: at most {worst:.1e}",
            costs=costs,
            claims=[
                Claim(f"every error is within {EXCESS:g} of the least", worst <= EXCESS),
                Claim(f"30 times less CPU: {dense / mine:.1f} times, and 30 was wanted", dense / mine >= 30),  # noqa: PLR2004  the claim
            ],
            versions=versions([Contestant("", [], ["lorry", "torch", "safetensors"])]),
        )
    )


if __name__ == "__main__":
    sys.exit(command_line(measure, runs=3))
