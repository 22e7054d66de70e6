"""Files of many or large parts: what is in them is legal, and there is too much of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from lorry_plugins.formats.safetensors import BRACKET_LIMIT, HEADER_LIMIT, TENSOR_LIMIT

from .attack import Attack, Make, adapter, file_of, opened, refused, unknown


def tensors(template: str, count: int, shape: tuple[int, ...] = (0,)) -> Make:
    """Return what makes a file of `count` tensors, named by their number and by that divided by 2, 4 and 8."""

    def make(at: Path) -> Path:
        names = [template.format(each, each // 8, each // 2 % 4, ("down", "up")[each % 2]) for each in range(count)]
        (at / "a.safetensors").write_bytes(adapter(dict.fromkeys(names, (shape, 0.0)), dtype="F16"))
        return at / "a.safetensors"

    return make


def header(before: bytes, item: bytes, count: int, after: bytes) -> Make:
    def make(at: Path) -> Path:
        (at / "a.safetensors").write_bytes(file_of(before + (item + b",") * (count - 1) + item + after))
        return at / "a.safetensors"

    return make


def rubbish(item: bytes) -> Make:
    """Return what fills the largest header there may be with one item."""
    return header(b"{", item, HEADER_LIMIT // (len(item) + 1) - 1, b"}")


def sparse(at: Path) -> Path:
    """Make a file of two terabytes that takes a page of the disk."""
    (at / "a.safetensors").write_bytes(file_of(b"{" + b" " * 100, length=1 << 40))
    os.truncate(at / "a.safetensors", 1 << 41)
    return at / "a.safetensors"


def long_header(at: Path) -> Path:
    """Make a header of 100 MB; a hole on the disk, as the reader must not look at it."""
    (at / "a.safetensors").write_bytes(file_of(b"{", length=100_000_000))
    os.truncate(at / "a.safetensors", 100_000_008)
    return at / "a.safetensors"


def text(before: bytes, item: bytes = b"", count: int = 1, after: bytes = b"", between: bytes = b"") -> Make:
    def make(at: Path) -> Path:
        (at / "a.json").write_bytes(before + (item + between) * (count - 1) + item + after)
        return at / "a.json"

    return make


MODULES = "lora_unet_down_blocks_{2}_attentions_{1}_transformer_blocks_0_attn1_to_q.lora_{3}.weight"

MANY = TENSOR_LIMIT - 2

FLOODS: Mapping[str, Attack] = {
    "a JSON list": unknown(text(b"[[[0.5, 0.5]], [[0.5], [0.5]]]"), "keys such as '0'"),
    **refused({
        "200,000 empty tensors": (tensors("t{0}", 200_000), "more than 16,384|lists and tables"),
        "one tensor too many": (tensors("t{0}", TENSOR_LIMIT + 1), "16,385 tensors, more than"),
        "empty tensors with the names of modules": (tensors(MODULES, MANY, (0, 1)), "ranks of up and down differ"),
        "a header of one key": (rubbish(b'"a":1'), "the key 'a' twice"),
        "a header of lists": (rubbish(b'"a":[[],[],[],[],[],[],[],[]]'), "lists and tables"),
        "a header of tables": (rubbish(b'"a":{}'), "lists and tables"),
        "a header of as many lists as may be": (
            header(b'{"a":[', b"[]", BRACKET_LIMIT - 2, b"]}"), "not described by"),
        "two terabytes": (sparse, "more than the 16,777,216"),
        "a header of 100 MB": (long_header, "more than the 16,777,216"),
        "JSON of 129 MiB": (text(b"[[[0,", b" ", 129 << 20, b"0]]]"), "bytes of JSON"),
        "JSON of ten million lists": (text(b"[[[", b"[]", 10_000_000, b"]]]", b","), "more lists and numbers"),
        "JSON of ten million numbers": (text(b"[[[", b"0", 10_000_000, b"]]]", b","), "more lists and numbers"),
        "JSON of as many numbers as may be, one not like the others": (
            text(b"[[[", b"1e9", 6_000_000, b",[]]]]", b","), "differ in length or depth"),
        "JSON of a million deep": (text(b"", b"[", 1_000_000), "not JSON"),
        "JSON of a number of a million digits": (text(b"[[[", b"1", 1_000_000, b"]]]"), "not JSON"),
    }),
    "JSON of NaN": opened(text(b"[[[NaN]]]"), "NaN or infinity"),
    "modules of every number": Attack(tensors(MODULES, MANY, (1, 1)), "", "accept", None),
    "names that nobody knows": unknown(tensors("t.{0}.weight", MANY), "no adapter"),
    "long names that nobody knows": unknown(
        tensors(f"lora_unet_{'down_blocks_0_attentions_0_' * 15}{{0}}.lora_down.weight", MANY), "no adapter"),
    "names of underscores": unknown(tensors(f"lora_unet_{'_' * 400}{{0}}.lora_down.weight", MANY), "no adapter"),
    "names that begin as modules do": unknown(
        tensors(f"lora_unet_down_blocks_{'0_' * 60}{{0}}.lora_down.weight", MANY), "no adapter"),
}  # fmt: skip
