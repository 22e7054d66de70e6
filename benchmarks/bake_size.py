"""Claim: baking costs CPU in proportion to the checkpoint, and memory whatever its size.

    python benchmarks/bake_size.py [--record] [--in FOLDER] [GB ...]

A LoRA of rank 32 goes into FLUX.1's transformer in bfloat16: 23.8 GB, and smaller ones with fewer blocks, beside a
plain copy of the same file. The base is a file of zeros that takes no room; the result takes its size on the disk,
once. Each is run once.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bake import CHECKPOINTS, COPY, wall
from harness import Claim, Contestant, Cost, Result, conclude, cpu, peak, python, run, versions

SIZES = (3.0, 6.0, 12.0, 23.8)
_MEMORY, _FLAT = 2000, 1.2
WEIGHTS = "diffusion_pytorch_model.safetensors"


def main() -> int:
    """Build, measure and return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sizes", type=float, nargs="*", default=SIZES)
    parser.add_argument("--in", dest="folder", type=Path)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    costs: dict[str, list[Cost]] = {}
    for size in options.sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            costs |= _measure(Path(folder), size)
    return conclude(result(costs))


def result(costs: dict[str, list[Cost]]) -> Result:
    """Say what the costs of copying and baking, by turns for each size, bear out."""
    copies, bakes = list(costs.values())[::2], list(costs.values())[1::2]
    peaks = [peak(each) for each in bakes]
    sizes = [float(name.split()[-2]) for name in list(costs)[1::2]]
    by_size = [cpu(each) / size for each, size in zip(bakes, sizes, strict=True)]
    slowest = max(wall(bake) / wall(copy) for bake, copy in zip(bakes, copies, strict=True))
    return Result(
        name="bake_size",
        title="Baking a LoRA of rank 32 into FLUX.1's transformer, bfloat16, by size",
        counted="the whole process, from starting Python to a file on the disk",
        accuracy="the arithmetic is that of benchmarks/bake.py, which checks it",
        costs=costs,
        claims=[
            Claim(f"no more than 2 GB of memory: {max(peaks):.0f} MB", max(peaks) <= _MEMORY),
            Claim(f"memory is flat: {max(peaks) / min(peaks):.2f} times the least", max(peaks) < _FLAT * min(peaks)),
            Claim(
                "CPU is linear, but that a base larger than memory is read from the disk twice, first for its digest: "
                f"{by_size[-1] / min(by_size):.2f} times the least by GB",
                by_size[-1] < 2 * min(by_size),
            ),
            Claim(f"within twice the time of copying the file: {slowest:.2f} times", slowest <= 2),  # noqa: PLR2004  the claim
        ],
        versions=versions([Contestant("lorry", [], ["lorry", "torch"])]),
    )


def _measure(folder: Path, size: float) -> dict[str, list[Cost]]:
    base, lora, out = folder / "flux", folder / "lora.safetensors", folder / "out"
    subprocess.run([sys.executable, CHECKPOINTS, "flux1", base, str(size)], check=True)
    subprocess.run([sys.executable, CHECKPOINTS, "lora", base, lora], check=True)
    copied = run(python(COPY, base / WEIGHTS, out))
    out.unlink()
    baked = run([sys.executable, "-m", "lorry", "bake", str(base), str(lora), "-o", str(out)])
    shutil.rmtree(out)
    return {f"copy and fsync, {size:g} GB": [copied], f"lorry bake, {size:g} GB": [baked]}


if __name__ == "__main__":
    sys.exit(main())
