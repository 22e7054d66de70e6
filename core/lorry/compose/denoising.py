"""What diffusion models are trained on: to tell noise from picture, at a noise level drawn for each.

    diffusion       x_t = √ᾱ_t·x + √(1 - ᾱ_t)·ε        the model tells ε, or v = √ᾱ_t·ε - √(1 - ᾱ_t)·x, or x
    flow matching   x_t = (1 - t)·x + t·ε              the model tells the velocity ε - x

Sources: Ho et al. (arXiv:2006.11239) section 3; Salimans and Ho (arXiv:2202.00512) appendix D, for v; Lipman et al.
(arXiv:2210.02747); Esser et al. (arXiv:2403.03206) section 3.1, for logit-normal noise levels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from lorry.errors import Incompatible, InvalidArgument

if TYPE_CHECKING:
    from PIL.Image import Image


def pixels(picture: Image, multiple: int) -> Tensor:
    """Return a picture as numbers from -1 to 1, (1, 3, height, width); raise InvalidArgument for an odd size."""
    if picture.width % multiple or picture.height % multiple:
        raise InvalidArgument(
            f"a picture of {picture.width} x {picture.height} is no multiple of {multiple} pixels, as this base needs"
        )
    values = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8)
    return values.view(1, picture.height, picture.width, 3).permute(0, 3, 1, 2).float() / 127.5 - 1


def diffusion_error(
    predict: Callable[[Tensor, Tensor], Tensor],
    latents: Tensor,
    alphas_cumprod: Tensor,
    prediction: str,
    generator: torch.Generator,
) -> Tensor:
    """Return the squared error of `predict(x_t, t)` at a step t drawn evenly; ᾱ by step, prediction as diffusers says.

    Raises Incompatible for a prediction of another kind than epsilon, v_prediction and sample.
    """
    step = torch.randint(len(alphas_cumprod), (1,), generator=generator)
    kept = float(alphas_cumprod[step]) ** 0.5
    added = float(1 - alphas_cumprod[step]) ** 0.5
    noise = _noise(latents, generator)
    wanted = {"epsilon": noise, "v_prediction": kept * noise - added * latents, "sample": latents}
    if prediction not in wanted:
        raise Incompatible(f"the base predicts {prediction!r}; known: {', '.join(wanted)}")
    told = predict(kept * latents + added * noise, step.to(latents.device))
    return functional.mse_loss(told.float(), wanted[prediction].float())


def flow_error(velocity: Callable[[Tensor, Tensor], Tensor], latents: Tensor, generator: torch.Generator) -> Tensor:
    """Return the squared error of `velocity(x_t, t)` at a logit-normal t in (0, 1)."""
    time = torch.sigmoid(torch.randn(1, generator=generator)).to(latents)
    noise = _noise(latents, generator)
    return functional.mse_loss(velocity((1 - time) * latents + time * noise, time).float(), (noise - latents).float())


def _noise(latents: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(latents.shape, generator=generator).to(latents)
