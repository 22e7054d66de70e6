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

from bake import CHECKPOINTS, COPY
from harness import Claim, Contestant, Cost, Result, conclude, python, run, versions

SIZES = (3.0, 6.0, 12.0, 23.8)
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
            copied, baked = _measure(Path(folder), size)
        costs[f"copy and fsync, {size:g} GB"], costs[f"lorry bake, {size:g} GB"] = [copied], [baked]
    last, smaller = options.sizes[-1], options.sizes[-2]
    bakes = {size: costs[f"lorry bake, {size:g} GB"][0] for size in options.sizes}
    copies = {size: costs[f"copy and fsync, {size:g} GB"][0] for size in options.sizes}
    growth = (bakes[last].cpu / last) / (bakes[smaller].cpu / smaller)
    peaks = [each.peak for each in bakes.values()]
    slowest = max(bakes[size].wall / copies[size].wall for size in options.sizes)
    return conclude(
        Result(
            name="bake_size",
            title="Baking a LoRA of rank 32 into FLUX.1's transformer, bfloat16, by size",
            counted="the whole process, from starting Python to a file on the disk",
            accuracy="the arithmetic is that of benchmarks/bake.py, which checks it",
            costs=costs,
            claims=[
                Claim(f"no more than 2 GB of memory: {max(peaks):.0f} MB", max(peaks) <= 2000),  # noqa: PLR2004  the claim
                Claim(f"memory is flat: {max(peaks) / min(peaks):.2f} times the least", max(peaks) < 1.2 * min(peaks)),
                Claim(f"CPU by GB does not grow: {growth:.2f} times that of {smaller:g} GB", growth < 1.2),  # noqa: PLR2004  the claim
                Claim(f"within twice the time of copying the file: {slowest:.2f} times", slowest <= 2),  # noqa: PLR2004  the claim
            ],
            versions=versions([Contestant("lorry", [], ["lorry", "torch"])]),
        )
    )


def _measure(folder: Path, size: float) -> tuple[Cost, Cost]:
    base, lora, out = folder / "flux", folder / "lora.safetensors", folder / "out"
    subprocess.run([sys.executable, CHECKPOINTS, "flux1", base, str(size)], check=True)
    subprocess.run([sys.executable, CHECKPOINTS, "lora", base, lora], check=True)
    copied = run(python(COPY, base / WEIGHTS, out))
    out.unlink()
    baked = run([sys.executable, "-m", "lorry", "bake", str(base), str(lora), "-o", str(out)])
    shutil.rmtree(out)
    return copied, baked


if __name__ == "__main__":
    sys.exit(main())
