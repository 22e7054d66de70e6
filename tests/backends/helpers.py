"""Adapters made for the two shipped bases, and what tests ask of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from PIL.Image import Image
from torch import Tensor

from lorry.compose.pipeline_model import PipelineModel
from lorry.ir import Adapter, Layer, ModulePath, TensorRef, Token
from lorry.plugin import Kind, Request

PROMPT = Request(prompt="a flat cat on a teal background", seed=3, steps=4)

PATHS: Mapping[str, tuple[tuple[str, tuple[int, ...]], ...]] = {
    "sd1": (
        ("unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q", (96, 96)),
        ("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0", (64, 64)),
        ("unet.down_blocks.1.attentions.0.proj_in", (64, 64, 1, 1)),
        ("unet.down_blocks.0.downsamplers.0.conv", (32, 32, 3, 3)),
        ("unet.mid_block.resnets.0.conv1", (96, 96, 3, 3)),
        ("text_encoder.text_model.encoder.layers.0.self_attn.q_proj", (128, 128)),
    ),
    "flux1": (
        ("transformer.transformer_blocks.0.attn.to_q", (160, 160)),
        ("transformer.single_transformer_blocks.1.proj_out", (160, 800)),
        ("text_encoder.text_model.encoder.layers.0.mlp.fc1", (384, 128)),
        ("text_encoder_2.encoder.block.0.layer.0.SelfAttention.v", (128, 128)),
    ),
}
"""Modules of every sort with the shapes of their weights: linear, 1x1, 3x3, strided, text encoders."""


def made_up_kinds() -> list[Kind]:
    def rows(weight: Tensor, layer: Layer) -> Tensor:
        return weight * (1 + layer.scale * layer.slots["rows"].torch(dtype=torch.float32))

    def target(slots: Mapping[str, TensorRef]) -> tuple[int, ...]:
        out, *rest = slots["rows"].shape
        return (out, *(-1 for _ in rest))

    return [
        Kind(name="rows", title="Scales rows", apply=rows, target=target),
        Kind(name="wider", title="Widens the weight", apply=rows, changes_shape=True),
        Kind(name="timed", title="Depends on the timestep", apply=rows, timestep=True),
    ]


def lora(shape: tuple[int, ...], rank: int = 4, seed: int = 0, size: float = 0.15) -> Layer:
    """Make a random LoRA for a weight of that shape, large enough to show in a picture."""
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, *shape[1:], generator=generator) * size
    up = torch.randn(shape[0], rank, *(1 for _ in shape[2:]), generator=generator) * size
    slots = {"down": TensorRef.from_torch(down), "up": TensorRef.from_torch(up)}
    return Layer(kind="lora", slots=slots, scale=0.5)


def scaled_rows(shape: tuple[int, ...], seed: int = 0) -> Layer:
    """Make a layer of the made-up kind `rows`."""
    ones = (1 for _ in shape[1:])
    factor = torch.randn(shape[0], *ones, generator=torch.Generator().manual_seed(seed)) * 0.3
    return Layer(kind="rows", slots={"rows": TensorRef.from_torch(factor)})


def adapter(base: str, seed: int = 0, make: Callable[..., Layer] = lora) -> Adapter:
    """Make an adapter with one layer on each module of PATHS."""
    return Adapter(
        base=base,
        layers={
            ModulePath(*name.split(".", 1)): (make(shape, seed=seed + at),)
            for at, (name, shape) in enumerate(PATHS[base])
        },
    )


def token(
    text: str, count: int = 2, width: int = 128, components: tuple[str, ...] = ("text_encoder",), seed: int = 0
) -> Token:
    """Make a learned token of random vectors."""
    vectors = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return Token(text=text, vectors=dict.fromkeys(components, TensorRef.from_torch(vectors)))


def with_tokens(adapter: Adapter, *tokens: Token) -> Adapter:
    return replace(adapter, tokens={each.text: each for each in tokens})


def modules_of(model: PipelineModel) -> dict[str, int]:
    """Identify every module and parameter object of a model by name."""
    return {
        f"{part}.{name}": id(each)
        for part, module in model.parts.items()
        for name, each in (
            *module.named_modules(remove_duplicate=False),
            *module.named_parameters(remove_duplicate=False),
        )
    }


def difference(one: Image, other: Image) -> float:
    """Return the mean absolute difference of two pictures, in levels of 0..255."""
    first, second = (torch.frombuffer(bytearray(each.tobytes()), dtype=torch.uint8).float() for each in (one, other))
    return float((first - second).abs().mean())
