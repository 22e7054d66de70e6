"""Small adapters of several kinds for a small base, and the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

import lorry
from lorry.ir import Adapter, ModulePath
from lorry.plugin.host import host
from lorry.testing.samples import Random, forms
from tests.journeys.conftest import command  # noqa: F401  a fixture
from tests.support import checkpoints
from tests.support.files import KOHYA, kohya, write

PATH = ModulePath("unet", "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q")
SHAPE = (checkpoints.WIDTH, checkpoints.WIDTH)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save("sd1", tmp_path_factory.mktemp("models") / "small")


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    more = KOHYA.replace("to_q", "to_k")
    return write(tmp_path / "cat.safetensors", {**kohya(rank=4, alpha=1.0), **kohya(more, rank=3, seed=4)})


@pytest.fixture
def dog(tmp_path: Path) -> Path:
    return write(tmp_path / "dog.safetensors", kohya(rank=4, seed=2, alpha=2.0))


def of_kind(kind: str, path: Path, seed: int = 0) -> Path:
    """Write an adapter of one layer of a kind, in the dialect that holds most kinds."""
    for make in forms(host().kinds()[kind]).values():
        layer = make(Random(seed, 2, 0.5), SHAPE)
        if layer is not None:
            lorry.save(Adapter(base="sd1", layers={PATH: (layer,)}), path, "lycoris")
            return path
    raise LookupError(kind)
