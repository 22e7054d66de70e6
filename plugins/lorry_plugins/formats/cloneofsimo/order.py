"""The order in which cloneofsimo/lora numbers the layers of Stable Diffusion 1 and 2: its files name none of them.

It walks the UNet's modules as diffusers registers them: down blocks, up blocks, the middle; in a block, attentions
before resnets. Up to diffusers 0.14 a transformer block had its feed-forward between its two attentions, since
0.15 it has it after them. Source: cloneofsimo/lora lora_diffusion/lora.py, `_find_modules`, and the history of
diffusers models/attention.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

CLASSES = {"attention": ("CrossAttention", "Attention"), "geglu": ("GEGLU",), "resnets": ("ResnetBlock2D",)}
"""What the header calls each group of targets."""

GEGLU = "ff.net.0.proj"

_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
_RESNET = ("conv1", "time_emb_proj", "conv2")
_TEXT = ("k_proj", "v_proj", "q_proj", "out_proj")


class Targets(NamedTuple):
    """Which groups of layers a file has: attention and geglu unless it was asked otherwise, resnets if extended."""

    attention: bool
    geglu: bool
    resnets: bool


def unet(targets: Targets, *, new: bool) -> tuple[str, ...]:
    """Return the name of every numbered layer, `new` as since diffusers 0.15."""
    return tuple(_unet(targets, new=new))


def unet_of(count: int) -> tuple[Targets, ...]:
    """Return the targets that make so many layers: none, or one, since all counts differ."""
    known = (Targets(*chosen) for chosen in product((True, False), repeat=3))
    return tuple(targets for targets in known if len(unet(targets, new=False)) == count and count)


def text_encoder(layers: int) -> tuple[str, ...]:
    """Return the name of every numbered layer of a CLIP of so many layers."""
    return tuple(f"text_model.encoder.layers.{at}.self_attn.{leaf}" for at in range(layers) for leaf in _TEXT)


def _unet(targets: Targets, *, new: bool) -> Iterator[str]:
    # block, attentions, resnets, which of these have another width on either side
    for at in range(4):
        yield from _block(f"down_blocks.{at}", 2 * (at < 3), 2, {0} if at in (1, 2) else set(), targets, new=new)  # noqa: PLR2004  the last has none
    for at in range(4):
        yield from _block(f"up_blocks.{at}", 3 * (at > 0), 3, {0, 1, 2}, targets, new=new)
    yield from _block("mid_block", 1, 2, set(), targets, new=new)


def _block(  # noqa: PLR0913  a row of data
    name: str, attentions: int, resnets: int, shortcuts: set[int], targets: Targets, *, new: bool
) -> Iterator[str]:
    for at in range(attentions):
        block = f"{name}.attentions.{at}.transformer_blocks.0"
        first, second = ([f"{block}.{part}.{leaf}" for leaf in _ATTENTION] for part in ("attn1", "attn2"))
        middle = [f"{block}.{GEGLU}"] if targets.geglu else []
        if not targets.attention:
            first, second = [], []
        yield from [*first, *second, *middle] if new else [*first, *middle, *second]
    for at in range(resnets if targets.resnets else 0):
        leaves = (*_RESNET, "conv_shortcut") if at in shortcuts else _RESNET
        yield from (f"{name}.resnets.{at}.{leaf}" for leaf in leaves)
