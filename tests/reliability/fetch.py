"""A clone that is killed at its k-th durable call: python -m tests.reliability.fetch HOME ADDRESS K TOLD."""

from __future__ import annotations

import sys
from pathlib import Path

from lorry_registry import Registry
from tests.reliability.faults import KILLED, Faults

if __name__ == "__main__":
    home, address, at, told = sys.argv[1:]
    registry = Registry(home)
    registry.store.layout.prepare()
    Faults(int(at), KILLED, Path(told))
    registry.clone(address)
