"""Claim: telling what many adapters are, and hashing them, costs a fifth of the CPU of loading and hashing them.

    python benchmarks/identify.py [--record] [--runs N] [--in FOLDER]

300 LoRAs of 11 MB on Stable Diffusion 1 (264 layers, 792 tensors each), in memory already. lorry's commands share
them among the cores, whose CPU time is added up; all else is one process, so that what it imports counts little.
What loads them does not learn what they are for. `load_file` of safetensors 0.8 maps a file and reads no number of it;
"into memory" copies each tensor, as tools do that convert, merge or keep them. `lorry inspect --hashes` gives five
hashes in one pass: sha256, BLAKE3 and CRC32 of the file, AutoV1 of 64 KiB of it, AutoV3 of its tensors. It keeps them,
and "again" and "known" are later looks at the same files; programs around the other ways, such as A1111's and
InvokeAI's, keep hashes too. Needs 3.3 GB of disk.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from harness import BARE, Claim, Contestant, Result, conclude, cpu, peak, python, race, versions, with_cache

ADAPTERS = Path(__file__).with_name("adapters.py")
COUNT, SHARE = 300, 0.2

HASHES = """
import hashlib, zlib
from blake3 import blake3
def every(data):
    start = 8 + int.from_bytes(data[:8], "little")
    return {
        "SHA256": hashlib.sha256(data).hexdigest(), "AutoV3": hashlib.sha256(data[start:]).hexdigest(),
        "BLAKE3": blake3(data).hexdigest(), "CRC32": f"{zlib.crc32(data):08x}",
        "AutoV1": hashlib.sha256(data[0x100000:0x110000]).hexdigest()[:8],
    }
hashing = {"none": len, "blake3": blake3, "sha256": hashlib.sha256, "five": every}
"""

EACH = f"""
import pathlib, sys
{HASHES}
what, how, folder = sys.argv[1:]
if what == "lorry":
    from lorry import identify as read
elif what == "lora_state_dict":
    from diffusers.loaders import StableDiffusionLoraLoaderMixin
    read = StableDiffusionLoraLoaderMixin.lora_state_dict
else:
    from safetensors.torch import load_file as read
    if what == "memory":
        lazily = read
        read = lambda path: [tensor.clone() for tensor in lazily(path).values()]
if how == "known":
    from lorry.ops.disk.hashes import known_hashes as hashed
else:
    hashed = lambda path: hashing[how](path.read_bytes())
for path in sorted(pathlib.Path(folder).iterdir()):
    read(path)
    if how != "none":
        hashed(path)
"""

SAME = f"""
import json, pathlib, sys
{HASHES}
told = [json.loads(line) for line in open(sys.argv[1])]
assert len(told) == int(sys.argv[2])
for each in told:
    assert "(sd1@" in each["base"] and each["format"] == ["kohya+safetensors"], each
    theirs = every(pathlib.Path(each["path"]).read_bytes())
    ours = each["hashes"][each["path"]]
    assert theirs.items() <= ours.items(), each["path"]
"""


def main() -> int:
    """Build, measure, check what lorry tells, and return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--in", dest="folder", type=Path)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        return _measure(Path(folder), options.runs)


def _measure(folder: Path, runs: int) -> int:
    many, told = folder / "many", folder / "told"
    subprocess.run([sys.executable, ADAPTERS, "many", str(COUNT), many], check=True)
    lorry = [sys.executable, "-m", "lorry", "-q"]
    first, kept = folder / "first", folder / "kept"
    inspect = [*lorry, "inspect", "-r", "--hashes", "--json", str(many)]
    with told.open("wb") as file:
        subprocess.run(with_cache(kept, inspect), check=True, stdout=file)
    subprocess.run(python(SAME, told, COUNT), check=True)
    identify = Contestant("lorry identify -r --json", [*lorry, "identify", "-r", "--json", str(many)])
    hashed = Contestant("lorry.identify, sha256", python(EACH, "lorry", "sha256", many))
    mapped = Contestant("load_file, sha256", python(EACH, "torch", "sha256", many))
    copied = Contestant("load_file into memory, sha256", python(EACH, "memory", "sha256", many))
    diffusers = Contestant("diffusers' lora_state_dict, sha256", python(EACH, "lora_state_dict", "sha256", many))
    inspected = Contestant("lorry inspect -r --hashes --json", with_cache(first, inspect))
    inspected_again = Contestant("lorry inspect -r --hashes --json again", with_cache(kept, inspect))
    known = Contestant("lorry.identify, known sha256", with_cache(kept, python(EACH, "lorry", "known", many)))
    pairs = [
        (identify, Contestant("load_file", python(EACH, "torch", "none", many))),
        (
            Contestant("lorry.identify, blake3", python(EACH, "lorry", "blake3", many)),
            Contestant("load_file, blake3", python(EACH, "torch", "blake3", many)),
        ),
        (hashed, mapped),
        (hashed, copied),
        (hashed, diffusers),
        (inspected, Contestant("load_file, the same five hashes", python(EACH, "torch", "five", many))),
        (inspected_again, mapped),
        (known, mapped),
        (known, copied),
        (known, diffusers),
    ]
    contestants = {each.name: each for pair in pairs for each in pair}
    forget = partial(shutil.rmtree, first, ignore_errors=True)
    costs = race([Contestant(BARE, python("")), *contestants.values()], runs, forget)
    claims = []
    for ours, theirs in pairs:
        share = cpu(costs[ours.name]) / cpu(costs[theirs.name])
        text = f"{ours.name}: {share:.2f} of the CPU of {theirs.name}; {SHARE} was wanted"
        claims.append(Claim(text, share <= SHARE))
    least = min(peak(costs[theirs.name]) / peak(costs[ours.name]) for ours, theirs in pairs)
    return conclude(
        Result(
            name="identify",
            title=f"{COUNT} LoRAs of 11 MB told apart and hashed",
            counted="the whole process and those it starts, from starting Python; memory is that of the largest",
            accuracy="every adapter is told to be a kohya LoRA of Stable Diffusion 1, and the five hashes are those of "
            "hashlib, blake3 and zlib; what loads the files tells no more than their tensors",
            costs=costs,
            claims=[*claims, Claim(f"every time at least {least:.1f} times less memory; 2 were wanted", least >= 2)],  # noqa: PLR2004  the claim
            versions=versions([Contestant("", [], ["lorry", "torch", "safetensors", "blake3", "diffusers"])]),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
