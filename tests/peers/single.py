"""One module under the name it has in Stable Diffusion: all that a peer's own kinds need."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

import lorry
from lorry.ir import Adapter, TensorRef
from lorry.ops.bases.base import Base
from tests.support.kinds import COLUMNS, ROWS

NAME = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


class Model(nn.Module):
    """One module under the name it has in Stable Diffusion."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        at: nn.Module = self
        for name in NAME.split(".")[:-1]:
            at.add_module(name, nn.Module())
            at = at.get_submodule(name)
        at.add_module("to_q", module)


def module_of(shape: tuple[int, ...]) -> nn.Linear | nn.Conv2d:
    """Make a module of random weights for a weight of one of the two shapes that layers are made for."""
    torch.manual_seed(0)
    return nn.Conv2d(COLUMNS, ROWS, 3) if len(shape) > 2 else nn.Linear(COLUMNS, ROWS)


def baked(adapter: Adapter, module: nn.Linear | nn.Conv2d) -> dict[str, torch.Tensor]:
    """Return its weights as lorry makes them, by their name in the base."""
    tensors = {f"unet.{NAME}.{name}": TensorRef.from_torch(value) for name, value in module.state_dict().items()}
    return dict(lorry.bake(Base(id="sd1", path=Path("memory"), tensors=tensors, files={}), [adapter]))
