"""A running Stable Diffusion: StableDiffusionPipeline or StableDiffusionXLPipeline, whichever the folder names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorry.compose.defaults import Defaults, Drawing
from lorry.compose.pipeline_folder import open_pipeline, pipeline_class
from lorry.compose.pipeline_model import PipelineModel
from lorry.errors import InvalidArgument
from lorry.ops.base import open_base

_GUIDANCE = {"StableDiffusionPipeline": 7.5, "StableDiffusionXLPipeline": 5.0}
_STEPS = 50
"""Guidance by pipeline, and steps, as the pipelines' own signatures have them."""

_PIXELS = 8
"""Both pipelines refuse other sizes, whatever their VAE shrinks by."""


def load(path: Path, device: str = "auto", dtype: str | None = None) -> StableDiffusion:
    """Open a diffusers folder; see `lorry.plugin.backend.Backend`."""
    guidance = _GUIDANCE[pipeline_class(path, _GUIDANCE)]
    base = open_base(path).id
    pipeline = open_pipeline(path, device, dtype)
    factor = pipeline.vae_scale_factor
    size = pipeline.unet.config.sample_size * factor
    defaults = Defaults(steps=_STEPS, guidance=guidance, width=size, height=size).stated_in(path)
    return StableDiffusion(pipeline, base=base, defaults=defaults, multiple=math.lcm(_PIXELS, factor))


class StableDiffusion(PipelineModel):
    """A running Stable Diffusion."""

    def arguments(self, drawing: Drawing) -> Mapping[str, Any]:
        """Return guidance and negative prompt."""
        if drawing.negative and drawing.guidance <= 1:
            raise InvalidArgument(f"a negative prompt works through guidance above 1, not at {drawing.guidance}")
        return {"guidance_scale": drawing.guidance, "negative_prompt": drawing.negative}

    def timesteps(self, steps: int) -> int:
        """Ask the scheduler: PNDM, the default of SD 1, calls the model once more than there are steps."""
        self.pipeline.scheduler.set_timesteps(steps)
        return len(self.pipeline.scheduler.timesteps)
