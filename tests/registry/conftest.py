"""What the registry's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lorry_registry import Registry

from . import oci
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


@pytest.fixture
def elsewhere(tmp_path: Path) -> Registry:
    """Another machine's registry."""
    return Registry(tmp_path / "elsewhere")


@pytest.fixture(scope="session")
def oci_strict() -> Iterator[str]:
    """Host and port of a registry that speaks OCI, strictly."""
    with oci.strict() as host:
        yield host


@pytest.fixture(scope="session")
def oci_debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Host and port of the registry that Debian and Ubuntu have."""
    with oci.debian(tmp_path_factory.mktemp("docker-registry")) as host:
        yield host
