"""Asking all keys of a source at once."""

from __future__ import annotations

import pytest

from lorry.ir import TensorMap
from lorry.ir.tensor import from_scalar

KEYS = ("lora_unet_b.alpha", "lora_unet_a.lora_up.weight", "bundle_emb.cat.clip_l", "unet:0:up")
SOURCE = TensorMap(tensors={key: from_scalar(1.0) for key in KEYS})


@pytest.mark.parametrize("start", range(1, 12, 5))
@pytest.mark.parametrize("stop", range(12, 30, 5))
def test_what_is_in_a_key_is_found(start: int, stop: int) -> None:
    for key in KEYS:
        assert SOURCE.begins("strange", key[:stop])
        assert SOURCE.ends("strange", key[-stop:])
        assert SOURCE.mentions("strange", key[start:stop])


@pytest.mark.parametrize("part", ["strange", "clip_lunet:0", "unet_b", "alpha.", "lora_unet_c", "z"])
def test_what_is_in_no_key_is_not_found(part: str) -> None:
    assert not SOURCE.begins(part)
    assert not SOURCE.ends(part)
    assert SOURCE.mentions(part) == any(part in key for key in KEYS)


def test_a_source_without_keys_has_nothing() -> None:
    empty = TensorMap(tensors={})
    assert not empty.begins("")
    assert not empty.ends("")
    assert not empty.mentions("a")
