"""A `Model` around a diffusers pipeline: everything that its families have in common."""

from __future__ import annotations

import gc
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lorry.compose.attachment import Attachment
from lorry.compose.defaults import Defaults, Drawing, fill
from lorry.compose.denoising import pixels
from lorry.compose.tokens import TextInput
from lorry.errors import Incompatible, InvalidArgument, LorryError
from lorry.ir.adapter import Adapter
from lorry.ir.strength import checked_strength
from lorry.ops.baking.bake import check_understood
from lorry.plugin.backend import Request, Step
from lorry.plugin.host import host

if TYPE_CHECKING:
    from PIL.Image import Image


class PipelineModel(ABC):
    """A running text-to-image pipeline with one owner; see `lorry.plugin.backend.Model`.

    base: id of the base table whose names its components go by.
    defaults: what a request leaves open.
    attachment: the adapters that are on, None without any.
    multiple: pixels that width and height must be whole multiples of.

    A component "text_encoder_2" has its tokenizer in "tokenizer_2", as diffusers has it everywhere.
    """

    def __init__(
        self,
        pipeline: Any,  # noqa: ANN401  diffusers' classes are untyped
        *,
        base: str,
        defaults: Defaults,
        multiple: int,
    ) -> None:
        self.base = base
        self.pipeline: Any = pipeline
        self.defaults = defaults
        components: Mapping[str, Any] = pipeline.components
        self.parts: Mapping[str, nn.Module] = {
            name: each for name, each in components.items() if isinstance(each, nn.Module)
        }
        tokenizers = {name: name.replace("text_encoder", "tokenizer") for name in self.parts if "text_encoder" in name}
        self._texts = {name: TextInput(pipeline, tokenizer) for name, tokenizer in tokenizers.items()}
        self._multiple = multiple
        self.plugins = host()
        self.attachment: Attachment | None = None

    @abstractmethod
    def arguments(self, drawing: Drawing) -> Mapping[str, Any]:
        """Return what the pipeline's call takes beyond size, steps, seed and callback; raise InvalidArgument."""

    def timesteps(self, steps: int) -> int:
        """Return how often the model will be asked for that many steps; some schedulers ask more often."""
        return steps

    def attach(self, adapters: Sequence[tuple[Adapter, float]], *, partial: bool = False) -> None:
        """Put adapters on at their strengths, in place of those that are on.

        Raises Incompatible for an adapter of another base or shape, Unmapped for one that is not fully
        understood, unless `partial`, and Conflict for a token that means two things; the model is then as before.
        """
        self._check_open()
        for adapter, _ in adapters:
            check_understood(adapter, partial=partial)
            if adapter.base != self.base:
                raise Incompatible(f"the adapter is made for {adapter.base}, and this model is {self.base}")
        previous = self.attachment
        self.detach()
        try:
            attachment = Attachment(self.parts, self._texts, [each for each, _ in adapters], self.plugins)
            attachment.set([checked_strength(strength) for _, strength in adapters])
        except BaseException:
            if previous is not None:
                previous.install()
                self.attachment = previous
            raise
        attachment.install()
        self.attachment = attachment

    def strengths(self, values: Sequence[float]) -> None:
        """Change the strength of every attached adapter, in order."""
        attached = self.attachment.count if self.attachment else 0
        if len(values) != attached:
            raise InvalidArgument(f"{len(values)} strengths were given, and {attached} adapters are attached")
        if self.attachment:
            self.attachment.set([checked_strength(each) for each in values])

    def detach(self) -> None:
        """Take all adapters off; the very objects that were there before come back."""
        if self.attachment:
            self.attachment.remove()
        self.attachment = None

    def generate(self, request: Request, on_step: Step | None = None) -> Image:
        """Draw one picture; the same seed gives the same noise on every device."""
        self._check_open()
        drawing = fill(request, self.defaults, self._multiple)
        options = dict(self.arguments(drawing))
        try:
            total = self.timesteps(drawing.steps)
            if on_step is not None:
                options["callback_on_step_end"] = _before_next(on_step, total)
                on_step(0, total)
            pictures = self.pipeline(
                prompt=drawing.prompt,
                width=drawing.width,
                height=drawing.height,
                num_inference_steps=drawing.steps,
                generator=torch.Generator("cpu").manual_seed(drawing.seed),
                **options,
            )
        except LorryError:
            raise
        except ValueError as error:
            raise InvalidArgument(f"this base refuses the request: {error}") from error
        except (RuntimeError, MemoryError) as error:
            if not (isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)):
                raise
            raise InvalidArgument(
                f"a picture of {drawing.width} x {drawing.height} does not fit the memory; ask for a smaller one"
            ) from error
        picture: Image = pictures.images[0]
        return picture

    def loss(self, pictures: Sequence[Image], prompts: Sequence[str], *, seed: int = 0) -> Tensor:
        """Return how far the model is from denoising pictures of these prompts, as one number that has a gradient.

        The mean over the pictures of the error its family is trained on, each at a noise and a noise level that the
        seed draws. Raises InvalidArgument for unequal numbers of pictures and prompts, none, and sizes that the base
        does not draw.
        """
        self._check_open()
        if not pictures or len(pictures) != len(prompts):
            raise InvalidArgument(f"there are {len(pictures)} pictures and {len(prompts)} prompts; give one for each")
        generator = torch.Generator("cpu").manual_seed(seed)
        weight = next(self.parts["vae"].parameters())
        losses = []
        for picture, prompt in zip(pictures, prompts, strict=True):
            with torch.no_grad():
                latents = self.latents(pixels(picture, self._multiple).to(weight))
            losses.append(self.denoising_error(latents, prompt, generator))
        return torch.stack(losses).mean()

    def latents(self, pixels: Tensor) -> Tensor:
        """Return what the VAE makes of a picture (1, 3, height, width) from -1 to 1, as the denoiser sees it."""
        config = self.pipeline.vae.config
        encoded: Tensor = self.pipeline.vae.encode(pixels).latent_dist.mode()
        shift, factor = getattr(config, "shift_factor", None) or 0.0, float(config.scaling_factor)
        return (encoded - shift) * factor

    @abstractmethod
    def denoising_error(self, latents: Tensor, prompt: str, generator: torch.Generator) -> Tensor:
        """Return the error of one picture's latents (1, channels, height, width) at a noise the generator draws."""

    def close(self) -> None:
        """Free the memory; the model is of no use afterwards."""
        self.detach()
        self.parts, self._texts, self.pipeline = {}, {}, None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _check_open(self) -> None:
        if self.pipeline is None:
            raise InvalidArgument("this model is closed; open it again with lorry.run")


def _before_next(on_step: Step, total: int) -> Any:  # noqa: ANN401  diffusers' own callback signature
    def after(_pipeline: object, number: int, _timestep: object, tensors: dict[str, Any]) -> dict[str, Any]:
        if number + 1 < total:
            on_step(number + 1, total)
        return tensors

    return after
