"""Safetensors headers that lie."""

from __future__ import annotations

from collections.abc import Mapping

from lorry_plugins.formats.safetensors import METADATA_LIMIT

from .attack import Attack, file_of, header_of, one, refused, sound, unknown

FOUR = bytes(4)
LIES: Mapping[str, tuple[bytes, str]] = {
    "a key twice": (file_of(header_of(("a", one()), ("a", one())), FOUR), "the key 'a' twice"),
    "a field twice": (
        file_of(b'{"a":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}}', FOUR), "'dtype' twice"),
    "metadata twice": (
        file_of(header_of(("__metadata__", {"a": "1"}), ("__metadata__", {"a": "2"}))), "'__metadata__' twice"),
    "a metadata key twice": (file_of(b'{"__metadata__":{"a":"1","a":"2"}}'), "the key 'a' twice"),
    "a key twice, once escaped": (
        file_of(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\\u0061":{}}', FOUR), "the key 'a' twice"),
    "a hole at the start": (file_of(header_of(("a", one(at=(4, 8)))), bytes(8)), "a hole before tensor 'a'"),
    "a hole in between": (
        file_of(header_of(("a", one()), ("b", one(at=(8, 12)))), bytes(12)), "a hole before tensor 'b'"),
    "an overlap": (file_of(header_of(("a", one()), ("b", one(at=(2, 6)))), bytes(6)), "an overlap before tensor 'b'"),
    "two names for the same bytes": (file_of(header_of(("a", one()), ("b", one())), FOUR), "an overlap"),
    "bytes behind the last tensor": (file_of(header_of(("a", one())), bytes(5)), "followed by something else"),
    "bytes behind no tensor": (file_of(b"{}", b"\x80\x02."), "followed by something else"),
    "fewer bytes than promised": (file_of(header_of(("a", one())), bytes(3)), "cut off"),
    "a header longer than the file": (file_of(b"{}", length=1 << 40), "cut off"),
    "a header of 17 MiB": (file_of(b"{" + b" " * (17 << 20) + b"}"), "more than the 16,777,216"),
    "a negative shape": (file_of(header_of(("a", one(shape=(-1,)))), FOUR), "plain counts"),
    "a negative offset": (file_of(header_of(("a", one(at=(-4, 0)))), FOUR), "plain counts"),
    "offsets that go backwards": (file_of(header_of(("a", one(at=(4, 0)))), FOUR), "plain counts"),
    "a single offset": (file_of(header_of(("a", one(at=(4,)))), FOUR), "plain counts"),
    "a shape of text": (file_of(header_of(("a", one(shape="1"))), FOUR), "plain counts"),
    "a shape of true": (file_of(header_of(("a", one(shape=(True,)))), FOUR), "plain counts"),
    "a shape of null": (file_of(header_of(("a", one(shape=None))), FOUR), "plain counts"),
    "a fraction": (file_of(b'{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}', FOUR), "'1.0' where only"),
    "an exponent": (file_of(b'{"a":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4]}}', FOUR), "'1e0' where only"),
    "NaN": (file_of(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', FOUR), "'NaN' where only"),
    "Infinity": (file_of(b'{"a":{"dtype":"F32","shape":[],"data_offsets":[0,-Infinity]}}', FOUR), "'-Infinity' where"),
    "a number past 63 bits": (file_of(header_of(("a", one(shape=(1 << 63,)))), FOUR), "plain counts"),
    "a shape that wraps to its size": (file_of(header_of(("a", one(shape=(1 << 62, 4, 4)))), FOUR), "does not fill"),
    "a hundred axes": (file_of(header_of(("a", one(shape=(1,) * 100))), FOUR), "plain counts"),
    "a number of a million digits": (file_of(b'{"a":' + b"1" * 1_000_000 + b"}"), "not UTF-8 JSON"),
    "a shape that does not fit the bytes": (file_of(header_of(("a", one(shape=(2,)))), FOUR), "does not fill"),
    "half a byte": (file_of(header_of(("a", one("F4", (3,), (0, 1)))), b"\0"), "does not fill"),
    "an unknown dtype": (file_of(header_of(("a", one("F128"))), FOUR), "unknown dtype 'F128'"),
    "a dtype of torch": (file_of(header_of(("a", one("torch.float32"))), FOUR), "unknown dtype"),
    "a dtype that is a list": (file_of(header_of(("a", one(["F32"]))), FOUR), "unknown dtype"),
    "a tensor that is a number": (file_of(header_of(("a", 1))), "not described by"),
    "a tensor without offsets": (file_of(header_of(("a", {"dtype": "F32", "shape": []}))), "not described by"),
    "a field too many": (file_of(header_of(("a", one() | {"code": "x"})), FOUR), "not described by"),
    "a list for a header": (file_of(b"[]"), "not a safetensors file"),
    "a leading blank": (file_of(b" {}"), "does not begin with"),
    "a byte order mark": (file_of(b"\xef\xbb\xbf{}"), "not a safetensors file"),
    "UTF-16": (file_of('{"a":1}'.encode("utf-16-le")), "not UTF-8 JSON"),
    "a byte that is not UTF-8": (file_of(b'{"\xff":1}'), "not UTF-8 JSON"),
    "two documents": (file_of(b"{}{}"), "not UTF-8 JSON"),
    "no end": (file_of(b'{"a":'), "not UTF-8 JSON"),
    "a raw line break in text": (file_of(b'{"a\n":1}'), "not UTF-8 JSON"),
    "zeros": (file_of(b"{" + bytes(100)), "not UTF-8 JSON"),
    "a key with an escape for terminals": (file_of(header_of(("\x1b[2J", one())), FOUR), "control characters"),
    "a metadata key with a bell": (file_of(header_of(("__metadata__", {"\a": ""}))), "control characters"),
    "a key of a thousand characters": (file_of(header_of(("k" * 1000, one())), FOUR), "more than 512"),
    "metadata that is a list": (file_of(header_of(("__metadata__", ["a"]))), "not a table of text"),
    "metadata of numbers": (file_of(header_of(("__metadata__", {"step": 1}))), "not a table of text"),
    "metadata with tables in it": (file_of(header_of(("__metadata__", {"a": {"b": "c"}}))), "not a table of text"),
    "metadata of null": (file_of(header_of(("__metadata__", None))), "not a table of text"),
    "too much metadata": (
        file_of(header_of(("__metadata__", {"a": "x" * (METADATA_LIMIT + 1)}))), "more than 8,388,608 characters"),
    "a hundred thousand lists in lists": (file_of(b'{"a":' + b"[" * 100_000), "nested too deeply"),
    "a hundred thousand tables in tables": (file_of(b'{"a":' * 100_000), "nested too deeply"),
}  # fmt: skip

STRANGE = ("a list for a header", "a byte order mark")
"""They do not even begin as a header does."""

HEADERS: Mapping[str, Attack] = {
    "two tensors": sound(file_of(header_of(("a", one()), ("b", one(at=(4, 8)))), bytes(8))),
    **refused({name: each for name, each in LIES.items() if name not in STRANGE}),
    **{name: unknown(LIES[name][0], "no container of tensors") for name in STRANGE},
}
