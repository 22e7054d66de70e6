"""Opening a base folder: whole or not at all, local, and nothing executed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorry.errors import Incompatible, InvalidArgument, InvalidFile, LorryError, NotFound
from lorry_plugins.backends.flux.model import load as load_flux
from lorry_plugins.backends.sd.model import load as load_sd
from lorry_plugins.backends.toybox import bases


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    target = tmp_path / "base"
    shutil.copytree(bases()["toybox-sd"], target)
    return target


def edit_index(folder: Path, **changes: object) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))


def drop_a_weight(folder: Path, part: str) -> None:
    (path,) = (folder / part).glob("*.safetensors")
    tensors = load_file(path)
    del tensors[next(name for name in tensors if name.endswith("weight"))]
    save_file(tensors, path, metadata={"format": "pt"})


def cut_weights(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def only_pickles(folder: Path) -> None:
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(path), path.with_suffix(".bin"))
    path.unlink()


DAMAGED: dict[str, tuple[Callable[[Path], object], type[LorryError], str]] = {
    "no index": (lambda folder: (folder / "model_index.json").unlink(), Incompatible, "model_index"),
    "broken index": (lambda folder: (folder / "model_index.json").write_text("{"), InvalidFile, "model_index"),
    "another pipeline": (
        lambda folder: edit_index(folder, _class_name="StableDiffusionInpaintPipeline"),
        Incompatible,
        "StableDiffusionInpaintPipeline",
    ),
    "code of its own": (lambda folder: edit_index(folder, unet=["my_code", "Net"]), Incompatible, r"my_code\.Net"),
    "a class that is none": (lambda folder: edit_index(folder, unet=["diffusers", "Nothing"]), InvalidFile, "Nothing"),
    "no tokenizer": (lambda folder: shutil.rmtree(folder / "tokenizer"), InvalidFile, "tokenizer"),
    "no vocabulary": (lambda folder: (folder / "tokenizer" / "tokenizer.json").unlink(), InvalidFile, "tokenizer.json"),
    "no scheduler": (lambda folder: shutil.rmtree(folder / "scheduler"), InvalidFile, "scheduler"),
    "no unet": (lambda folder: shutil.rmtree(folder / "unet"), LorryError, "base"),
    "cut weights": (cut_weights, InvalidFile, "unet"),
    "a missing weight of the unet": (lambda folder: drop_a_weight(folder, "unet"), InvalidFile, "unet"),
    "a missing weight of the text encoder": (
        lambda folder: drop_a_weight(folder, "text_encoder"),
        InvalidFile,
        "lacks",
    ),
    "only pickles": (only_pickles, InvalidFile, "vae"),
    "broken configuration": (lambda folder: (folder / "unet" / "config.json").write_text("{"), InvalidFile, "config"),
    "broken defaults": (lambda folder: (folder / "lorry.json").write_text("{}}"), InvalidFile, r"lorry\.json"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_folders_are_refused_in_one_line(folder: Path, case: str) -> None:
    damage, error, message = DAMAGED[case]
    damage(folder)
    with pytest.raises(error, match=message) as raised:
        load_sd(folder, "cpu")
    assert "\n" not in str(raised.value)


def test_each_backend_refuses_the_other_base() -> None:
    with pytest.raises(Incompatible, match="StableDiffusionPipeline"):
        load_flux(bases()["toybox-sd"], "cpu")
    with pytest.raises(Incompatible, match="FluxPipeline"):
        load_sd(bases()["toybox-flux"], "cpu")


def test_a_missing_folder_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        load_sd(tmp_path / "nothing", "cpu")


@pytest.mark.parametrize(("device", "dtype"), [("abacus", None), ("cuda:99", None), ("cpu", "int8")])
def test_unknown_devices_and_dtypes_are_refused(folder: Path, device: str, dtype: str | None) -> None:
    with pytest.raises(InvalidArgument, match=r"abacus|cuda:99|int8"):
        load_sd(folder, device, dtype)


def test_dtype_is_that_asked_for(folder: Path) -> None:
    model = load_sd(folder, "cpu", "bfloat16")
    assert {each.dtype for part in model.parts.values() for each in part.parameters()} == {torch.bfloat16}
    model.close()


def test_a_safety_checker_is_left_out(folder: Path) -> None:
    edit_index(
        folder, safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"], requires_safety_checker=True
    )
    model = load_sd(folder, "cpu")
    assert model.pipeline.safety_checker is None
    model.close()


def test_opening_and_drawing_print_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from .helpers import PROMPT

    model = load_sd(folder, "cpu")
    model.generate(PROMPT)
    model.close()
    assert capfd.readouterr() == ("", "")
