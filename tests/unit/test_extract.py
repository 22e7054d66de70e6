"""Extracting what was baked gives the adapter back, whatever the layouts of the two models are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import lorry
from lorry.errors import Incompatible, InvalidArgument, InvalidFile, LorryError
from lorry.ir import Adapter, TensorRef
from lorry.ops.extracting.extract import Extraction
from lorry.ops.extracting.pairs import Forms
from lorry.ops.ranks.aim import rank_aim
from lorry.ops.reading.names import OWN
from lorry.plugin.host import host
from lorry.testing.strategies import examples
from lorry.testing.tables import base_under, ruled_out, views
from tests.support.checkpoints import save

FEW = settings(max_examples=8, deadline=None, derandomize=True, database=None, phases=[Phase.generate])

LAYOUTS = {"sdxl": "sgm", "flux1": "bfl"}

PART = {"sd1": "unet", "sdxl": "unet", "flux1": "transformer"}


def held(tensors: Mapping[str, torch.Tensor], like: lorry.Base) -> lorry.Base:
    """Hold a base in memory."""
    return replace(like, tensors={name: TensorRef.from_torch(tensor) for name, tensor in tensors.items()}, files={})


@pytest.mark.parametrize("base", ["sd1", "sdxl", "flux1"])
@FEW
@given(data=st.data())
def test_what_was_baked_is_extracted_again(base: str, data: st.DataObject) -> None:
    model, kind = host().base_models()[base], host().kinds()["lora"]
    component = model.components[0]
    known = [view.parts for view in views(component, OWN) if not ruled_out(model, component.name, view.parts[0])][:6]
    adapter = data.draw(examples(model, {component.name: known}, kind, last=1)).adapter
    pristine = base_under(adapter)
    tuned = held(lorry.bake(pristine, [adapter]), pristine)
    extracted = lorry.extract(tuned, pristine, rank=4, dtype="F32")
    for path, (layer,) in adapter.layers.items():
        assert kind.factors is not None
        down, up = kind.factors(layer)
        want = layer.scale * up @ down
        got = torch.zeros_like(want)
        if path in extracted.layers:
            down, up = kind.factors(extracted.layers[path][0])
            got = up @ down
        size = max(float(each.abs().max()) for each in (want, pristine.tensors[f"{path}.weight"].torch()))
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5 * size)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a base, made once."""
    root = tmp_path_factory.mktemp("bases")
    made = {base: save(base, root / base) for base in PART}
    return made.__getitem__


def tune(source: Path, target: Path, base: str) -> Path:
    """Write a fine-tune: matrices changed by rank 1, vectors by a constant, in one component."""
    lorry.convert_base(lorry.open_base(source), target, "diffusers")
    generator = torch.Generator().manual_seed(1)
    (file,) = (target / PART[base]).glob("*.safetensors")
    tensors = load_file(file)
    for key, tensor in tensors.items():
        change = torch.tensor(0.25)
        if tensor.ndim > 1:
            left, right = (torch.randn(size, generator=generator) for size in (len(tensor), tensor[0].numel()))
            change = 0.1 * torch.outer(left, right).reshape(tensor.shape)
        tensors[key] = tensor + change
    save_file(tensors, file)
    return target


def changes(adapter: Adapter) -> dict[str, torch.Tensor]:
    """Return what an adapter adds, by parameter."""
    kinds = host().kinds()
    found = {}
    for path, layers in adapter.layers.items():
        for layer in layers:
            factors = kinds[layer.kind].factors
            if factors is not None:
                down, up = factors(layer)
                found[f"{path}.{layer.param}"] = (up @ down).flatten()
            else:
                found[f"{path}.{layer.param}"] = layer.slots["diff"].torch().flatten()
    return found


@pytest.mark.parametrize("base", LAYOUTS)
def test_layouts_may_differ_on_either_side(folder: Callable[[str], Path], tmp_path: Path, base: str) -> None:
    first = folder(base)
    tuned = tune(first, tmp_path / "tuned", base)
    for model, name in ((first, "base"), (tuned, "tuned")):
        lorry.convert_base(lorry.open_base(model), tmp_path / f"{name}.safetensors", LAYOUTS[base], lossy=True)
    wanted = changes(lorry.extract(tuned, first, rank=2, dtype="F32"))
    before, after = lorry.open_base(first), lorry.open_base(tuned)
    assert len(wanted) == sum(1 for name, ref in after.tensors.items() if not ref.same(before.tensors[name]))
    for name, delta in wanted.items():
        true = (after.tensors[name].torch() - before.tensors[name].torch()).flatten()
        torch.testing.assert_close(delta, true, rtol=1e-3, atol=1e-4)
    for one, other in ((tuned, tmp_path / "base.safetensors"), (tmp_path / "tuned.safetensors", first)):
        got = changes(lorry.extract(one, other, rank=2, dtype="F32"))
        assert got.keys() == wanted.keys()
        for name, delta in got.items():
            torch.testing.assert_close(delta, wanted[name], rtol=1e-4, atol=1e-5)


@pytest.fixture
def pair(folder: Callable[[str], Path], tmp_path: Path) -> tuple[lorry.Base, lorry.Base]:
    return lorry.open_base(tune(folder("sd1"), tmp_path / "tuned", "sd1")), lorry.open_base(folder("sd1"))


