"""Learned tokens in one layout: what is written is found again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st

from lorry.errors import NotRepresentable
from lorry.ir import TensorMap, Token
from lorry.plugin import Component, TokenLayout
from lorry.testing import strategies
from lorry.testing.laws import expect


class Learned(NamedTuple):
    """Tokens with vectors by encoder name, and a layout to write them in."""

    layout: TokenLayout
    tokens: tuple[Token, ...]

    def __str__(self) -> str:
        return ", ".join(f"{each.text!r} for {' and '.join(map(repr, each.vectors))}" for each in self.tokens)


def examples(layout: TokenLayout) -> st.SearchStrategy[Learned]:
    """Draw tokens for one encoder, which needs no name, or for two."""
    names = st.sampled_from([("clip_l", "clip_g"), ("clip_l",) if layout.named else ("",)])
    encoders = names.map(lambda each: [Component(name=name, modules=()) for name in each])
    drawn = encoders.flatmap(strategies.tokens)
    return drawn.map(lambda found: Learned(layout, tuple(found.values())))


def what_is_written_is_found_again(each: Learned) -> None:
    """What write(tokens) makes, read finds again, token by token; or NotRepresentable names what cannot be held."""
    if each.layout.write is None:
        return
    try:
        written = each.layout.write(each.tokens)
    except NotRepresentable as error:
        expect(error.layers, "it refuses, but names nothing")
        return
    # Some layouts have a token's text in the file's name alone.
    found = each.layout.read(
        TensorMap(tensors=written.tensors, metadata=written.metadata, paths=(Path(f"{each.tokens[0].text}.any"),))
    )
    wanted = {token.text: token for token in each.tokens}
    expect(found.vectors.keys() == wanted.keys(), f"it reads {', '.join(map(repr, found.vectors))}")
    for text, vectors in found.vectors.items():
        rows = {name: ref if len(ref.shape) > 1 else ref.reshape(1, ref.numel) for name, ref in vectors.items()}
        expect(Token(text, rows).same(wanted[text]), f"the vectors of {text!r} are others")
    expect(
        {key for keys in found.keys.values() for key in keys} <= written.tensors.keys(),
        "it claims keys that are not there",
    )


def nothing_is_found_in_layers(each: Learned) -> None:
    """What holds no tokens of this layout has none, and is no error."""
    found = each.layout.read(
        TensorMap(tensors={"lora_unet_x.lora_down.weight": next(iter(each.tokens[0].vectors.values()))})
    )
    expect(not found.vectors, f"it reads {', '.join(map(repr, found.vectors))} from a key of a layer")


LAWS: tuple[Callable[[Learned], None], ...] = (what_is_written_is_found_again, nothing_is_found_in_layers)
