"""LoRA as the papers define it, for linear layers and convolutions, and what no LoRA is."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import nn

from lorry.errors import InvalidFile
from lorry.ir import Layer, TensorRef
from lorry_plugins.adapters.lora import LORA, apply, factors, rank, target

SHAPES: Mapping[str, tuple[Mapping[str, tuple[int, ...]], tuple[int, ...]]] = {
    "linear": ({"down": (2, 5), "up": (4, 2)}, (4, 5)),
    "linear of odd sizes": ({"down": (3, 1), "up": (7, 3)}, (7, 1)),
    "1x1": ({"down": (2, 5, 1, 1), "up": (4, 2, 1, 1)}, (4, 5, 1, 1)),
    "3x3": ({"down": (2, 5, 3, 3), "up": (4, 2, 1, 1)}, (4, 5, 3, 3)),
    "3x1": ({"down": (2, 5, 3, 1), "up": (4, 2, 1, 1)}, (4, 5, 3, 1)),
    "1d": ({"down": (2, 5, 3), "up": (4, 2, 1)}, (4, 5, 3)),
    "3d": ({"down": (2, 5, 3, 3, 3), "up": (4, 2, 1, 1, 1)}, (4, 5, 3, 3, 3)),
    "tucker": ({"down": (3, 5, 1, 1), "mid": (2, 3, 3, 3), "up": (4, 2, 1, 1)}, (4, 5, 3, 3)),
    "tucker 1d": ({"down": (3, 5, 1), "mid": (2, 3, 3), "up": (4, 2, 1)}, (4, 5, 3)),
    "a core without a kernel": ({"down": (3, 5), "mid": (2, 3), "up": (4, 2)}, (4, 5)),
}


def made(shapes: Mapping[str, tuple[int, ...]], scale: float = 1.0) -> Layer:
    generator = torch.Generator().manual_seed(1)
    slots = {name: TensorRef.from_torch(torch.randn(shape, generator=generator)) for name, shape in shapes.items()}
    return Layer(kind="lora", slots=slots, scale=scale)


@pytest.mark.parametrize(("shapes", "wanted"), SHAPES.values(), ids=SHAPES.keys())
def test_apply_adds_what_the_factors_multiply_to(
    shapes: Mapping[str, tuple[int, ...]], wanted: tuple[int, ...]
) -> None:
    layer, weight = made(shapes, scale=0.7), torch.randn(wanted)
    assert target(layer.slots) == wanted
    assert rank(layer.slots) == shapes["up"][1]
    down, up = factors(layer)
    torch.testing.assert_close(apply(weight, layer), weight + 0.7 * (up @ down).reshape(wanted))


@pytest.mark.parametrize("name", ["3x3", "tucker"])
def test_the_delta_is_what_the_convolutions_of_a_trainer_do(name: str) -> None:
    shapes, wanted = SHAPES[name]
    layer = made(shapes)
    slots = {slot: ref.torch() for slot, ref in layer.slots.items()}
    picture = torch.randn(1, 5, 6, 6)
    hidden = nn.functional.conv2d(picture, slots["down"], padding=0 if "mid" in slots else 1)
    if "mid" in slots:
        hidden = nn.functional.conv2d(hidden, slots["mid"], padding=1)
    expected = nn.functional.conv2d(hidden, slots["up"])
    delta = apply(torch.zeros(wanted), layer)
    torch.testing.assert_close(nn.functional.conv2d(picture, delta, padding=1), expected, rtol=1e-4, atol=1e-4)


def test_build_makes_a_layer_of_the_very_factors() -> None:
    shapes, wanted = SHAPES["3x3"]
    found = factors(made(shapes))
    assert LORA.build is not None
    again = factors(LORA.build(found, wanted))
    assert torch.equal(again.down, found.down)
    assert torch.equal(again.up, found.up)


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        ({"down": (5,), "up": (4, 2)}, "make no LoRA"),
        ({"down": (2, 5), "up": (4,)}, "make no LoRA"),
        ({"down": (), "up": ()}, "make no LoRA"),
        ({"down": (2, 5), "up": (4, 3)}, "ranks of up and down differ"),
        ({"down": (2, 5, 3, 3), "up": (4, 2, 3, 3)}, "make no LoRA"),
        ({"down": (0, 5), "up": (4, 0)}, "rank is 0"),
        ({"down": (2, 5, 1, 1), "mid": (3, 3, 3, 3), "up": (4, 3, 1, 1)}, "ranks of up and down differ"),
        ({"down": (2, 5, 3, 3), "mid": (2, 2, 3, 3), "up": (4, 2, 1, 1)}, "both mid and down have a kernel"),
        ({"down": (2, 5, 1, 1), "mid": (2,), "up": (4, 2, 1, 1)}, "ranks of up and down differ"),
    ],
)
def test_shapes_that_make_no_lora_are_an_invalid_file(shapes: Mapping[str, tuple[int, ...]], says: str) -> None:
    with pytest.raises(InvalidFile, match=says):
        rank(made(shapes).slots)