def extraction(pair: tuple[lorry.Base, lorry.Base], *, folder: Path | None = None, **asked: Any) -> Extraction:
    forms = Forms(*(asked.pop(name, own) for name, own in Forms()._asdict().items()))
    return Extraction(*pair, rank_aim(**asked), forms, folder=folder)


@pytest.mark.parametrize(
    ("asked", "kinds"),
    [
        ({"convolutions": "linear"}, ("diff", "lora")),
        ({"convolutions": "tucker"}, ("diff", "lora")),
        ({"convolutions": "full"}, ("diff", "lora")),
        ({"convolutions": "1x1", "others": False}, ("lora",)),
        ({"full": True}, ("diff",)),
    ],
)
def test_every_form_is_what_the_report_says(
    pair: tuple[lorry.Base, lorry.Base], asked: dict[str, Any], kinds: tuple[str, ...]
) -> None:
    work = extraction(pair, rank=3, **asked)
    assert len(list(work.run())) == work.total
    adapter, report = work.finish()
    assert adapter.kinds == kinds
    made, told = changes(adapter), {str(each.at): each for each in report.layers}
    assert made.keys() == told.keys()
    assert not made.keys() & report.left_out.keys()
    tuned, base = pair
    for name, each in told.items():
        delta = (tuned.tensors[name].torch() - base.tensors[name].torch()).flatten()
        assert each.norm == pytest.approx(float(delta.norm()), rel=1e-4)
        assert each.error == pytest.approx(float((delta - made[name]).norm() / delta.norm()), abs=1e-3)
    if asked.get("convolutions") == "tucker":
        assert any("mid" in layer.slots for layers in adapter.layers.values() for layer in layers)


def test_a_folder_keeps_finished_layers_for_the_next_run(
    pair: tuple[lorry.Base, lorry.Base], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = extraction(pair, folder=tmp_path / "work", rank=2)
    steps = work.run()
    for _ in range(10):
        next(steps)
    again = extraction(pair, folder=tmp_path / "work", rank=2)
    assert again.done >= 10
    read: list[TensorRef] = []
    before = TensorRef.read_into

    def watched(ref: TensorRef, buffer: memoryview) -> None:
        read.append(ref)
        before(ref, buffer)

    monkeypatch.setattr(TensorRef, "read_into", watched)
    assert len(list(again.run())) == again.total
    assert len(read) == 2 * (again.total - 10)
    other = changes(lorry.extract(*pair, rank=2))
    for name, delta in changes(again.finish().adapter).items():
        assert torch.equal(delta, other[name]), name
    assert extraction(pair, folder=tmp_path / "work", rank=3).done == 0


def test_layers_of_one_shape_together_are_as_one_by_one(pair: tuple[lorry.Base, lorry.Base]) -> None:
    alone, together = (changes(lorry.extract(*pair, rank=1, device=device)) for device in ("cpu", "cpu:0"))
    assert alone.keys() == together.keys()
    for name, delta in alone.items():
        torch.testing.assert_close(together[name], delta, rtol=1e-4, atol=1e-5)


def test_equal_weights_in_another_dtype_are_no_change(pair: tuple[lorry.Base, lorry.Base]) -> None:
    tuned, _ = pair
    halves = held({name: ref.torch().half() for name, ref in tuned.tensors.items()}, tuned)
    with pytest.raises(Incompatible, match="the same weights"):
        lorry.extract(tuned, halves)


def _without(base: lorry.Base, name: str) -> lorry.Base:
    return replace(base, tensors={key: ref for key, ref in base.tensors.items() if key != name})


def _put(base: lorry.Base, name: str, tensor: torch.Tensor) -> lorry.Base:
    return replace(base, tensors={**base.tensors, name: TensorRef.from_torch(tensor)})


NAME = "unet.mid_block.attentions.0.proj_in.weight"


def test_bad_models_are_told_by_name(pair: tuple[lorry.Base, lorry.Base]) -> None:
    tuned, base = pair
    weight = base.tensors[NAME].torch()
    spoilt = weight.clone()
    spoilt.view(-1)[3] = float("nan")
    cases: list[tuple[lorry.Base, lorry.Base, type[LorryError], str]] = [
        (_without(tuned, NAME), base, Incompatible, NAME),
        (tuned, _without(base, NAME), Incompatible, NAME),
        (_put(tuned, NAME, weight[:4]), base, Incompatible, NAME),
        (_put(tuned, NAME, spoilt), base, InvalidFile, f"{NAME} of the tuned model holds NaN"),
        (tuned, _put(base, NAME, spoilt), InvalidFile, f"{NAME} of the base holds NaN"),
        (replace(tuned, id="sd2"), base, Incompatible, "sd2"),
        (replace(tuned, quantised="packed weights"), base, Incompatible, "packed weights"),
    ]
    for one, other, error, words in cases:
        with pytest.raises(error, match=words):
            lorry.extract(one, other, rank=2)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"size": "5KB"}, "5000 bytes do not hold"),
        ({"size": "1MB", "conv": "tucker"}, "Tucker"),
        ({"conv": "round"}, "'round' is none of"),
        ({"device": "abacus"}, "abacus"),
        ({"rank": 2, "error": 0.1}, "cannot both"),
    ],
)
def test_what_makes_no_sense_is_refused(pair: tuple[lorry.Base, lorry.Base], asked: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        lorry.extract(*pair, **asked)
