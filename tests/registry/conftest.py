"""What the registry's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorry_registry import Registry

from .helpers import write_lora


@pytest.fixture
def registry(home: Path) -> Registry:
    return Registry(home)


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    return write_lora(tmp_path / "cat.safetensors")


@pytest.fixture
def published(registry: Registry, lora: Path) -> Registry:
    """A registry with demo/cat@1.0.0 in it."""
    registry.publish("demo/cat@1.0.0", [lora])
    return registry
