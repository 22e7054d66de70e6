"""Files that lorry writes, loaded by lycoris-lora itself: each module must put out what it puts out here.

Its modules are run, not merged: `merge_to` multiplies LoHa and LoKr by their scale twice (lycoris 4.1.3, loha.py and
lokr.py, `get_diff_weight`), while their forward pass does not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lycoris as untyped_lycoris
import pytest
import torch
from torch.nn import functional

import lorry
from lorry.ir import Adapter, Layer, ModulePath
from tests.support.kinds import COLUMNS, CONVOLUTION, CONVOLUTION_LAYERS, KERNEL, LINEAR, LINEAR_LAYERS, ROWS, Random

from .adapters import adapter
from .pipelines import Toy
from .single import NAME, Model, baked, module_of

lycoris: Any = untyped_lycoris

LINEARS = [
    "lora", "dora", "loha", "loha-dora", "lokr", "lokr-both", "lokr-full", "lokr-dora", "diff", "glora", "diag-oft",
    "diag-oft-rescaled", "diag-oft-constrained",
]  # fmt: skip
CONVOLUTIONS = ["lora", "dora", "loha", "loha-tucker", "lokr", "lokr-full", "diff", "glora", "diag-oft"]

FORMS: dict[str, tuple[tuple[int, ...], Callable[[Random], Layer]]] = {
    **{f"linear-{name}": (LINEAR, LINEAR_LAYERS[name]) for name in LINEARS},
    **{f"convolution-{name}": (CONVOLUTION, CONVOLUTION_LAYERS[name]) for name in CONVOLUTIONS},
    # Where LyCORIS has forms of its own: as many blocks as a power of two, one rank on both sides.
    "linear-boft": (
        LINEAR,
        lambda r: Layer(kind="boft", slots={"blocks": r(3, 4, 6, 6, size=0.2), "rescale": r(ROWS, 1)}),
    ),
    "convolution-lora-tucker": (
        CONVOLUTION,
        lambda r: Layer(
            kind="lora",
            slots={"down": r(3, COLUMNS, 1, 1), "mid": r(3, 3, *KERNEL), "up": r(ROWS, 3, 1, 1)},
            scale=0.5,
        ),
    ),
}


@pytest.mark.filterwarnings("ignore")  # lycoris's own
@pytest.mark.parametrize("dialect", ["lycoris", "kohya"])
@pytest.mark.parametrize("form", FORMS)
def test_lycoris_does_what_lorry_wrote(
    form: str,
    dialect: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shape, make = FORMS[form]
    module = module_of(shape)
    adapter = Adapter(base="sd1", layers={ModulePath("unet", NAME): (make(Random()),)})
    weights = baked(adapter, module)
    file = lorry.save(adapter, tmp_path / "adapter.safetensors", dialect).path
    monkeypatch.setattr(lycoris.LycorisNetwork, "LORA_PREFIX", {"lycoris": "lycoris", "kohya": "lora_unet"}[dialect])
    sample = torch.randn(2, COLUMNS, *(5 for _ in shape[2:]))
    with caplog.at_level(logging.WARNING), torch.no_grad():
        network, _ = lycoris.create_lycoris_from_weights(1.0, str(file), Model(module))
        assert len(network.loras) == 1
        network.apply_to()
        put_out = module(sample)
    weight, bias = (weights[f"unet.{NAME}.{name}"] for name in ("weight", "bias"))
    run = functional.conv2d if len(shape) > 2 else functional.linear
    torch.testing.assert_close(put_out, run(sample, weight, bias), rtol=1e-4, atol=1e-4)
    assert not caplog.records


@pytest.mark.filterwarnings("ignore")  # lycoris's own
@pytest.mark.parametrize(
    ("base", "component"), [("sd1", "unet"), ("sdxl", "unet"), ("flux1", "transformer"), ("flux2", "transformer")]
)
def test_lycoris_finds_every_module(base: str, component: str, toys: Callable[[str], Toy], tmp_path: Path) -> None:
    toy = toys(base)
    made = adapter(toy.base, "lycoris", "lokr", modules=rf"^{component}\.")
    file = lorry.save(made, tmp_path / "adapter.safetensors", "lycoris").path
    network, _ = lycoris.create_lycoris_from_weights(1.0, str(file), toy.models[component])
    assert len(network.loras) == len(made.layers)
