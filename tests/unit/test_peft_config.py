"""peft's configuration as a rule for the scale, held against peft's own rule, and what strangers write into it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lorry
from lorry.errors import InvalidFile
from lorry.ir import Layer, ModulePath
from lorry.plugin import NamedLayer
from lorry_plugins.formats.peft.config import PeftConfig
from lorry_plugins.formats.peft.tuners import configuration
from tests.support.files import peft, write


def scale(module: str, rank: int, **config: Any) -> float:
    return PeftConfig.read({"lora_alpha": 8, **config}, "here").scale(module, rank)


@pytest.mark.parametrize(
    ("config", "rank", "wanted"),
    [
        ({}, 4, 2.0),
        ({"lora_alpha": 0}, 4, 0.0),
        ({"lora_alpha": -2}, 4, -0.5),
        ({"lora_alpha": 1.5}, 2, 0.75),
        ({"use_rslora": True}, 16, 2.0),
        ({"alpha_pattern": None}, 8, 1.0),
    ],
)
def test_the_scale_is_alpha_by_rank_or_by_its_root(config: dict[str, Any], rank: int, wanted: float) -> None:
    assert scale("a.to_q", rank, **config) == wanted


@pytest.mark.parametrize(
    ("pattern", "module", "matches"),
    [
        ("to_q", "blocks.1.to_q", True),
        ("to_q", "to_q", True),
        ("to_q", "blocks.1.into_q", False),
        ("to_q", "blocks.1.to_q.0", False),
        ("1.to_q", "blocks.1.to_q", True),
        ("1.to_q", "blocks.11.to_q", False),
        ("^blocks.1.to_q", "blocks.1.to_q", True),
        ("^blocks.1.to_q", "more.blocks.1.to_q", False),
        ("^to_q", "blocks.1.to_q", False),
        (r"blocks\.\d+\.to_(q|k)", "blocks.12.to_k", True),
        (r"blocks\.\d+\.to_(q|k)", "blocks.12.to_v", False),
        (".*attn.*", "down.attn.to_q", True),
    ],
)
def test_a_pattern_names_a_module_or_its_ending_as_peft_0_21_reads_it(pattern: str, module: str, matches: bool) -> None:
    assert scale(module, 1, alpha_pattern={pattern: 3}) == (3 if matches else 8)


def test_the_first_pattern_that_matches_counts() -> None:
    assert scale("a.to_q", 1, alpha_pattern={"to_k": 1, "a.to_q": 2, "to_q": 3}) == 2


@pytest.mark.parametrize(
    "config",
    [
        {"lora_alpha": None},
        {"lora_alpha": "8"},
        {"lora_alpha": True},
        {"lora_alpha": [8]},
        {"lora_alpha": float("nan")},
        {"lora_alpha": float("inf")},
        {"lora_alpha": 10**400},
        {"alpha_pattern": ["to_q"]},
        {"alpha_pattern": {"to_q": "3"}},
        {"alpha_pattern": {"to_q": 10**400}},
        {"alpha_pattern": {"to_(q": 3}},
        {"alpha_pattern": {"*": 3}},
    ],
)
def test_what_is_no_configuration_is_an_invalid_file_that_says_where(config: dict[str, Any]) -> None:
    with pytest.raises(InvalidFile, match="^here: "):
        scale("to_q", 1, **config)


HOSTILE = ["(a+)+$", "(a|a)*b", "(.*)*x", "((a){1,9}){1,9}", ".*" * 12 + "x", "[a-z._0-9]*" * 8 + "X", "a" * 600]


@pytest.mark.parametrize("pattern", HOSTILE)
def test_patterns_that_could_run_for_ever_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidFile, match="which is refused"):
        scale("to_q", 1, alpha_pattern={pattern: 3})


LAYERS = st.lists(
    st.tuples(st.floats(-64, 64).filter(lambda alpha: alpha == 0 or abs(alpha) > 1e-3), st.integers(1, 128)),
    min_size=1,
    max_size=6,
)


@given(drawn=LAYERS)
def test_what_is_written_reads_back_as_the_same_scales(drawn: list[tuple[float, int]]) -> None:
    named = [
        NamedLayer("unet", f"blocks.{at}.to_q", ModulePath("unet", "x"), Layer(kind="lora", slots={}, scale=each), rank)
        for at, (each, rank) in enumerate(drawn)
    ]
    config = PeftConfig.read(json.loads(json.dumps(configuration(named))), "here")
    for each in named:
        assert config.scale(each.module, each.rank) == pytest.approx(each.layer.scale, rel=1e-12)


HEADERS = ["[", "[" * 100_000, "[]", "3", '{"unet.lora_alpha": "8"}', '{"unet.lora_alpha": 1' + "0" * 400 + "}"]


@pytest.mark.parametrize("text", HEADERS, ids=lambda text: text[:24])
def test_a_broken_header_is_an_invalid_file(text: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", peft(), {"lora_adapter_metadata": text})
    with pytest.raises(InvalidFile, match="lora_adapter_metadata"):
        lorry.open(path)


@pytest.mark.parametrize("text", ["", "[", "[" * 100_000, "[]", '{"peft_type": "LORA"}', "\udcff"])
def test_a_broken_adapter_config_is_an_invalid_file(text: str, tmp_path: Path) -> None:
    tensors = {key.replace("unet.", "base_model.model."): ref for key, ref in peft().items()}
    write(tmp_path / "adapter_model.safetensors", tensors)
    (tmp_path / "adapter_config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InvalidFile, match="adapter_config.json"):
        lorry.open(tmp_path)


def test_a_configuration_of_one_component_leaves_the_other_told_as_unknown(tmp_path: Path) -> None:
    tensors = {**peft(), **peft("text_encoder.text_model.encoder.layers.0.mlp.fc1")}
    told = {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 4, "unet.r": 2})}
    adapter = lorry.open(write(tmp_path / "a.safetensors", tensors, told))
    scales = {path.component: layers[0].scale for path, layers in adapter.layers.items()}
    assert scales == {"unet": 2.0, "text_encoder": 1.0}
    assert "scale" in dict(adapter.report.ambiguous)
