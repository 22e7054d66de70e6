"""A running Stable Diffusion: StableDiffusionPipeline or StableDiffusionXLPipeline, whichever the folder names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorry.compose.defaults import Defaults, Drawing
from lorry.compose.denoising import diffusion_error
from lorry.compose.pipeline_folder import open_pipeline, pipeline_class
from lorry.compose.pipeline_model import PipelineModel
from lorry.errors import Incompatible, InvalidArgument
from lorry.ops.bases.base import open_base

if TYPE_CHECKING:
    from torch import Generator, Tensor

_GUIDANCE = {"StableDiffusionPipeline": 7.5, "StableDiffusionXLPipeline": 5.0}
_STEPS = 50
"""Guidance by pipeline, and steps, as the pipelines' own signatures have them."""

_UNGUIDED = {"do_classifier_free_guidance": False}

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

    def denoising_error(self, latents: Tensor, prompt: str, generator: Generator) -> Tensor:
        """Return the squared error of ε or v, as the scheduler says, at a step drawn evenly."""
        unet, encode = self.pipeline.unet, self.pipeline.encode_prompt
        if unet.config.in_channels != latents.shape[1]:
            raise Incompatible(
                f"the unet takes {unet.config.in_channels} channels and a picture has {latents.shape[1]}: a base that "
                "sees more than noise, which no loss here is for"
            )
        words, _, *pooled = encode(prompt, device=latents.device, num_images_per_prompt=1, **_UNGUIDED)
        sizes = [side * self.pipeline.vae_scale_factor for side in latents.shape[2:]]
        added = {"text_embeds": pooled[0], "time_ids": latents.new_tensor([[*sizes, 0, 0, *sizes]])} if pooled else None

        def predict(noisy: Tensor, step: Tensor) -> Tensor:
            told: Tensor = unet(noisy, step, encoder_hidden_states=words, added_cond_kwargs=added).sample
            return told

        scheduler = self.pipeline.scheduler
        prediction = scheduler.config.prediction_type
        return diffusion_error(predict, latents, scheduler.alphas_cumprod, prediction, generator)

    def timesteps(self, steps: int) -> int:
        """Ask the scheduler: PNDM, the default of SD 1, calls the model once more than there are steps."""
        self.pipeline.scheduler.set_timesteps(steps)
        return len(self.pipeline.scheduler.timesteps)
