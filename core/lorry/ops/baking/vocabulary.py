"""Learned tokens added to a base's tokenizers, and the embeddings they make longer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lorry.errors import Conflict, Incompatible
from lorry.ir.tensor import TensorRef
from lorry.ir.token import Token
from lorry.ops.baking.bake import Baked
from lorry.plugin.base_model import BaseModel, Component


class Grown(NamedTuple):
    """A tokenizer and the embedding of its text encoder with tokens added.

    `name` and `matrix` are the embedding's tensor; `config` is what the encoder's configuration says of it now.
    """

    component: Component
    name: str
    matrix: TensorRef
    tokenizer: Any
    config: Mapping[str, int]

    def save(self, folder: Path) -> None:
        """Write tokenizer and configuration into a folder that has them as they were."""
        self.tokenizer.save_pretrained(folder / self.component.tokenizer)
        config = folder / self.component.name / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), **self.config}, indent=2) + "\n")


def vocabulary(baked: Baked) -> list[Grown]:
    """Add the tokens of a bake to the vocabulary of its base; nothing is written yet.

    Raises Conflict for a token with two meanings or a word that the tokenizer has, and Incompatible for a base
    without tokenizer or of another width.
    """
    known: dict[str, Token] = {}
    for token in baked.tokens:
        if not known.setdefault(token.text, token).same(token):
            raise Conflict(f"two adapters teach the token {token.text!r} different vectors; bake them one by one")
    model: BaseModel = baked.plugins.get("base_models", baked.base.id)
    grown: list[Grown] = []
    for component in model.components:
        mine = {text: token.vectors[component.name] for text, token in known.items() if component.name in token.vectors}
        if mine:
            grown.append(_grown(baked, component, mine))
    return grown


def _grown(baked: Baked, component: Component, tokens: Mapping[str, TensorRef]) -> Grown:
    import torch
    from transformers import AutoTokenizer

    base = baked.base
    name = f"{component.name}.{component.vocabulary}.weight"
    folder = base.path / component.tokenizer
    if name not in base.tensors or not folder.is_dir():
        raise Incompatible(f"{base.path} has no {name} or no {component.tokenizer} to add tokens to")
    matrix = baked[name]
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    for text, ref in tokens.items():
        vectors = ref.torch(dtype=matrix.dtype)
        if vectors.shape[1] != matrix.shape[1]:
            raise Incompatible(
                f"the token {text!r} has vectors of width {vectors.shape[1]}, {name} has {matrix.shape[1]}"
            )
        words = [text, *(f"{text}_{at}" for at in range(1, len(vectors)))]
        if taken := [word for word in words if word in tokenizer.get_vocab()]:
            raise Conflict(
                f"{taken[0]!r} is in the vocabulary of {component.tokenizer} already, and the word would lose its "
                "vector; attach the adapter when running instead (lorry generate)"
            )
        tokenizer.add_tokens(words)
        rows = [tokenizer.convert_tokens_to_ids(word) for word in words]
        missing = max(rows) + 1 - len(matrix)
        if missing > 0:
            matrix = torch.cat([matrix, matrix.new_zeros(missing, matrix.shape[1])])
        matrix[rows] = vectors
    config = {"vocab_size": len(matrix)}
    if tokenizer.eos_token_id is not None:
        # Published SDXL and FLUX say 2, which makes CLIP pool at the largest id: now that would be the new word.
        config["eos_token_id"] = tokenizer.eos_token_id
    return Grown(component, name, TensorRef.from_torch(matrix), tokenizer, config)
