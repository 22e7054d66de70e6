"""Claim: converting names costs a fifth of diffusers' converter, start and all, and the same memory at any rank.

    python benchmarks/convert.py [--record] [--runs N] [--in FOLDER]

A kohya LoRA on the 722 linear layers of SDXL's UNet, in float16, becomes peft at ranks 8, 32 and 128 (43, 171 and
681 MB). Beside diffusers' own conversion stand what no conversion can do without, a copy of the file, and what lorry
does besides: the sha256 of the source, which the new file records. It is kept, so that the same source costs less the
next time ("again"). `lorry.save` in a program that runs already pays for no start and hashes nothing: what one
more conversion costs there is told apart, beside what diffusers takes once it is imported. Needs 2.5 GB of disk.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from harness import BARE, Claim, Contestant, Cost, Result, conclude, cpu, peak, python, race, run, versions, with_cache

ADAPTERS = Path(__file__).with_name("adapters.py")
LORRY = [sys.executable, "-m", "lorry"]
RANKS = (8, 32, 128)
FACTOR, OVER, FLAT = 5, 0.1, 1.1

DIFFUSERS = """
import sys, time
from diffusers.loaders import StableDiffusionXLLoraLoaderMixin as Mixin
from safetensors.torch import save_file
started = time.process_time()
save_file(Mixin.lora_state_dict(sys.argv[1])[0], sys.argv[2])
with open(sys.argv[3], "a") as file:
    print(time.process_time() - started, file=file)
"""
RUNNING = """
import sys, time, lorry
def convert(source, target):
    lorry.save(lorry.open(source), target, format="peft")
convert(*sys.argv[4:])
started = time.process_time()
convert(*sys.argv[1:3])
with open(sys.argv[3], "a") as file:
    print(time.process_time() - started, file=file)
"""
COPY = "import shutil, sys; shutil.copyfile(*sys.argv[1:])"
SHA256 = "import hashlib, sys; hashlib.file_digest(open(sys.argv[1], 'rb'), 'sha256')"

SAME = """
import sys
from diffusers.utils import convert_unet_state_dict_to_peft as renamed
from safetensors.torch import load_file
ours, theirs, kohya = map(load_file, sys.argv[1:])
theirs = renamed({key.removeprefix("unet."): tensor for key, tensor in theirs.items()})
theirs = {f"base_model.model.{key}": tensor for key, tensor in theirs.items()}
assert ours.keys() == theirs.keys() and len(ours) == len(kohya) * 2 // 3
assert all(tensor.dtype == theirs[key].dtype and tensor.equal(theirs[key]) for key, tensor in ours.items())
"""


def main() -> int:
    """Build, measure, check that both did the same job, and return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--in", dest="folder", type=Path)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    starts = [Contestant(BARE, python("")), Contestant("lorry --version", [*LORRY, "--version"])]
    costs = race(starts, options.runs)
    bare, version = map(cpu, costs.values())
    claims: list[Claim] = []
    peaks: list[float] = []
    for rank in RANKS:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            found, running = _raced(rank, Path(folder), options.runs)
        ours, again, theirs, copied, sha = map(cpu, found.values())
        over, next_time = ours - version, again - version
        parts = f"of it {sha - bare:.2f} s for the sha256 of the source and {copied - bare:.2f} s to copy as many bytes"
        whole = f"rank {rank}: {theirs / ours:.1f} times less CPU than diffusers; {FACTOR} were wanted"
        least = f"rank {rank}: {over:.2f} s of CPU over lorry --version, {parts}; {OVER} s was wanted"
        less = f"rank {rank}: again, {next_time:.2f} s of CPU over lorry --version; {OVER} s was wanted"
        one = f"rank {rank}: one more in a running program, {running.lorry:.2f} s of CPU; {OVER} s was wanted"
        beside = f"rank {rank}: that is no more than the {running.diffusers:.2f} s of diffusers once it is imported"
        claims += [
            Claim(whole, theirs >= FACTOR * ours),
            Claim(least, over <= OVER),
            Claim(less, next_time <= OVER),
            Claim(one, running.lorry <= OVER),
            Claim(beside, running.lorry <= running.diffusers),
        ]
        costs |= found
        peaks.append(peak(found[f"lorry convert, rank {rank}"]))
    flat = f"memory is flat: {max(peaks):.0f} MB, {max(peaks) / min(peaks):.2f} times the least"
    return conclude(
        Result(
            name="convert",
            title="A kohya LoRA of SDXL (722 layers, float16) written as peft",
            counted="the whole process, from starting Python to the file; lorry alone hashes its source and waits "
            "for the disk (fsync)",
            accuracy="the tensors are equal bit for bit, under the keys that diffusers gives them for peft",
            costs=costs,
            claims=[*claims, Claim(flat, max(peaks) <= FLAT * min(peaks))],
            versions=versions([Contestant("", [], ["lorry", "diffusers", "torch", "safetensors"])]),
        )
    )


class _Running(NamedTuple):
    """Median CPU seconds of one conversion in a program that runs already: without its start, nor its imports."""

    lorry: float
    diffusers: float


def _raced(rank: int, folder: Path, runs: int) -> tuple[dict[str, list[Cost]], _Running]:
    """Convert an adapter of a rank in both ways, check that the files agree, and return what each way costs."""
    told, ours = folder / "diffusers", folder / "lorry"
    kohya, peft, other = folder / "kohya.safetensors", folder / "peft", folder / "other.safetensors"
    small, warmed = folder / "small.safetensors", folder / "warmed"
    subprocess.run([sys.executable, ADAPTERS, "sdxl", str(rank), kohya], check=True)
    subprocess.run([sys.executable, ADAPTERS, "sdxl", "1", small], check=True)
    first, kept = folder / "first", folder / "kept"
    convert = [*LORRY, "-q", "convert", str(kohya), "--to", "peft", "-o", str(peft)]
    contestants = [
        Contestant(f"lorry convert, rank {rank}", with_cache(first, convert)),
        Contestant(f"lorry convert again, rank {rank}", with_cache(kept, convert)),
        Contestant(f"diffusers, rank {rank}", python(DIFFUSERS, kohya, other, told)),
        Contestant(f"copy of the file, rank {rank}", python(COPY, kohya, other)),
        Contestant(f"sha256 of the file, rank {rank}", python(SHA256, kohya)),
    ]

    def clear() -> None:
        for each in (peft, first, warmed):
            shutil.rmtree(each, ignore_errors=True)
        other.unlink(missing_ok=True)

    for each in contestants[1:3]:
        run(each.command)
    subprocess.run(python(SAME, peft / "adapter_model.safetensors", other, kohya), check=True)
    costs = race(contestants, runs, clear)
    for _ in range(runs):
        clear()
        run(python(RUNNING, kohya, peft, ours, small, warmed))
    seconds = [statistics.median(map(float, file.read_text().split()[-runs:])) for file in (ours, told)]
    return costs, _Running(*seconds)


if __name__ == "__main__":
    sys.exit(main())
