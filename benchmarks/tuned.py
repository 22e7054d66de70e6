"""Fine-tunes and adapters of large rank with known kinds of spectra, for benchmarks; run in a process of their own.

    python benchmarks/tuned.py fine-tune BASE FOLDER decaying|flat    BASE with 264 linear layers changed
    python benchmarks/tuned.py adapter BASE FILE                      a LoRA of rank 128 for the same layers, float16
    python benchmarks/tuned.py error BASE TUNED FILE OUT              how far FILE is from the best of its ranks
    python benchmarks/tuned.py resized BIG SMALL OUT                  how far SMALL is from the best of its ranks

A difference is 5 % of its weight's norm. None of these spectra was looked at while lorry's iteration was tuned; that
was done on i^-0.8 of rank 128 with noise.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch  # noqa: TID253  a script of arithmetic
from safetensors.torch import load_file, save_file

import lorry
from lorry.ir import Adapter, Layer, ModulePath, TensorRef

SHARE, LARGE, BEND = 0.05, 128, 64

Spectrum = Callable[[int], torch.Tensor]


def _numbers(size: int) -> torch.Tensor:
    return torch.arange(1, size + 1, dtype=torch.float32)


DECAYING: Mapping[str, Spectrum] = {
    "exp(-i/24)": lambda size: torch.exp(-_numbers(size) / 24),
    "i^-0.6": lambda size: _numbers(size) ** -0.6,
    "i^-1.1": lambda size: _numbers(size) ** -1.1,
    "i^-0.4, i^-2 from 64": lambda size: torch.where(
        _numbers(size) < BEND,
        _numbers(size) ** -0.4,
        BEND**1.6 * _numbers(size) ** -2,
    ),
}
FLAT: Mapping[str, Spectrum] = {
    "random numbers": lambda size: torch.empty(0),  # noqa: ARG005  a matrix of them has its own spectrum
    "1 to 1/2": lambda size: torch.linspace(1, 0.5, size),
}


def modules(base: lorry.Base) -> Iterator[tuple[ModulePath, tuple[int, ...]]]:
    """Yield the linear layers and 1x1 convolutions of transformer blocks, 264 in Stable Diffusion 1.5."""
    named = (".transformer_blocks.", ".proj_in", ".proj_out", ".encoder.layers.")
    for path, shape in base.shapes.items():
        inside = any(word in f".{path.name}" for word in named) and path.component != "vae"
        if inside and len(shape) > 1 and "norm" not in path.name:
            yield path, shape


def difference(shape: tuple[int, ...], spectrum: Spectrum, generator: torch.Generator) -> torch.Tensor:
    """Return a matrix of norm 1 with this spectrum, up to the randomness of its singular vectors."""
    rows, columns = shape[0], torch.Size(shape[1:]).numel()
    values = spectrum(min(rows, columns))
    if not len(values):
        made = torch.randn(rows, columns, generator=generator)
    else:
        left, right = (torch.randn(side, len(values), generator=generator) for side in (rows, columns))
        made = (torch.linalg.qr(left).Q * values) @ torch.linalg.qr(right).Q.mT
    scaled: torch.Tensor = (made / made.norm()).reshape(shape)
    return scaled


def fine_tune(base: Path, folder: Path, kind: str) -> None:
    """Write a fine-tune of a diffusers folder."""
    opened = lorry.open_base(base)
    shutil.copytree(base, folder)
    spectra = list((DECAYING if kind == "decaying" else FLAT).values())
    generator = torch.Generator().manual_seed(2)
    made = {
        str(path): difference(shape, spectra[at % len(spectra)], generator)
        for at, (path, shape) in enumerate(modules(opened))
    }
    for file in opened.files:
        place = folder / file.relative_to(base)
        tensors = load_file(place)
        for key, tensor in tensors.items():
            delta = made.pop(f"{file.parent.name}.{key.removesuffix('.weight')}", None)
            if delta is not None:
                weight = tensor.float()
                tensors[key] = (weight + SHARE * weight.norm() * delta).to(tensor.dtype)
        save_file(tensors, place, {"format": "pt"})


def adapter(base: Path, file: Path) -> None:
    """Write an adapter of large rank."""
    opened = lorry.open_base(base)
    generator = torch.Generator().manual_seed(3)
    spectra = list(DECAYING.values())
    layers: dict[ModulePath, tuple[Layer, ...]] = {}
    for at, (path, shape) in enumerate(modules(opened)):
        roots = spectra[at % len(spectra)](LARGE).sqrt() * 0.1
        down = torch.randn(LARGE, *shape[1:], generator=generator)
        up = torch.randn(shape[0], LARGE, generator=generator)
        slots = {
            "down": (down / down[0].numel() ** 0.5 * roots.reshape(-1, *(1 for _ in shape[1:]))).half(),
            "up": (up / shape[0] ** 0.5 * roots).reshape(shape[0], LARGE, *(1 for _ in shape[2:])).half(),
        }
        refs = {slot: TensorRef.from_torch(tensor) for slot, tensor in slots.items()}
        layers[path] = (Layer(kind="lora", slots=refs),)
    lorry.save(Adapter(base=opened.id, layers=layers), file, "kohya")


def excess(delta: torch.Tensor, made: torch.Tensor, rank: int) -> float:
    """Return ‖ΔW - made‖ over the least that rank can do, less 1."""
    delta, made = delta.double().flatten(1), made.double().flatten(1)
    long = delta if delta.shape[0] >= delta.shape[1] else delta.mT
    energies = torch.linalg.eigvalsh(long.mT @ long).flip(0)
    least = float(energies[rank:].clamp(min=0).sum().sqrt())
    return float((delta - made).norm()) / least - 1


def product(adapter: Adapter, path: ModulePath) -> tuple[torch.Tensor, int]:
    """Return what an adapter adds to a module, and its rank."""
    (layer,) = adapter.layers[path]
    up, down = (layer.slots[slot].torch(dtype=torch.float32).flatten(1) for slot in ("up", "down"))
    return layer.scale * up @ down, up.shape[1]


def error(base: Path, tuned: Path, file: Path, out: Path) -> None:
    """Write the excess error of an extracted adapter by module."""
    first, second, made = lorry.open_base(base), lorry.open_base(tuned), lorry.open(file)
    found = {}
    for path, _ in modules(first):
        name = f"{path}.weight"
        delta = second.tensors[name].torch(dtype=torch.float32) - first.tensors[name].torch(dtype=torch.float32)
        found[name] = excess(delta, *product(made, path))
    out.write_text(json.dumps(found))


def resized(big: Path, small: Path, out: Path) -> None:
    """Write the excess error of a resized adapter by module."""
    first, second = lorry.open(big), lorry.open(small)
    out.write_text(
        json.dumps({str(path): excess(product(first, path)[0], *product(second, path)) for path in first.layers})
    )


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    torch.set_grad_enabled(False)
    paths = list(map(Path, rest))
    if what == "fine-tune":
        fine_tune(paths[0], paths[1], rest[2])
    elif what == "adapter":
        adapter(paths[0], paths[1])
    elif what == "error":
        error(*paths)
    else:
        resized(*paths)
