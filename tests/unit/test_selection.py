"""Weights by name: what a SPEC means, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import lorry
from lorry.errors import InvalidArgument
from lorry.ir import Adapter, ModulePath
from lorry.ops.merging.selection import by_module, read_selection, to_text
from lorry.plugin.host import host
from lorry.testing import Random
from tests.support.kinds import LINEAR_LAYERS

SD1, SDXL = host().base_models()["sd1"], host().base_models()["sdxl"]

DOWN = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
UP = "unet.up_blocks.0.attentions.1.transformer_blocks.0.attn2.to_k"
LATE = "unet.up_blocks.1.attentions.1.transformer_blocks.0.attn2.to_k"
TEXT = "text_encoder.text_model.encoder.layers.0.mlp.fc1"


def path(name: str) -> ModulePath:
    return ModulePath(*name.split(".", 1))


@pytest.mark.parametrize(
    ("spec", "name", "weight"),
    [
        ("", DOWN, 1.0),
        ("0.5", DOWN, 0.5),
        ("unet=0.7", DOWN, 0.7),
        ("unet=0.7", TEXT, 1.0),
        ("*=0, unet=0.7", TEXT, 0.0),
        ("unet=0.7, *=0", DOWN, 0.0),
        ("unet.down_blocks.1=2", DOWN, 2.0),
        ("unet.down_blocks=2", DOWN, 2.0),
        ("unet.down_blocks.1.att=2, unet.down_blocks.1=3", DOWN, 3.0),
        ("unet.down_blocks.10=2", DOWN, 1.0),
        (f"{DOWN}=-1", DOWN, -1.0),
        (r"/attn[12]\.to_q$/=0.25", DOWN, 0.25),
        (r"/attn[12]\.to_q$/=0.25", UP, 1.0),
        ("/a{1,2}ttn/=3", DOWN, 3.0),
        ("/attn1/", DOWN, 1.0),
        ("IN04=0.4", DOWN, 0.4),
        ("IN05=0.4", DOWN, 1.0),
        ("BASE=0", TEXT, 0.0),
        ("OUT01=0.3", UP, 0.3),
        ("OUT04=0.3", LATE, 0.3),
        ("INALL=0.5", DOWN, 0.5),
        ("INALL=0.5", LATE, 0.0),
        ("INALL", TEXT, 1.0),
        ("IND", TEXT, 0.0),
        ("unet=1, " * 999 + "unet=2", DOWN, 2.0),
        ("# nothing\n*=0 # all\nunet=1e-1\n\n", DOWN, 0.1),
    ],
)
def test_the_last_rule_that_speaks_of_a_module_decides(spec: str, name: str, weight: float) -> None:
    assert read_selection(spec, SD1).weight(path(name)) == pytest.approx(weight)


def test_presets_are_those_of_the_base() -> None:
    content, style = (read_selection(f"b-lora-{each}=0.8", SDXL) for each in ("content", "style"))
    first = UP.replace("attentions.1", "attentions.0")
    assert [content.weight(path(each)) for each in (first, UP, DOWN, TEXT)] == [0.8, 0, 0, 0]
    assert [style.weight(path(each)) for each in (first, UP, DOWN, TEXT)] == [0, 0.8, 0, 0]
    with pytest.raises(InvalidArgument, match="'b-lora-style' is no file, no preset and no part of Stable Diffusion 1"):
        read_selection("b-lora-style", SD1)


def test_every_preset_and_block_of_every_base_reads() -> None:
    for base in host().base_models().values():
        for name in (*base.presets, *base.blocks):
            assert read_selection(f"{name}=0.5", base).rules


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("unte=0.5", "did you mean unet"),
        ("unet=much", "'unet=much' ends with no number"),
        ("unet=nan", "nan is no strength"),
        ("unet=inf", "inf is no strength"),
        ("/(/=1", "no regular expression"),
        ("weights-that-are-not-there.txt", "is no file"),
        ("=1", "no part of"),
    ],
)
def test_what_cannot_be_read_is_refused(spec: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        read_selection(spec, SD1)


def test_a_rule_that_is_for_nothing_is_refused_unless_it_names_a_known_part() -> None:
    for spec in ("IN05=0", "text_encoder=0.5", "INALL", "*=1"):
        read_selection(spec, SD1).check([path(DOWN)])
    for spec in ("unet.down_blocks.7=0", "/attn3/=0"):
        with pytest.raises(InvalidArgument, match="is for no module"):
            read_selection(spec, SD1).check([path(DOWN)])


def test_weights_are_read_from_a_file_and_written_as_one(tmp_path: Path) -> None:
    weights = {path(DOWN): 0.1 + 0.2, path(UP): -1e-9}
    file = tmp_path / "weights.txt"
    file.write_text(to_text(weights), encoding="utf-8")
    read = read_selection(str(file), SD1)
    assert {each: read.weight(each) for each in weights} == weights
    assert by_module(weights).weight(path(DOWN)) == 0.1 + 0.2
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidArgument, match="no text"):
        read_selection(str(file), SD1)


def test_a_merge_takes_one_for_all_or_one_for_each() -> None:
    layer = LINEAR_LAYERS["lora"](Random(1))
    one = Adapter(base="sd1", layers={path(DOWN): (layer,), path(TEXT): (layer,)})
    scale = layer.scale
    made = lorry.merge([(one, 0.5)], weights=["text_encoder=0.5"])
    assert [layers[0].scale for layers in made.layers.values()] == [scale * 0.5, scale * 0.25]
    assert set(lorry.merge([one, one], weights=["unet=0", "unet=0"]).layers) == {path(TEXT)}
    with pytest.raises(InvalidArgument, match="2 weights for 1 adapters"):
        lorry.merge([one], weights=["1", "1"])
    with pytest.raises(InvalidArgument, match="nan is no strength"):
        lorry.merge([(one, float("nan"))])
