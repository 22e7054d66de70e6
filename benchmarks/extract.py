"""Claim: extracting a LoRA is many times cheaper than by singular value decompositions, and as near to the best.

    python benchmarks/extract.py [--record] [--runs N] [--in FOLDER]

Two fine-tunes of Stable Diffusion 1.5 in float16, of decaying and of flat differences (benchmarks/tuned.py), each
with 264 linear layers changed; rank 32. The other ways are sampled (benchmarks/sampled.py). Needs about 8 GB of disk.
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
RANK, EXCESS = 32, 1e-3

DECOMPOSE = """
import torch
from safetensors import safe_open
torch.set_grad_enabled(False)
base, tuned, full = sys.argv[1], sys.argv[2], sys.argv[3] == "full"
def find(folder):
    for part, name in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        yield part, safe_open(f"{folder}/{part}/{name}.safetensors", "pt")
ours, theirs = dict(find(tuned)), dict(find(base))
def work(name):
    part, key = name.split(".", 1)
    delta = (ours[part].get_tensor(key).float() - theirs[part].get_tensor(key).float()).flatten(1)
    left, values, right = torch.linalg.svd(delta, full_matrices=full)
    (left[:, :32] * values[:32]).half(), right[:32].half()
shapes = {}
for name in json.loads(open(sys.argv[4]).read()):
    part, key = name.split(".", 1)
    shapes[name] = ours[part].get_slice(key).get_shape()
measure(work, shapes)
"""
"""One layer as the others do it: sd-scripts networks/extract_lora_from_models.py, cloneofsimo lora_diffusion/cli_svd.py
and LyCORIS lycoris/utils (torch's default: all singular vectors), mergekit scripts/extract_lora.py
(full_matrices=False). Reading and the difference are in it, loading whole models and clamping to a quantile are not."""

_FULL = "all singular vectors (as sd-scripts, cloneofsimo and LyCORIS), sampled"
_THIN = "thin decomposition (as mergekit), sampled"


def measure(folder: Path, runs: int) -> int:
    """Build, measure, check that all did the same job, and return the exit code."""
    base = folder / "base"
    if not base.exists():
        subprocess.run([sys.executable, HERE / "checkpoints.py", "sd15", base], check=True)
        base.with_suffix(".safetensors").unlink()
    worst: dict[str, float] = {}
    outputs: dict[str, list[str]] = {}
    for kind in ("decaying", "flat"):
        tuned, out = folder / kind, folder / f"{kind}.safetensors"
        if not tuned.exists():
            subprocess.run([sys.executable, HERE / "tuned.py", "fine-tune", base, tuned, kind], check=True)
        outputs[kind] = [
            *(sys.executable, "-m", "lorry", "extract", str(tuned), str(base), "-o", str(out)),
            *("--rank", str(RANK), "--conv", "1x1", "--only-low-rank"),
        ]
        out.unlink(missing_ok=True)
        subprocess.run(outputs[kind], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        errors = folder / f"{kind}.json"
        subprocess.run([sys.executable, HERE / "tuned.py", "error", base, tuned, out, errors], check=True)
        worst[kind] = max(json.loads(errors.read_text()).values())
    peers = {_FULL: "full", _THIN: "thin"}
    ours = {"lorry extract, decaying": "decaying", "lorry extract, flat": "flat"}
    costs: dict[str, list[Cost]] = {}
    told: Mapping[str, float] = {}
    for _ in range(runs):
        costs.setdefault(BARE, []).append(run(python("")))
        for name, kind in ours.items():
            (folder / f"{kind}.safetensors").unlink()
            costs.setdefault(name, []).append(run(outputs[kind]))
        for name, how in peers.items():
            cost, told = sampled(DECOMPOSE, [base, folder / "decaying", how, folder / "decaying.json"])
            costs.setdefault(name, []).append(cost)
    mine = cpu(costs["lorry extract, decaying"])
    return conclude(
        Result(
            name="extract",
            title="Extracting a LoRA of rank 32 from a fine-tune of Stable Diffusion 1.5, float16, 264 layers",
            counted="whole processes, imports and files in it; of those sampled, the singular value decompositions of "
            f"{told['timed']} layers, one of each shape, times their number, and starting once; "
            "nothing of what these tools do besides",
            accuracy="each layer's error over the least that its rank can have, less 1: at most "
            f"{worst['decaying']:.1e} where differences decay, {worst['flat']:.1e} where they are flat",
            costs=costs,
            claims=[
                Claim(f"every error is within {EXCESS:g} of the least", max(worst.values()) <= EXCESS),
                _at_least("15 times less CPU than all singular vectors", 15, cpu(costs[_FULL]) / mine),
                _at_least("8 times less CPU than the thin decomposition", 8, cpu(costs[_THIN]) / mine),
            ],
            versions=versions([Contestant("", [], ["lorry", "torch", "safetensors"])]),
        )
    )


def _at_least(text: str, wanted: float, found: float) -> Claim:
    return Claim(f"{text}: {found:.1f} times, and {wanted:g} was wanted", found >= wanted)


if __name__ == "__main__":
    sys.exit(command_line(measure, runs=3))
