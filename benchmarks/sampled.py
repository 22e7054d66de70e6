"""Contestants that take minutes: one layer of each shape is done and timed, and counted as often as there are such.

The child is Python code that defines `work(name)`, what is done for one layer, and ends with `measure(work, shapes)`,
where `shapes` is a mapping from names of layers to anything that layers of equal cost have in common. What it costs
to start is counted once. Memory is that of the child as it ran, with one layer at a time.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import Cost, python, run

PRELUDE = """
import json, os, sys, time
def measure(work, shapes):
    counts = {}
    for name, shape in shapes.items():
        counts.setdefault(str(shape), [name, 0])[1] += 1
    start, layers = time.process_time(), 0.0
    for name, count in counts.values():
        before = time.process_time()
        work(name)
        layers += count * (time.process_time() - before)
    with open(os.environ["LORRY_BENCHMARK_OUT"], "w") as out:
        json.dump({"start": start, "layers": layers, "timed": len(counts), "of": len(shapes)}, out)
"""


def sampled(code: str, arguments: Sequence[object]) -> tuple[Cost, Mapping[str, float]]:
    """Run a child, and return its cost as if it had done every layer, and how many of how many it did."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "cost.json")
        cost = run(python(PRELUDE + code, *arguments), {**os.environ, "LORRY_BENCHMARK_OUT": str(out)})
        told = json.loads(out.read_text())
    cpu = told["start"] + told["layers"]
    return cost._replace(cpu=cpu, wall=cost.wall * cpu / cost.cpu), told
