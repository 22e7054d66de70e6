"""A running FLUX.1: dev with its guidance as an input, schnell and others without."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorry.compose.defaults import Defaults, Drawing
from lorry.compose.denoising import flow_error
from lorry.compose.pipeline_folder import open_pipeline, pipeline_class
from lorry.compose.pipeline_model import PipelineModel
from lorry.errors import InvalidArgument
from lorry.ops.bases.base import open_base

if TYPE_CHECKING:
    from torch import Generator, Tensor

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

    def denoising_error(self, latents: Tensor, prompt: str, generator: Generator) -> Tensor:
        """Return the squared error of the velocity; a distilled guidance is 1, which asks for the plain one."""
        pipe, net = self.pipeline, self.pipeline.transformer
        length = min(pipe.tokenizer_2.model_max_length, _LONGEST_PROMPT)
        words, pooled, text_ids = pipe.encode_prompt(prompt, None, latents.device, max_sequence_length=length)
        _, channels, height, width = latents.shape
        places = pipe._prepare_latent_image_ids(1, height // 2, width // 2, latents.device, latents.dtype)  # noqa: SLF001  diffusers has no other name for it
        guidance = latents.new_ones(1) if net.config.guidance_embeds else None

        def velocity(noisy: Tensor, time: Tensor) -> Tensor:
            told = net(
                hidden_states=pipe._pack_latents(noisy, 1, channels, height, width),  # noqa: SLF001  as above
                timestep=time,
                guidance=guidance,
                encoder_hidden_states=words,
                pooled_projections=pooled,
                txt_ids=text_ids,
                img_ids=places,
                return_dict=False,
            )[0]
            sizes = (side * pipe.vae_scale_factor for side in (height, width))
            unpacked: Tensor = pipe._unpack_latents(told, *sizes, pipe.vae_scale_factor)  # noqa: SLF001  as above
            return unpacked

        return flow_error(velocity, latents, generator)

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
