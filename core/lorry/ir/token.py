"""A learned token: text in the prompt that stands for learned vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lorry.ir.tensor import TensorRef


class Token(NamedTuple):
    """The text and its vectors by text encoder component, each of shape (n, dim)."""

    text: str
    vectors: Mapping[str, TensorRef]

    def same(self, other: Token) -> bool:
        """Tell whether text and vectors are equal."""
        return (self.text, self.vectors.keys()) == (other.text, other.vectors.keys()) and all(
            ref.same(other.vectors[name]) for name, ref in self.vectors.items()
        )
