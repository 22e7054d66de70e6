"""Pipelines of diffusers at toy width, and what they make of a file that lorry wrote."""

from __future__ import annotations

import inspect
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers as untyped_diffusers
import torch
from diffusers.loaders import lora_conversion_utils, lora_pipeline

import lorry
from lorry.ir import Adapter
from lorry.ops.bases.base import Base
from tests.support import checkpoints

diffusers: Any = untyped_diffusers

HARMLESS = ("No LoRA keys associated to ", "The new embeddings will be initialized from ")
"""Said of every text encoder that a file has no layers for, and of vectors before they are set."""

CLASSES = {
    "sd1": "StableDiffusionPipeline",
    "sd2": "StableDiffusionPipeline",
    "sdxl": "StableDiffusionXLPipeline",
    "flux1": "FluxPipeline",
    "flux2": "Flux2Pipeline",
}


@dataclass(frozen=True)
class Toy:
    """A pipeline of random weights, the same weights on disk, and copies to put back after a test."""

    base: Base
    pipeline: Any
    models: Mapping[str, Any]
    pristine: Mapping[str, Mapping[str, torch.Tensor]]

    def loaded(self, path: Path) -> dict[str, torch.Tensor]:
        """Return every weight with the file at `path` loaded and fused by diffusers; any warning is an error.

        The pipeline is as it was afterwards.
        """
        try:
            with no_complaints():
                self.pipeline.load_lora_weights(path.parent, weight_name=path.name)
                self.pipeline.fuse_lora(components=[name for name in self.models if name in self.lora_components])
            return {
                own_name(name, key): tensor.clone()
                for name, model in self.models.items()
                for key, tensor in model.state_dict().items()
                if ".lora_" not in key
            }
        finally:
            self.pipeline.unload_lora_weights()
            for name, model in self.models.items():
                model.load_state_dict(self.pristine[name])

    @property
    def lora_components(self) -> list[str]:
        """Components that this pipeline loads LoRA into."""
        return list(self.pipeline._lora_loadable_modules)

    def baked(self, adapter: Adapter) -> dict[str, torch.Tensor]:
        """Return every weight as lorry makes it."""
        baked = lorry.bake(self.base, [adapter])
        return {own_name("", key): tensor for key, tensor in baked.items() if key.split(".", 1)[0] in self.models}


def own_name(component: str, key: str) -> str:
    """Return one name for a parameter: transformers 5 has dropped a level of CLIP's, peft puts one in."""
    name = f"{component}.{key}" if component else key
    return name.replace(".base_layer.", ".").replace(".text_model.", ".")


def toy(name: str, folder: Path) -> Toy:
    """Build a base by the id of its table, as a pipeline and in `folder`."""
    models = {part: model for part, model in checkpoints.models(name).items() if part != "vae"}
    for part, model in models.items():
        model.save_pretrained(folder / part)
    kind = getattr(diffusers, CLASSES[name])
    wanted = [each for each in inspect.signature(kind.__init__).parameters if each not in ("self", *models)]
    rest = {
        each: None for each in wanted if inspect.signature(kind.__init__).parameters[each].default is inspect._empty
    }
    pristine = {
        part: {key: tensor.clone() for key, tensor in model.state_dict().items()} for part, model in models.items()
    }
    return Toy(lorry.open_base(folder), kind(**models, **rest), models, pristine)


@contextmanager
def no_complaints() -> Iterator[None]:
    """Raise what a peer only warns of: keys it did not expect, keys it missed."""
    heard: list[str] = []
    listener = logging.Handler(logging.WARNING)
    listener.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    loggers = [logging.getLogger(name) for name in ("diffusers", "peft", "transformers")]
    for logger in loggers:
        logger.addHandler(listener)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        for logger in loggers:
            logger.removeHandler(listener)
    assert not [line for line in heard if not line.startswith(HARMLESS)], heard


@contextmanager
def published_widths(models: Mapping[str, Any]) -> Iterator[None]:
    """Let diffusers' converters of FLUX.1 take a toy for the published model: its depth and widths stand in their code.

    Only those numbers are changed: 19 and 38 blocks, 3072 features and four times as many.
    """
    config = models["transformer"].config
    width = config.num_attention_heads * config.attention_head_dim
    numbers = {"19": config.num_layers, "38": config.num_single_layers, "3072": width, "12288": 4 * width}
    kept = {}
    for name in ("_convert_kohya_flux_lora_to_diffusers", "_convert_fal_kontext_lora_to_diffusers"):
        source = inspect.getsource(getattr(lora_conversion_utils, name))
        source = re.sub(rf"\b({'|'.join(numbers)})\b", lambda found: str(numbers[found[0]]), source)
        space: dict[str, Any] = {}
        exec(source, vars(lora_conversion_utils), space)  # noqa: S102  diffusers' own code
        kept[name] = getattr(lora_pipeline, name)
        setattr(lora_pipeline, name, space[name])
    try:
        yield
    finally:
        for name, original in kept.items():
            setattr(lora_pipeline, name, original)
