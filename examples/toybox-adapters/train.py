"""Train one LoRA adapter on a Stable Diffusion pipeline's UNet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from peft import LoraConfig
from pictures import CaptionedPicture
from torch import Tensor

ADAPTER_NAME = "default"
# The convolutions are adapted too: attention alone cannot draw a subject so small and so new.
TARGET_MODULES = (
    "to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2",
    "conv1", "conv2", "proj_in", "proj_out",
)  # fmt: skip


class Pipeline(Protocol):
    """What is used here of StableDiffusionPipeline, whose parts a type checker cannot see."""

    vae: Any
    tokenizer: Any
    text_encoder: Any
    unet: Any
    scheduler: Any
    load_textual_inversion: Callable[..., None]
    load_lora_weights: Callable[..., None]
    set_adapters: Callable[..., None]
    set_progress_bar_config: Callable[..., None]

    def __call__(self, prompt: list[str], **options: object) -> Any:  # noqa: ANN401  # diffusers' own output class
        """Sample a picture for each prompt."""


@dataclass(frozen=True)
class Settings:
    """What one training run depends on, besides its pictures."""

    rank: int
    alpha: int
    steps: int
    learning_rate: float
    seed: int
    batch_size: int = 12
    known_batch_size: int = 0
    caption_dropout: float = 0.08
    warmup_steps: int = 10
    token_learning_rate: float = 2e-2
    token_only_share: float = 0.15


class EncodedPictures:
    """Keep pictures as latents and token ids, ready to be drawn in batches."""

    def __init__(self, pipeline: Pipeline, pictures: Sequence[CaptionedPicture]) -> None:
        pixels = torch.from_numpy(np.stack([np.asarray(picture.image) for picture in pictures]))
        with torch.no_grad():
            posterior = pipeline.vae.encode(pixels.permute(0, 3, 1, 2) / 127.5 - 1).latent_dist
        self.latents: Tensor = posterior.mean * pipeline.vae.config.scaling_factor
        self.token_ids = token_ids(pipeline, [picture.caption for picture in pictures])

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw latents and token ids at random, with replacement."""
        chosen = torch.randint(len(self.latents), (count,), generator=generator)
        return self.latents[chosen], self.token_ids[chosen]


def token_ids(pipeline: Pipeline, captions: Sequence[str]) -> Tensor:
    """Tokenize captions as the stock pipeline does."""
    tokenizer = pipeline.tokenizer
    encoded = tokenizer(
        list(captions),
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    )
    ids: Tensor = encoded.input_ids
    return ids


def add_token(pipeline: Pipeline, token: str, starts_as: str) -> int:
    """Add a token to the vocabulary, with the embedding of a known word."""
    known_id = pipeline.tokenizer(starts_as).input_ids[1]
    pipeline.tokenizer.add_tokens([token])
    pipeline.text_encoder.resize_token_embeddings(len(pipeline.tokenizer), mean_resizing=False)
    new_id: int = pipeline.tokenizer.convert_tokens_to_ids(token)
    embeddings = pipeline.text_encoder.get_input_embeddings().weight
    with torch.no_grad():
        embeddings[new_id] = embeddings[known_id]
    return new_id


def train_lora(
    pipeline: Pipeline,
    pictures: Sequence[CaptionedPicture],
    settings: Settings,
    known: Sequence[CaptionedPicture] = (),
    token_id: int | None = None,
) -> list[float]:
    """Train an adapter inside the pipeline and return the loss of every step."""
    unet, text_encoder = pipeline.unet, pipeline.text_encoder
    unet.requires_grad_(False)
    text_encoder.requires_grad_(False)
    torch.manual_seed(settings.seed)  # peft draws the first weights from the global generator
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        init_lora_weights="gaussian",
        target_modules=list(TARGET_MODULES),
    )
    unet.add_adapter(config, adapter_name=ADAPTER_NAME)
    weights = [weight for weight in unet.parameters() if weight.requires_grad]
    groups: list[dict[str, object]] = [{"params": weights, "weight_decay": 1e-3}]
    if token_id is not None:
        groups.append({"params": [_free_embedding(pipeline, token_id)], "weight_decay": 0.0})
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate)

    generator = torch.Generator().manual_seed(settings.seed)
    encoded = EncodedPictures(pipeline, pictures)
    encoded_known = EncodedPictures(pipeline, known) if known else None
    no_caption = token_ids(pipeline, [""])
    losses = []
    unet.train()
    for step in range(settings.steps):
        _set_learning_rates(optimizer, settings, step, learns_token=token_id is not None)
        latents, ids = encoded.draw(settings.batch_size, generator)
        if encoded_known is not None:
            more_latents, more_ids = encoded_known.draw(settings.known_batch_size, generator)
            latents, ids = torch.cat([latents, more_latents]), torch.cat([ids, more_ids])
        dropped = torch.rand(len(ids), 1, generator=generator) < settings.caption_dropout
        ids = torch.where(dropped, no_caption, ids)
        loss = _velocity_loss(pipeline, latents, ids, generator)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        losses.append(loss.item())
    unet.eval()
    return losses


def _velocity_loss(pipeline: Pipeline, latents: Tensor, ids: Tensor, generator: torch.Generator) -> Tensor:
    count, scheduler = len(latents), pipeline.scheduler
    noise = torch.randn(latents.shape, generator=generator)
    # One time step from each of `count` equal slices: less noise in the loss than free draws.
    slices = torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)
    timesteps = (slices / count * scheduler.config.num_train_timesteps).long()
    noisy = scheduler.add_noise(latents, noise, timesteps)
    context = pipeline.text_encoder(ids).last_hidden_state
    predicted = pipeline.unet(noisy, timesteps, context).sample
    wanted = scheduler.get_velocity(latents, noise, timesteps)
    errors = F.mse_loss(predicted, wanted, reduction="none").mean(dim=(1, 2, 3))
    return (errors * _step_weights(scheduler.alphas_cumprod[timesteps])).mean()


def _step_weights(signal: Tensor) -> Tensor:
    # min-SNR weights for velocity, as in the base's own training: the middle steps decide the
    # shapes. A floor keeps the first steps, which decide the background, from being forgotten.
    ratio = signal / (1 - signal)
    weights = ratio.clamp(max=5.0) / (ratio + 1)
    return 0.25 + 0.75 * weights / weights.mean()


def _free_embedding(pipeline: Pipeline, token_id: int) -> Tensor:
    embeddings: Tensor = pipeline.text_encoder.get_input_embeddings().weight
    embeddings.requires_grad_(True)
    only_token = torch.zeros(len(embeddings), 1)
    only_token[token_id] = 1.0
    # A row without gradient stays as it is, because this group has no weight decay.
    embeddings.register_hook(lambda gradient: gradient * only_token)  # type: ignore[no-untyped-call]
    return embeddings


def _set_learning_rates(optimizer: torch.optim.Optimizer, settings: Settings, step: int, *, learns_token: bool) -> None:
    warmup = min(1.0, (step + 1) / settings.warmup_steps)
    decay = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    # The token goes first, so that the adapter then learns only what words cannot say.
    token_only = learns_token and step < settings.steps * settings.token_only_share
    optimizer.param_groups[0]["lr"] = 0.0 if token_only else settings.learning_rate * warmup * decay
    if learns_token:
        optimizer.param_groups[1]["lr"] = settings.token_learning_rate * warmup * decay
