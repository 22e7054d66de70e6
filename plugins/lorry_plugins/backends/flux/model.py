"""A running FLUX.1: dev with its guidance as an input, schnell and others without."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorry.compose.defaults import Defaults, Drawing
from lorry.compose.pipeline_folder import open_pipeline, pipeline_class
from lorry.compose.pipeline_model import PipelineModel
from lorry.errors import InvalidArgument
from lorry.ops.base import open_base

_DEV = Defaults(steps=28, guidance=3.5, width=1024, height=1024)
_SCHNELL = Defaults(steps=4, guidance=1.0, width=1024, height=1024)
"""As the model cards of FLUX.1-dev and FLUX.1-schnell have it."""

_LONGEST_PROMPT = 512
"""Tokens of T5 that the pipeline takes at most."""


def load(path: Path, device: str = "auto", dtype: str | None = None) -> Flux:
    """Open a diffusers folder; see `lorry.plugin.backend.Backend`."""
    pipeline_class(path, ("FluxPipeline",))
    base = open_base(path).id
    pipeline = open_pipeline(path, device, dtype)
    defaults = _DEV if pipeline.transformer.config.guidance_embeds else _SCHNELL
    multiple = 2 * pipeline.vae_scale_factor  # latents are packed two by two
    return Flux(pipeline, base=base, defaults=defaults.stated_in(path), multiple=multiple)


class Flux(PipelineModel):
    """A running FLUX.1."""

    def arguments(self, drawing: Drawing) -> Mapping[str, Any]:
        """Return guidance, as an input where the transformer has one and else through a negative prompt."""
        length = min(self.pipeline.tokenizer_2.model_max_length, _LONGEST_PROMPT)
        if self.pipeline.transformer.config.guidance_embeds:
            if drawing.negative:
                raise InvalidArgument("this base is guided without a negative prompt; leave it out")
            return {"guidance_scale": drawing.guidance, "max_sequence_length": length}
        if drawing.negative and drawing.guidance <= 1:
            raise InvalidArgument(f"a negative prompt works through guidance above 1, not at {drawing.guidance}")
        return {
            "true_cfg_scale": drawing.guidance,
            "negative_prompt": drawing.negative,
            "max_sequence_length": length,
        }
