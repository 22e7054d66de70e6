"""SDXL and FLUX.1 with guidance, on random weights: two text encoders with a projection, and no negative prompt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from lorry.compose.pipeline_model import PipelineModel
from lorry.errors import InvalidArgument
from lorry.ir import Adapter, ModulePath
from lorry.plugin import Request
from lorry_plugins.backends.flux.model import load as load_flux
from lorry_plugins.backends.sd.model import load as load_sd
from lorry_plugins.backends.toybox import FOLDER

from .helpers import difference, lora, modules_of, token, with_tokens
from .tiny import WIDTH, save_flux_dev, save_sdxl

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # diffusers' Euler under numpy 2

REQUEST = Request(prompt="a flat <thing> on teal", steps=2, seed=1, width=32, height=32)


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PipelineModel]:
    opened = load_sd(save_sdxl(tmp_path_factory.mktemp("sdxl"), FOLDER), "cpu")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PipelineModel]:
    opened = load_flux(save_flux_dev(tmp_path_factory.mktemp("dev"), FOLDER), "cpu")
    yield opened
    opened.close()


@pytest.mark.parametrize(
    "module",
    [
        "unet.mid_block.attentions.0.transformer_blocks.1.attn2.to_k",
        "text_encoder.text_model.encoder.layers.0.self_attn.q_proj",
        "text_encoder_2.text_model.encoder.layers.1.mlp.fc2",
        "text_encoder_2.text_projection",
    ],
)
def test_sdxl_layers_reach_every_component(sdxl: PipelineModel, module: str) -> None:
    shapes = {"to_k": (32, 64), "q_proj": (32, 32), "fc2": (32, 64), "text_projection": (32, 32)}
    layer = lora(shapes[module.rsplit(".", 1)[-1]], size=1.0)
    before, objects = sdxl.generate(REQUEST), modules_of(sdxl)
    sdxl.attach([(Adapter(base="sdxl", layers={ModulePath(*module.split(".", 1)): (layer,)}), 1.0)])
    assert difference(sdxl.generate(REQUEST), before) > 0
    sdxl.detach()
    assert modules_of(sdxl) == objects


@pytest.mark.parametrize("component", ["text_encoder", "text_encoder_2"])
def test_sdxl_tokens_reach_either_encoder(sdxl: PipelineModel, component: str) -> None:
    before = sdxl.generate(REQUEST)
    learned = token("<thing>", width=WIDTH, components=(component,))
    sdxl.attach([(with_tokens(Adapter(base="sdxl"), learned), 1.0)])
    assert difference(sdxl.generate(REQUEST), before) > 0
    sdxl.detach()
    assert sdxl.generate(REQUEST).tobytes() == before.tobytes()


def test_sdxl_knows_its_size_and_guidance(sdxl: PipelineModel) -> None:
    assert sdxl.base == "sdxl"
    assert (sdxl.defaults.width, sdxl.defaults.guidance) == (32, 5.0)


def test_guidance_of_flux_dev_is_an_input(dev: PipelineModel) -> None:
    assert dev.defaults.guidance == 3.5
    weak, strong = (dev.generate(replace(REQUEST, guidance=value)) for value in (1.0, 9.0))
    assert difference(weak, strong) > 0


def test_flux_dev_refuses_a_negative_prompt(dev: PipelineModel) -> None:
    with pytest.raises(InvalidArgument, match="negative"):
        dev.generate(replace(REQUEST, negative="ink"))
