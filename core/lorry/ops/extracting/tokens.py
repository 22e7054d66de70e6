"""Words that a fine-tune has and its base has not, with their vectors: the added rows of a text encoder's embedding."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorry.errors import Incompatible
from lorry.ir.tensor import TensorRef
from lorry.ir.token import Token
from lorry.ops.bases.base import Base
from lorry.plugin.base_model import BaseModel, Component


def new_tokens(tuned: Base, base: Base, model: BaseModel) -> dict[str, Token]:
    """Return the learned tokens that the tuned model's vocabularies have more.

    Words such as "cat", "cat_1", "cat_2" are the vectors of one token. Raises Incompatible where no tokenizer tells
    the words.
    """
    vectors: dict[str, dict[str, TensorRef]] = {}
    for component in model.components:
        name = f"{component.name}.{component.vocabulary}.weight"
        if not component.vocabulary or name not in base.tensors or name not in tuned.tensors:
            continue
        known, rows = base.tensors[name].shape[0], tuned.tensors[name]
        if rows.shape[0] > known:
            for text, ref in _by_text(_words(tuned, component, known), rows).items():
                vectors.setdefault(text, {})[component.name] = ref
    return {text: Token(text, found) for text, found in vectors.items()}


def _words(tuned: Base, component: Component, known: int) -> dict[str, int]:
    """Return the words of rows from `known` on."""
    folder = Path(tuned.path) / component.tokenizer
    if not folder.is_dir():
        raise Incompatible(
            f"{tuned.path} has more words in {component.name} than the base, and no {component.tokenizer} that tells "
            "them; give its folder, or leave out what has no rank (--only-low-rank)"
        )
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return {word: row for word, row in tokenizer.get_vocab().items() if row >= known}


def _by_text(words: Mapping[str, int], rows: TensorRef) -> dict[str, TensorRef]:
    """Join numbered words to the tokens they are vectors of."""
    parts: dict[str, dict[int, int]] = {}
    for word, row in words.items():
        found = re.fullmatch(r"(.+)_([1-9]\d*)", word)
        text, number = (found[1], int(found[2])) if found and found[1] in words else (word, 0)
        parts.setdefault(text, {})[number] = row
    return {
        text: TensorRef.cat([rows.rows(row, row + 1) for _, row in sorted(found.items())])
        for text, found in sorted(parts.items(), key=lambda each: each[1][0])
        if max(found.values()) < rows.shape[0]
    }
