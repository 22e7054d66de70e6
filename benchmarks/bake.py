"""Claim: baking costs little more than copying the file, and a fraction of what the field's tools take.

    python benchmarks/bake.py [--record] [--runs N] [--in FOLDER]

A LoRA of rank 32 on 264 modules goes into Stable Diffusion 1.5 in float16: into a checkpoint in one file (2.1 GB),
beside sd-scripts' way and a plain copy, and into its UNet's folder (1.7 GB) beside diffusers. Needs 12 GB of disk.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness import BARE, Claim, Contestant, Cost, Result, command_line, conclude, cpu, peak, python, race, versions

CHECKPOINTS = Path(__file__).with_name("checkpoints.py")

COPY = """
import os, sys
with open(sys.argv[1], "rb", buffering=0) as source, open(sys.argv[2], "wb", buffering=0) as target:
    buffer = memoryview(bytearray(16 << 20))
    while count := source.readinto(buffer):
        target.write(buffer[:count])
    os.fsync(target.fileno())
"""

SD_SCRIPTS = '''
"""networks/merge_lora.py, its algorithm: models are built in float32 and loaded, each weight gets
W + ratio * (up @ down) * alpha / rank, all is turned into the checkpoint's names and dtype and saved in one go."""
import json, sys, torch
from pathlib import Path
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel
base, lora, names, folder, out = sys.argv[1:]
names = json.loads(Path(names).read_text())
state = load_file(base)
folder = Path(folder)
models = {
    "unet": UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder / "unet")),
    "vae": AutoencoderKL.from_config(AutoencoderKL.load_config(folder / "vae")),
    "text_encoder": CLIPTextModel(CLIPTextConfig(**json.loads((folder / "text_encoder/config.json").read_text()))),
}
with torch.no_grad():
    own = {}
    for part, model in models.items():
        for key, tensor in model.state_dict().items():
            full = f"{part}.{key}"
            own[names["keys"].get(full) or names["keys"][f"{part}.text_model.{key}"]] = tensor
    for key, tensor in own.items():
        tensor.copy_(state[key].reshape(tensor.shape))
    network = {key: tensor.float() for key, tensor in load_file(lora).items()}
    for stem, key in names["modules"].items():
        down, up = network[f"{stem}.lora_down.weight"], network[f"{stem}.lora_up.weight"]
        scale = network[f"{stem}.alpha"] / down.shape[0]
        weight = own[key]
        if weight.dim() == 2:
            weight.copy_(weight + 1.0 * (up @ down) * scale)
        else:
            product = (up.squeeze(3).squeeze(2) @ down.squeeze(3).squeeze(2)).unsqueeze(2).unsqueeze(3)
            weight.copy_(weight + 1.0 * product * scale)
    save_file({key: own[key].half() if key in own else tensor for key, tensor in state.items()}, out)
