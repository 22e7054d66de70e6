"""From numbers to names and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from lorry.ir import TensorMap, TensorRef
from lorry.ir.tensor import zeros
from lorry_plugins.formats.cloneofsimo import order

UNET, NEW_UNET, TEXT = "unet", "unet-new", "text_encoder"
"""Prefixes of the names; which of the UNet's two says in which order its layers were numbered."""

_LAYER = re.compile(r"(unet|unet-new|text_encoder)\.(.+)\.(up|down)")
_BLOCK = re.compile(r"(?:down|up)_blocks\.\d+|mid_block")
_GEGLU_RATIO = 8
_LEAVES = len(order.text_encoder(1))

Pair = tuple[TensorRef, TensorRef]
"""Up and down of one layer."""


def names(component: str, pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Return the prefixed name of every numbered layer; none where no order has so many, of such shapes."""
    if component == TEXT:
        layers, rest = divmod(len(pairs), _LEAVES)
        return () if rest else tuple(f"{TEXT}.{name}" for name in order.text_encoder(layers))
    for targets in order.unet_of(len(pairs)):
        for prefix in (UNET, NEW_UNET):
            found = order.unet(targets, new=prefix == NEW_UNET)
            if all(_fits(name, pair) for name, pair in zip(found, pairs, strict=True)):
                return tuple(f"{prefix}.{name}" for name in found)
    return ()


def component(pairs: Iterable[Pair]) -> str:
    """Tell which model a list without a header is of: a text encoder's attention is square, of one width."""
    widths = {size for up, down in pairs for size in (up.shape[0], down.shape[1])}
    return TEXT if len(widths) == 1 else UNET


def layers(spelled: TensorMap) -> dict[str, dict[str, Pair]]:
    """Return up and down of every named layer, by prefix and module name."""
    found: dict[str, dict[str, dict[str, TensorRef]]] = {}
    for key, ref in spelled.tensors.items():
        if parts := _LAYER.fullmatch(key):
            found.setdefault(parts[1], {}).setdefault(parts[2], {})[parts[3]] = ref
    return {
        prefix: {name: (slots["up"], slots["down"]) for name, slots in modules.items()}
        for prefix, modules in found.items()
    }


def rest(spelled: TensorMap) -> dict[str, TensorRef]:
    """Return the tensors that belong to no layer: learned tokens."""
    return {key: ref for key, ref in spelled.tensors.items() if not _LAYER.fullmatch(key)}


def numbered(prefix: str, found: Mapping[str, Pair]) -> tuple[list[Pair], Mapping[str, str]]:
    """Put layers in order, with zeros for those that are missing; and tell what has no number or no known shape.

    None at all are returned where a missing one's shape is not known, since the others' numbers would shift.
    """
    pairs = {name: found[name] if name in found else _blank(name, found) for name in _wanted(prefix, found)}
    lost = dict.fromkeys(found.keys() - pairs.keys(), "Stable Diffusion 1 and 2 have no such layer to number")
    missing = "all layers of its sort are numbered; this one is missing, and the shape of its zeros is not known"
    lost |= {name: missing for name, pair in pairs.items() if pair is None}
    component = prefix.removesuffix("-new")
    whole = [pair for pair in pairs.values() if pair is not None]
    return whole if len(whole) == len(pairs) else [], {f"{component}.{name}": why for name, why in lost.items()}


def targets(found: Iterable[str]) -> order.Targets:
    """Tell which groups of layers there are."""
    every = tuple(found)
    return order.Targets(
        attention=any(".attn" in name for name in every),
        geglu=any(name.endswith(order.GEGLU) for name in every),
        resnets=any(".resnets." in name for name in every),
    )


def _wanted(prefix: str, found: Mapping[str, Pair]) -> tuple[str, ...]:
    if prefix == TEXT:
        return order.text_encoder(1 + max(int(name.split(".")[3]) for name in found))
    return order.unet(targets(found), new=prefix == NEW_UNET)


def _fits(name: str, pair: Pair) -> bool:
    up, down = pair
    return not name.endswith(order.GEGLU) or up.shape[0] == _GEGLU_RATIO * down.shape[1]


def _blank(name: str, found: Mapping[str, Pair]) -> Pair | None:
    """Make a layer that does nothing, as wide as its neighbours in the block; None where they do not tell."""
    block = _BLOCK.match(name)
    near = {each: pair for each, pair in found.items() if not block or each.startswith(f"{block[0]}.attentions.")}
    widths = {pair[1].shape[1] if each.endswith(order.GEGLU) else pair[0].shape[0] for each, pair in near.items()}
    across = {pair[1].shape[1] for each, pair in found.items() if each.endswith(("attn2.to_k", "attn2.to_v"))}
    inputs = across if name.endswith(("attn2.to_k", "attn2.to_v")) else widths
    if ".resnets." in name or len(widths) != 1 or len(inputs) != 1:
        return None
    rows = max(widths) * (_GEGLU_RATIO if name.endswith(order.GEGLU) else 1)
    dtype = next(iter(found.values()))[0].dtype
    return zeros(dtype, (rows, 1)), zeros(dtype, (1, max(inputs)))
