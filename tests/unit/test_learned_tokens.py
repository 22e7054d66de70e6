"""Learned tokens in every layout: whose text they are, which encoder's, and what is no token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import lorry
from lorry.errors import NotRecognised, NotRepresentable
from lorry.ir import Adapter, TensorRef, Token
from tests.support.files import kohya, write

Shapes = Mapping[str, tuple[int, ...]]


def shapes(adapter: Adapter) -> dict[str, dict[str, tuple[int, ...]]]:
    return {text: {part: ref.shape for part, ref in token.vectors.items()} for text, token in adapter.tokens.items()}


LAYOUTS: Mapping[str, tuple[str, Shapes, str, str, dict[str, dict[str, tuple[int, ...]]]]] = {
    "emb_params: the file's name is the text": (
        "cat.safetensors", {"emb_params": (2, 768)}, "kohya-embedding", "sd1", {"cat": {"text_encoder": (2, 768)}},
    ),
    "emb_params of SD2's width": (
        "cat.safetensors", {"emb_params": (2, 1024)}, "kohya-embedding", "sd2", {"cat": {"text_encoder": (2, 1024)}},
    ),
    "by text": (
        "learned_embeds.safetensors", {"<cat-toy>": (3, 768), "ohwx": (1, 768)}, "diffusers-embedding", "sd1",
        {"<cat-toy>": {"text_encoder": (3, 768)}, "ohwx": {"text_encoder": (1, 768)}},
    ),
    "a bare vector": (
        "learned_embeds.safetensors", {"<cat>": (768,)}, "diffusers-embedding", "sd1",
        {"<cat>": {"text_encoder": (1, 768)}},
    ),
    "two encoders of SDXL": (
        "cat.safetensors", {"clip_l": (2, 768), "clip_g": (2, 1280)}, "encoder-embedding", "sdxl",
        {"cat": {"text_encoder": (2, 768), "text_encoder_2": (2, 1280)}},
    ),
    "two encoders of FLUX": (
        "cat.safetensors", {"clip_l": (1, 768), "t5": (1, 4096)}, "encoder-embedding", "flux1",
        {"cat": {"text_encoder": (1, 768), "text_encoder_2": (1, 4096)}},
    ),
    "a row a token": (
        "cat_emb.safetensors", {"clip_l": (2, 768), "clip_g": (2, 1280)}, "encoder-embedding", "sdxl",
        {name: {"text_encoder": (1, 768), "text_encoder_2": (1, 1280)} for name in ("<s0>", "<s1>")},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "keys", "dialect", "base", "tokens"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_a_layout_is_read(
    name: str, keys: Shapes, dialect: str, base: str, tokens: dict[str, dict[str, tuple[int, ...]]], tmp_path: Path
) -> None:
    path = write(tmp_path / name, {key: torch.randn(shape) for key, shape in keys.items()})
    adapter = lorry.open(path)
    assert (adapter.origin[0].dialect, adapter.base) == (dialect, base)
    assert shapes(adapter) == tokens
    assert set(adapter.report.used) == set(keys)
    assert not adapter.report.unmapped


def test_rows_of_a_matrix_are_the_vectors_of_their_tokens(tmp_path: Path) -> None:
    matrix = torch.randn(3, 768)
    adapter = lorry.open(write(tmp_path / "cat_emb.safetensors", {"clip_l": matrix, "clip_g": torch.randn(3, 1280)}))
    assert torch.equal(adapter.tokens["<s1>"].vectors["text_encoder"].torch(), matrix[1:2])


BUNDLES: Mapping[str, tuple[Shapes, dict[str, dict[str, tuple[int, ...]]]]] = {
    "of the only encoder": (
        {"bundle_emb.cat.string_to_param.*": (2, 8)}, {"cat": {"text_encoder": (2, 8)}},
    ),
    "of a named encoder": ({"bundle_emb.cat.clip_l": (2, 8)}, {"cat": {"text_encoder": (2, 8)}}),
    "with dots in the text": ({"bundle_emb.a.b.clip_l": (1, 8)}, {"a.b": {"text_encoder": (1, 8)}}),
    "two of them": (
        {"bundle_emb.cat.clip_l": (1, 8), "bundle_emb.dog.clip_l": (3, 8)},
        {"cat": {"text_encoder": (1, 8)}, "dog": {"text_encoder": (3, 8)}},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("keys", "tokens"), BUNDLES.values(), ids=BUNDLES.keys())
def test_tokens_travel_with_a_lora(keys: Shapes, tokens: dict[str, dict[str, tuple[int, ...]]], tmp_path: Path) -> None:
    made = {**kohya(), **{key: torch.randn(shape) for key, shape in keys.items()}}
    adapter = lorry.open(write(tmp_path / "a.safetensors", made))
    assert shapes(adapter) == tokens
    assert set(adapter.report.used) == set(made)
    assert adapter.kinds == ("lora", "textual-inversion")


STRANGE: Mapping[str, tuple[Shapes, str]] = {
    "two sets for one encoder": (
        {"bundle_emb.cat.clip_l": (1, 8), "bundle_emb.cat.string_to_param.*": (1, 8)}, "two sets of vectors",
    ),
    "three axes": ({"bundle_emb.cat.clip_l": (2, 3, 8)}, "no rows of an embedding"),
    "no axes": ({"bundle_emb.cat.clip_l": ()}, "no rows of an embedding"),
    "an encoder the base lacks": ({"bundle_emb.cat.t5": (1, 8)}, "has no text encoder t5"),
}  # fmt: skip


@pytest.mark.parametrize(("keys", "says"), STRANGE.values(), ids=STRANGE.keys())
def test_vectors_that_make_no_token_are_told_and_not_used(keys: Shapes, says: str, tmp_path: Path) -> None:
    made = {**kohya(), **{key: torch.randn(shape) for key, shape in keys.items()}}
    adapter = lorry.open(write(tmp_path / "a.safetensors", made))
    assert not adapter.tokens
    unmapped = dict(adapter.report.unmapped)
    assert set(unmapped) == set(keys)
    assert all(says in reason for reason in unmapped.values())


@pytest.mark.parametrize(
    "keys", [{"a.weight": (2, 8)}, {"a": (2, 8), "b": (2, 9)}, {"a": (2, 8, 1)}, {"emb_params": (2, 2, 8)}]
)
def test_other_matrices_are_no_tokens(keys: Shapes, tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", {key: torch.randn(shape) for key, shape in keys.items()})
    with pytest.raises(NotRecognised):
        lorry.open(path)


def made_of(*texts: str, base: str = "sd1", parts: tuple[str, ...] = ("text_encoder",)) -> Adapter:
    tokens = {
        text: Token(text=text, vectors={part: TensorRef.from_torch(torch.randn(2, 768)) for part in parts})
        for text in texts
    }
    return Adapter(base=base, tokens=tokens)


@pytest.mark.parametrize("text", ["<cat>", "ohwx person", "日本", "ünïcödé", "a-b_c"])
@pytest.mark.parametrize("dialect", ["diffusers-embedding", "kohya-embedding", "kohya"])
def test_a_token_reads_back_as_it_was_saved(text: str, dialect: str, tmp_path: Path) -> None:
    adapter = made_of(text)
    if dialect == "kohya":
        layers = lorry.open(write(tmp_path / "lora.safetensors", kohya())).layers
        adapter = replace(adapter, layers=layers)
    path = tmp_path / f"{text}.safetensors"
    lorry.save(adapter, path, dialect)
    back = lorry.open(path)
    assert list(back.tokens) == [text]
    assert back.tokens[text].same(adapter.tokens[text])


@pytest.mark.parametrize("text", ["a.b", "a:b", "clip_l", "emb_params"])
def test_a_text_that_would_be_read_as_something_else_is_not_written(text: str, tmp_path: Path) -> None:
    with pytest.raises(NotRepresentable, match=f"{text}: "):
        lorry.save(made_of(text), tmp_path / "a.safetensors", "diffusers-embedding")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("adapter", "dialect", "says"),
    [
        (made_of("a", "b"), "kohya-embedding", "holds one token"),
        (made_of("a", "b", base="sdxl", parts=("text_encoder", "text_encoder_2")), "encoder-embedding", "one token"),
        (
            made_of("a", base="sdxl", parts=("text_encoder", "text_encoder_2")),
            "diffusers-embedding",
            "one text encoder",
        ),
        (made_of("a"), "diffusers", "holds no learned tokens"),
        (made_of("a"), "peft", "holds no learned tokens"),
    ],
)
def test_what_a_layout_cannot_hold_is_not_representable(
    adapter: Adapter, dialect: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(NotRepresentable, match=says):
        lorry.save(adapter, tmp_path / "out", dialect)
    assert not list(tmp_path.iterdir())


def test_tokens_are_the_same_by_their_numbers() -> None:
    one, two = made_of("a").tokens["a"], made_of("a").tokens["a"]
    again = Token(text="a", vectors={name: TensorRef.from_torch(ref.torch()) for name, ref in one.vectors.items()})
    assert one.same(again)
    assert not one.same(two)
    assert not one.same(Token(text="b", vectors=one.vectors))
    assert not one.same(Token(text="a", vectors={}))
