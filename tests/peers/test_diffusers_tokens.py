"""Learned tokens that lorry writes, loaded by diffusers itself: the same words, the same vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers as untyped_diffusers
import pytest
import torch
from safetensors.torch import load_file

import lorry
from lorry.ir import Adapter, TensorRef, Token
from lorry_plugins.backends.toybox import bases

from .pipelines import no_complaints

diffusers: Any = untyped_diffusers

WIDTH = 128


@pytest.fixture
def pipeline() -> Iterator[Any]:
    """Open the shipped Stable Diffusion."""
    opened = diffusers.StableDiffusionPipeline.from_pretrained(bases()["toybox-sd"], dtype=torch.float32)
    yield opened
    opened.unload_textual_inversion()


def vectors(count: int) -> torch.Tensor:
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(count))


def learned(pipeline: Any, text: str, count: int) -> torch.Tensor:
    """Return the vectors that a token means to a pipeline: diffusers names the further ones text_1, text_2 …"""
    words = [text, *(f"{text}_{at}" for at in range(1, count))]
    indices = pipeline.tokenizer.convert_tokens_to_ids(words)
    assert pipeline.tokenizer.unk_token_id not in indices
    table: torch.Tensor = pipeline.text_encoder.get_input_embeddings().weight
    return table[indices].detach()


@pytest.mark.parametrize("count", [1, 3])
def test_a_token_is_loaded_by_its_own_name(count: int, pipeline: Any, tmp_path: Path) -> None:
    token = Token(text="<raccoon>", vectors={"text_encoder": TensorRef.from_torch(vectors(count))})
    adapter = Adapter(base="sd1", tokens={token.text: token})
    saved = lorry.save(adapter, tmp_path / "raccoon.safetensors", "diffusers-embedding")
    with no_complaints():
        pipeline.load_textual_inversion(tmp_path, weight_name=saved.path.name)
    torch.testing.assert_close(learned(pipeline, "<raccoon>", count), vectors(count))


@pytest.mark.parametrize("name", ["clip_l", "clip_g"])
def test_vectors_for_two_encoders_are_loaded_one_by_one(name: str, pipeline: Any, tmp_path: Path) -> None:
    """As diffusers' guide to SDXL and its advanced training scripts do it."""
    made = {"text_encoder": vectors(2), "text_encoder_2": vectors(3)[:2]}
    token = Token(text="raccoon", vectors={part: TensorRef.from_torch(each) for part, each in made.items()})
    saved = lorry.save(
        Adapter(base="sdxl", tokens={token.text: token}), tmp_path / "raccoon.safetensors", "encoder-embedding"
    )
    with no_complaints():
        pipeline.load_textual_inversion(
            load_file(saved.path)[name],
            token=["<s0>", "<s1>"],
            text_encoder=pipeline.text_encoder,
            tokenizer=pipeline.tokenizer,
        )
    wanted = made["text_encoder" if name == "clip_l" else "text_encoder_2"]
    found = torch.cat([learned(pipeline, text, 1) for text in ("<s0>", "<s1>")])
    torch.testing.assert_close(found, wanted)
