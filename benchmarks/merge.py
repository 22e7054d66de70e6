"""Claim: three LoRAs become one of the same rank for a fortieth of what full singular value decompositions take.

    python benchmarks/merge.py [--record] [--runs N]

Three LoRAs of rank 32 on the 264 modules of Stable Diffusion 1.5 (UNet and text encoder, float16) are merged with the
weights 0.5, 0.3 and 0.4 to rank 32. The full decompositions of sd-scripts are timed on one module of each of the 18
shapes and multiplied by how many there are, as peft's and LyCORIS' would cost: a whole run takes minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import BARE, Claim, Contestant, Cost, Result, conclude, cpu, python, race, versions

WEIGHTS = (0.5, 0.3, 0.4)

FASTER, EXCESS, EXACT, ROUNDED = 40, 1e-4, 1e-6, 2**-10

MAKE = """
import sys, torch, lorry
from diffusers import UNet2DConditionModel
from pathlib import Path
from transformers import CLIPTextConfig, CLIPTextModel
from lorry.ir import Adapter, Layer, ModulePath, TensorRef
with torch.device("meta"):
    unet = UNet2DConditionModel(cross_attention_dim=768, sample_size=64)
    text = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12))
shapes = {}
for component, model, within in (("unet", unet, ".attentions."), ("text_encoder", text, "encoder.layers.")):
    for name, module in model.named_modules():
        if within in name and isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            own = name if component == "unet" or name.startswith("text_model.") else f"text_model.{name}"
            shapes[ModulePath(component, own)] = tuple(module.weight.shape)
assert len(shapes) == 264, len(shapes)
fall = torch.arange(1, 33) ** -0.4
for seed, name in enumerate("abc"):
    generator, layers = torch.Generator().manual_seed(seed), {}
    for path, (rows, *inner) in shapes.items():
        points = [1] * (len(inner) - 1)
        down = torch.randn(32, *inner, generator=generator) * fall.reshape(-1, 1, *points)
        up = torch.randn(rows, 32, *points, generator=generator) * 0.01
        slots = {"down": TensorRef.from_torch(down.half()), "up": TensorRef.from_torch(up.half())}
        layers[path] = (Layer(kind="lora", slots=slots, scale=0.5),)
    lorry.save(Adapter(base="sd1", layers=layers), Path(sys.argv[1], f"{name}.safetensors"), "kohya")
"""

FULL_SVD = '''
"""What networks/svd_merge_lora.py computes: deltas are built and added in float32, decomposed in full, the first 32
are kept, and numbers beyond the 0.99 quantile are cut off. One module a shape; prints CPU and wall seconds that all
modules would have taken, imports and files included, and the peak of memory in MB."""
import time
START = time.perf_counter()
import json, resource, sys, torch
from collections import Counter
from safetensors.torch import load_file, save_file
*files, weights, out = sys.argv[1:]
loras = [{key: tensor.float() for key, tensor in load_file(file).items()} for file in files]
stems = [key.removesuffix(".lora_down.weight") for key in loras[0] if key.endswith(".lora_down.weight")]
def size(stem):
    return len(loras[0][f"{stem}.lora_up.weight"]), loras[0][f"{stem}.lora_down.weight"][0].numel()
shape = {stem: size(stem) for stem in stems}
counts, made, more_cpu, more_wall = Counter(shape.values()), {}, 0.0, 0.0
for one in {size: stem for stem, size in shape.items()}.values():
    began, started = time.process_time(), time.perf_counter()
    total = torch.zeros(shape[one])
    for lora, weight in zip(loras, json.loads(weights)):
        down, up = (lora[f"{one}.lora_{slot}.weight"].flatten(1) for slot in ("down", "up"))
        total = total + weight * (up @ down) * (lora[f"{one}.alpha"] / len(down))
    left, values, right = torch.linalg.svd(total)
    left, right = left[:, :32] @ torch.diag(values[:32]), right[:32]
    edge = torch.quantile(torch.cat([left.flatten(), right.flatten()]), 0.99)
    for slot, each in (("up", left), ("down", right)):
        made[f"{one}.lora_{slot}.weight"] = each.clamp(-edge, edge).half().contiguous()
    more_cpu += (time.process_time() - began) * (counts[shape[one]] - 1)
    more_wall += (time.perf_counter() - started) * (counts[shape[one]] - 1)
save_file(made, out)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
print(json.dumps([time.process_time() + more_cpu, time.perf_counter() - START + more_wall, peak]))
'''

ERRORS = """
import json, sys, torch, lorry
from safetensors.torch import load_file
*files, weights, ours, theirs = sys.argv[1:]
loras, merged, clamped = [lorry.open(file) for file in files], lorry.open(ours), load_file(theirs)
keys = {path: keys[0].partition(".")[0] for path, keys in merged.origin[0].keys.items()}
worst = {"lorry": 0.0, "sd-scripts": 0.0}
def delta(layer):
    return layer.scale * layer.slots["up"].torch().double().flatten(1) @ layer.slots["down"].torch().double().flatten(1)
for path, (layer,) in merged.layers.items():
    if f"{keys[path]}.lora_up.weight" not in clamped:
        continue
    exact = sum(weight * delta(lora.layers[path][0]) for lora, weight in zip(loras, json.loads(weights)))
    values = torch.linalg.svdvals(exact)
    best, norm = float(values[32:].norm() / values.norm()), values.norm()
    up, down = (clamped[f"{keys[path]}.lora_{slot}.weight"].double() for slot in ("up", "down"))
    worst["lorry"] = max(worst["lorry"], float((delta(layer) - exact).norm() / norm) - best)
    worst["sd-scripts"] = max(worst["sd-scripts"], float((up @ down - exact).norm() / norm) - best)