'''

DIFFUSERS = """
import sys, torch
from diffusers import UNet2DConditionModel
base, lora, out = sys.argv[1:]
unet = UNet2DConditionModel.from_pretrained(base, torch_dtype=torch.float16)
unet.load_lora_adapter(lora, prefix="unet")
unet.fuse_lora()
unet.unload_lora()
unet.save_pretrained(out)
"""

PREPARE = """
import json, sys, lorry
from dataclasses import replace
from pathlib import Path
folder = Path(sys.argv[1])
single, base = lorry.open_base(folder / "sd15.safetensors"), lorry.open_base(folder / "sd15")
lora = lorry.open(folder / "lora.safetensors")
keys = {name: key for held in single.files.values() for key, stored in held.items() for name in stored.names}
stems = {path: keys[0].split(".")[0] for path, keys in lora.origin[0].keys.items()}
modules = {stem: keys[f"{path}.weight"] for path, stem in stems.items()}
(folder / "names.json").write_text(json.dumps({"keys": keys, "modules": modules}))
unet = {path: layers for path, layers in lora.layers.items() if path.component == "unet"}
lorry.save(replace(lora, layers=unet, origin=()), folder / "unet-lora.safetensors", "diffusers", force=True)
"""

SAME = """
import sys, torch, lorry
base, lora, out = lorry.open_base(sys.argv[1]), lorry.open(sys.argv[2]), lorry.open_base(sys.argv[3])
changed = {f"{path}.weight": layers[0] for path, layers in lora.layers.items()}
assert base.tensors.keys() == out.tensors.keys()
worst = 0.0
for name, ref in base.tensors.items():
    if name not in changed:
        assert ref.same(out.tensors[name]), f"{name} was not to change"
        continue
    layer, weight, got = changed[name], ref.torch().double(), out.tensors[name].torch().double()
    down, up = (layer.slots[slot].torch().double().flatten(1) for slot in ("down", "up"))
    exact = weight + (layer.scale * up @ down).view(weight.shape)
    worst = max(worst, float((got - exact).norm() / (exact.half().double() - exact).norm()))
print(f"error: {worst:.4f} times that of rounding to float16")
assert worst < float(sys.argv[4])
"""


def measure(folder: Path, runs: int) -> int:
    """Build, measure, check that all did the same job, and return the exit code."""
    base, single, lora = folder / "sd15", folder / "sd15.safetensors", folder / "lora.safetensors"
    if not single.exists():
        subprocess.run([sys.executable, CHECKPOINTS, "sd15", base], check=True)
    if not lora.exists():
        subprocess.run([sys.executable, CHECKPOINTS, "lora", single, lora], check=True)
    subprocess.run(python(PREPARE, folder), check=True)
    out, unet_out = folder / "out.safetensors", folder / "unet"
    names, unet_lora = folder / "names.json", folder / "unet-lora.safetensors"
    bake = [sys.executable, "-m", "lorry", "bake"]
    contestants = [
        Contestant(BARE, python("")),
        Contestant("copy and fsync", python(COPY, single, out)),
        Contestant("lorry bake", [*bake, str(single), str(lora), "-o", str(out)], ["lorry", "torch"]),
        Contestant(
            "sd-scripts' merge_lora.py (its algorithm)",
            python(SD_SCRIPTS, single, lora, names, base, out),
            ["torch", "safetensors", "diffusers", "transformers"],
        ),
        Contestant("lorry bake, UNet alone", [*bake, str(base / "unet"), str(unet_lora), "-o", str(unet_out)]),
        Contestant(
            "diffusers load, fuse, save, UNet alone",
            python(DIFFUSERS, base / "unet", unet_lora, unet_out),
            ["diffusers", "peft", "torch"],
        ),
    ]

    def clear() -> None:
        out.unlink(missing_ok=True)
        shutil.rmtree(unet_out, ignore_errors=True)

    for each in contestants[2:]:
        clear()
        subprocess.run(each.command, check=True, stdout=subprocess.DEVNULL)
        sources = (base / "unet", unet_lora, unet_out) if unet_out.exists() else (single, lora, out)
        subprocess.run(python(SAME, *sources, 2 if "diffusers" in each.name else 1.001), check=True)
    costs = race(contestants, runs, clear)
    clear()
    copied, ours, theirs, unet, diffusers = list(costs.values())[1:]
    return conclude(
        Result(
            name="bake",
            title="Baking a LoRA of rank 32 (264 modules) into Stable Diffusion 1.5, float16",
            counted="the whole process, from starting Python to a file on the disk; every library's import is in it",
            accuracy="all wrote W + s·up·down to the rounding of float16, and every other tensor bit for bit",
            costs=costs,
            claims=[
                _at_least("5 times less CPU than sd-scripts' way", 5, cpu(theirs) / cpu(ours)),
                _at_least("10 times less memory than sd-scripts' way", 10, peak(theirs) / peak(ours)),
                _at_least("2 times less CPU than diffusers", 2, cpu(diffusers) / cpu(unet)),
                _at_least("within twice the time of copying the file", 0.5, wall(copied) / wall(ours)),
            ],
            versions=versions(contestants),
        )
    )


def _at_least(text: str, wanted: float, found: float) -> Claim:
    return Claim(f"{text}: {found:.2f}, and {wanted:g} was wanted", found >= wanted)


def wall(costs: Sequence[Cost]) -> float:
    """Return the median seconds of some runs by the clock."""
    return statistics.median(cost.wall for cost in costs)


if __name__ == "__main__":
    sys.exit(command_line(measure))
