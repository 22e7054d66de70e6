"""Layers of nn.Embedding, which peft keeps transposed under names of their own: written for peft, and read from it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft as untyped_peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import lorry
from lorry.errors import InvalidFile, NotRepresentable
from lorry.ir import Adapter, Layer, ModulePath, TensorRef
from lorry.ops.bases.base import Base
from tests.support.kinds import Random

from .pipelines import Toy, own_name

peft: Any = untyped_peft

WORDS, WIDTH, RANK = 12, 8, 3
TOKENS, POSITIONS = "text_model.embeddings.token_embedding", "text_model.embeddings.position_embedding"
LINEAR = "text_model.encoder.layers.0.self_attn.q_proj"
MODULES = {TOKENS: (WORDS, WIDTH), POSITIONS: (5, WIDTH), LINEAR: (WIDTH, WIDTH)}

pytestmark = pytest.mark.filterwarnings("ignore")  # peft's own


@pytest.fixture
def model() -> nn.Module:
    """Make modules under CLIP's names."""
    torch.manual_seed(0)
    made = nn.Module()
    for name, shape in MODULES.items():
        at = made
        *parents, leaf = name.split(".")
        for parent in parents:
            if not hasattr(at, parent):
                at.add_module(parent, nn.Module())
            at = at.get_submodule(parent)
        at.add_module(leaf, nn.Linear(*shape, bias=False) if name == LINEAR else nn.Embedding(*shape))
    return made


def base_of(model: nn.Module) -> Base:
    tensors = {f"text_encoder.{name}": TensorRef.from_torch(value) for name, value in model.state_dict().items()}
    return Base(id="sd1", path=Path("memory"), tensors=tensors, files={})


def adapter(kind: str = "lora") -> Adapter:
    random, layers = Random(), {}
    for at, (name, (rows, columns)) in enumerate(MODULES.items()):
        slots = {"down": random(RANK, columns), "up": random(rows, RANK)}
        if kind == "dora":
            slots |= {"magnitude": random(rows, 1)} if name == LINEAR else {"magnitude_in": random(1, columns)}
        layers[ModulePath("text_encoder", name)] = (Layer(kind=kind, slots=slots, scale=(0.5, 2.0, 1.0)[at]),)
    return Adapter(base="sd1", layers=layers)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_peft_reads_what_lorry_writes(kind: str, model: nn.Module, tmp_path: Path) -> None:
    made, base = adapter(kind), base_of(model)
    wanted = dict(lorry.bake(base, [made]))
    lorry.save(made, tmp_path / "folder", "peft")
    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(model), tmp_path / "folder")
    own = peft.get_peft_model_state_dict(loaded)
    written = load_file(tmp_path / "folder" / "adapter_model.safetensors")
    assert {key: tensor.shape for key, tensor in own.items()} == {key: each.shape for key, each in written.items()}
    merged = loaded.merge_and_unload().state_dict()
    for name in MODULES:
        torch.testing.assert_close(
            merged[f"{name}.weight"], wanted[f"text_encoder.{name}.weight"], rtol=1e-4, atol=1e-5
        )
    back = lorry.open(tmp_path / "folder", base=base)
    assert not back.report.unmapped
    for path, (layer,) in made.layers.items():
        (again,) = back.layers[path]
        assert again.scale == layer.scale
        assert all(again.slots[slot].same(ref) for slot, ref in layer.slots.items())


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_lorry_reads_what_peft_writes(kind: str, model: nn.Module, tmp_path: Path) -> None:
    config = peft.LoraConfig(r=RANK, lora_alpha=5, target_modules=list(MODULES), use_dora=kind == "dora")
    trained = peft.get_peft_model(copy.deepcopy(model), config)
    torch.manual_seed(1)
    for name, parameter in trained.named_parameters():
        if "lora_" in name:
            parameter.data = torch.rand_like(parameter) + 0.1
    trained.save_pretrained(tmp_path / "folder")
    base = base_of(model)
    read = lorry.open(tmp_path / "folder", base=base)
    assert not read.report.unmapped
    baked = dict(lorry.bake(base, [read]))
    merged = trained.merge_and_unload().state_dict()
    for name in MODULES:
        torch.testing.assert_close(baked[f"text_encoder.{name}.weight"], merged[f"{name}.weight"], rtol=1e-4, atol=1e-5)
    lorry.save(read, tmp_path / "kohya.safetensors", "kohya")
    lorry.save(lorry.open(tmp_path / "kohya.safetensors", base=base), tmp_path / "again", "peft")
    one, other = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("folder", "again"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_diffusers_reads_what_lorry_writes(toys: Callable[[str], Toy], tmp_path: Path) -> None:
    toy = toys("sd1")
    random = Random()
    layers = {}
    for name in (TOKENS, LINEAR):
        path = ModulePath("text_encoder", name)
        rows, columns = toy.base.shapes[path]
        layers[path] = (Layer(kind="lora", slots={"down": random(2, columns), "up": random(rows, 2)}, scale=0.5),)
    made = Adapter(base="sd1", layers=layers)
    saved = lorry.save(made, tmp_path / "words.safetensors", "diffusers")
    loaded, wanted = toy.loaded(saved.path), toy.baked(made)
    for key in (own_name("", f"{path}.weight") for path in layers):
        torch.testing.assert_close(loaded[key], wanted[key], rtol=1e-4, atol=1e-5)


def test_what_peft_has_no_embedding_for_is_refused_by_name(tmp_path: Path) -> None:
    slots = {"w1": Random()(2, 2), "w2": Random()(WORDS // 2, WIDTH // 2)}
    made = Adapter(base="sd1", layers={ModulePath("text_encoder", TOKENS): (Layer(kind="lokr", slots=slots),)})
    with pytest.raises(NotRepresentable, match="token_embedding.*does not spell LoKr layers .* of an embedding"):
        lorry.save(made, tmp_path / "folder", "peft")
    assert not (tmp_path / "folder").exists()


def test_factors_that_are_no_matrices_are_an_invalid_file(model: nn.Module, tmp_path: Path) -> None:
    lorry.save(adapter(), tmp_path / "folder", "peft")
    path = tmp_path / "folder" / "adapter_model.safetensors"
    tensors = load_file(path)
    key = next(key for key in tensors if key.endswith("token_embedding.lora_embedding_A"))
    save_file({**tensors, key: tensors[key][..., None]}, path)
    with pytest.raises(InvalidFile, match="an embedding's factors"):
        lorry.open(tmp_path / "folder", base=base_of(model))


def test_the_configuration_names_embeddings_as_peft_does(tmp_path: Path) -> None:
    lorry.save(adapter(), tmp_path / "folder", "peft")
    told = json.loads((tmp_path / "folder" / "adapter_config.json").read_text())
    assert told["target_modules"] == sorted(MODULES)