print(json.dumps(worst))
"""

SUMS = '''
"""How far a weighted sum is from Σ wᵢ·ΔWᵢ: lorry's files, and peft's add_weighted_adapter on a model of its own."""
import json, sys, torch, lorry
from peft import LoraConfig, get_peft_model
*files, weights, exact32, exact16 = sys.argv[1:]
weights, loras = json.loads(weights), [lorry.open(file) for file in files]
paths = [path for path in loras[0].layers if "down_blocks.1.attentions.0" in str(path) and "proj_" not in str(path)]
def delta(layer):
    return layer.scale * layer.slots["up"].torch().double().flatten(1) @ layer.slots["down"].torch().double().flatten(1)
want = {path: sum(weight * delta(lora.layers[path][0]) for lora, weight in zip(loras, weights)) for path in paths}
def error(got):
    return sum(float((got[path] - want[path]).norm()) ** 2 for path in paths) ** 0.5 / sum(
        float(each.norm()) ** 2 for each in want.values()
    ) ** 0.5
found = {
    name: error({path: sum(map(delta, lorry.open(file).layers[path])) for path in paths})
    for name, file in (("lorry sum, float32", exact32), ("lorry sum, float16", exact16))
}
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        shapes = [want[path].shape for path in paths]
        self.parts = torch.nn.ModuleList([torch.nn.Linear(columns, rows, False) for rows, columns in shapes])
def name(at):
    return f"lora{at}"
config = LoraConfig(r=32, lora_alpha=16, target_modules=[f"parts.{at}" for at in range(len(paths))])
model = get_peft_model(Model(), config, name(0))
model.add_adapter(name(1), config), model.add_adapter(name(2), config)
parts = model.base_model.model.parts
for part, path in zip(parts, paths):
    for at, lora in enumerate(loras):
        part.lora_A[name(at)].weight.data = lora.layers[path][0].slots["down"].torch().float()
        part.lora_B[name(at)].weight.data = lora.layers[path][0].slots["up"].torch().float()
for how in ("cat", "linear", "svd"):
    model.add_weighted_adapter([name(at) for at in range(3)], list(weights), how, how, svd_full_matrices=False)
    deltas = [part.get_delta_weight(how).double().detach() for part in parts]
    found[f"peft {how}"] = error(dict(zip(paths, deltas)))
print(json.dumps(found))
'''


def main() -> int:
    """Build, measure, check that all did the same job, and return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return _measure(Path(folder), options.runs)


def _measure(folder: Path, runs: int) -> int:
    subprocess.run(python(MAKE, folder), check=True)
    files = [folder / f"{name}.safetensors" for name in "abc"]
    out, clamped, wide = (folder / f"{name}.safetensors" for name in ("out", "clamped", "wide"))
    merge = [
        *(sys.executable, "-m", "lorry", "merge"),
        *(f"{file}:{weight}" for file, weight in zip(files, WEIGHTS, strict=True)),
    ]
    svd = [*merge, "--method", "svd", "--dtype", "F16", "-o", str(out)]
    contestants = [
        Contestant(BARE, python("")),
        Contestant("import torch", python("import torch"), ["torch"]),
        Contestant("lorry merge --method svd", svd, ["lorry", "torch"]),
        Contestant("lorry merge (sum, rank 96)", [*merge, "--dtype", "F16", "-o", str(out)]),
    ]
    costs = race(contestants, runs, lambda: out.unlink(missing_ok=True))
    name = "sd-scripts' svd_merge_lora.py (its algorithm, one module a shape times their number)"
    slow = Contestant(name, python(FULL_SVD, *files, json.dumps(WEIGHTS), clamped), ["torch", "peft"])
    costs[name] = [Cost(*_answer(slow.command)) for _ in range(min(runs, 3))]
    out.unlink()
    subprocess.run([*svd], check=True, stdout=subprocess.DEVNULL)
    excess = _answer(python(ERRORS, *files, json.dumps(WEIGHTS), out, clamped))
    subprocess.run([*merge, "-o", str(wide)], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*merge, "--dtype", "F16", "--force", "-o", str(out)], check=True, stdout=subprocess.DEVNULL)
    sums = _answer(python(SUMS, *files, json.dumps(WEIGHTS), wide, out))
    ratio = cpu(costs[name]) / cpu(costs["lorry merge --method svd"])
    told = ", ".join(f"{how} {error:.2g}" for how, error in sums.items())
    return conclude(
        Result(
            name="merge",
            title="Merging three LoRAs of rank 32 (264 modules of Stable Diffusion 1.5, float16) into one of rank 32",
            counted="the whole process, from starting Python to a file on the disk; every library's import is in it",
            accuracy=(
                "relative error above the smallest possible at rank 32, on one module a shape: lorry "
                f"{excess['lorry']:.1e}, sd-scripts' way {excess['sd-scripts']:.1e} (it cuts off large numbers). "
                f"Relative error of a weighted sum: {told}. LyCORIS merges adapters into models alone"
            ),
            costs=costs,
            claims=[
                Claim(f"40 times less CPU than full decompositions: {ratio:.1f}", ratio >= FASTER),
                Claim("the error is that of the best rank-32 delta, to 1e-4", excess["lorry"] <= EXCESS),
                Claim("sum is Σ wᵢ·ΔWᵢ to 1e-6 in float32", sums["lorry sum, float32"] <= EXACT),
                Claim("and to the rounding of its factors in float16", sums["lorry sum, float16"] <= ROUNDED),
            ],
            versions=versions([*contestants, slow]),
        )
    )


def _answer(command: Sequence[str]) -> Any:  # noqa: ANN401  what JSON holds
    """Return what a child with one thread prints as JSON."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **threads})
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())
