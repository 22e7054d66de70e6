from __future__ import annotations

import pytest
from blake3 import blake3

from lorry.ir.tensor import TensorRef, from_bytes
from lorry.ops.disk.tensor_digest import tensor_digest

DOWN = from_bytes("F16", (1, 2), b"abcd")
UP = from_bytes("F32", (1,), b"wxyz")


def test_it_is_the_hash_of_what_the_docstring_says() -> None:
    written = b'["down","F16",[1,2]]\nabcd["up","F32",[1]]\nwxyz'
    assert tensor_digest({"up": UP, "down": DOWN}) == f"blake3:{blake3(written).hexdigest()}"


def test_it_does_not_depend_on_how_the_bytes_are_cut() -> None:
    whole = from_bytes("F16", (4, 2), bytes(range(16)))
    cut = TensorRef.cat([whole.rows(0, 1), from_bytes("F16", (3, 2), bytes(range(4, 16)))])
    assert tensor_digest({"a": cut}) == tensor_digest({"a": whole})


@pytest.mark.parametrize(
    "changed",
    [
        {"down": from_bytes("F16", (1, 2), b"abce")},
        {"down": from_bytes("BF16", (1, 2), b"abcd")},
        {"down": from_bytes("F16", (2, 1), b"abcd")},
        {"other": DOWN},
        {},
        {"down": DOWN, "up": UP},
    ],
    ids=["bytes", "dtype", "shape", "key", "nothing", "more"],
)
def test_every_change_of_the_tensors_changes_it(changed: dict[str, TensorRef]) -> None:
    assert tensor_digest(changed) != tensor_digest({"down": DOWN})


def test_its_value_is_never_another() -> None:
    odd = {'quo"ted\u00e9\t': from_bytes("F16", (1, 2), b"abcd"), "\u6f22": from_bytes("BF16", (0, 3), b"")}
    assert tensor_digest(odd) == "blake3:26ab154185029bffbfb236739e3bc8fc9f2564e61e064ace5d4d813322c6d20e"
