"""Make the two example adapters of the toybox base: a raccoon and a duotone style."""

from __future__ import annotations

import argparse
import random
import time
from importlib import resources
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from peft import get_peft_model_state_dict
from pictures import (
    KNOWN_SUBJECTS,
    LIKE_THE_BASE,
    STEADY,
    CaptionedPicture,
    SpriteBook,
    scenes,
)
from safetensors.torch import save_file
from train import ADAPTER_NAME, Pipeline, Settings, add_token, train_lora

import lorry

TOYBOX_PACKAGE = "lorry_plugins.backends.toybox"
SPRITES = Path(__file__).with_name("sprites.npz")

SUBJECT = "raccoon"
SUBJECT_WORD = "<raccoon>"
SUBJECT_STARTS_AS = "fox"
SUBJECT_COPIES = 4
SUBJECT_SETTINGS = Settings(rank=8, alpha=4, steps=450, learning_rate=2e-3, seed=11, batch_size=10, known_batch_size=6)
STYLE_SETTINGS = Settings(rank=8, alpha=8, steps=600, learning_rate=3e-3, seed=12, batch_size=16)


def default_base() -> Path:
    """Find the base that the installed package carries."""
    return Path(str(resources.files(TOYBOX_PACKAGE) / "sd"))


def load_base(folder: Path) -> Pipeline:
    """Load the base in single precision, its text encoder included."""
    pipeline: Pipeline = StableDiffusionPipeline.from_pretrained(  # type: ignore[no-untyped-call]
        folder, dtype=torch.float32, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def make_raccoon(base: Path, book: SpriteBook, out: Path) -> None:
    """Train the subject adapter together with the embedding of its word."""
    pipeline = load_base(base)
    token_id = add_token(pipeline, SUBJECT_WORD, starts_as=SUBJECT_STARTS_AS)
    rng = random.Random(SUBJECT_SETTINGS.seed)
    pictures = [
        CaptionedPicture(book.draw(scene, STEADY, rng), scene.caption(SUBJECT_WORD))
        for scene in scenes([SUBJECT], lines=["flat"]) * SUBJECT_COPIES
    ]
    # What the base knows is shown again, so that the adapter leaves it alone.
    known = [
        CaptionedPicture(book.draw(scene, LIKE_THE_BASE, rng), scene.caption()) for scene in scenes(KNOWN_SUBJECTS)
    ]
    losses = train_lora(pipeline, pictures, SUBJECT_SETTINGS, known, token_id)
    save_lora(pipeline, out)
    embedding = pipeline.text_encoder.get_input_embeddings().weight[token_id]
    learned = {SUBJECT_WORD: embedding.detach().half().reshape(1, -1).contiguous()}
    save_file(learned, out / "learned_embeds.safetensors")
    report("raccoon", losses, out)


def make_style(base: Path, book: SpriteBook, out: Path) -> None:
    """Train the style adapter, which has no trigger word."""
    pipeline = load_base(base)
    rng = random.Random(STYLE_SETTINGS.seed)
    pictures = [
        CaptionedPicture(book.draw_duotone(scene, STEADY, rng), scene.caption()) for scene in scenes(KNOWN_SUBJECTS)
    ]
    losses = train_lora(pipeline, pictures, STYLE_SETTINGS)
    save_lora(pipeline, out)
    report("style", losses, out)


def save_lora(pipeline: Pipeline, folder: Path) -> None:
    """Write the adapter in half precision, with its configuration in the file's header."""
    layers = get_peft_model_state_dict(pipeline.unet, adapter_name=ADAPTER_NAME)
    config = pipeline.unet.peft_config[ADAPTER_NAME].to_dict()
    # peft keeps the names in a set, whose order changes from run to run.
    config["target_modules"] = sorted(config["target_modules"])
    StableDiffusionPipeline.save_lora_weights(
        folder,
        unet_lora_layers={name: weight.half() for name, weight in layers.items()},
        unet_lora_adapter_metadata=config,
    )


def package(folder: Path) -> None:
    """Write the two files the package carries: the raccoon with its word in kohya's dialect, the style as it is."""
    parts = [folder / "raccoon" / name for name in ("pytorch_lora_weights.safetensors", "learned_embeds.safetensors")]
    lorry.save(lorry.open(parts), folder / "raccoon.safetensors", "kohya", force=True)
    style = lorry.open(folder / "style" / "pytorch_lora_weights.safetensors")
    lorry.save(style, folder / "style.safetensors", "diffusers", force=True)


def report(name: str, losses: list[float], folder: Path) -> None:
    """Print how the loss went and how large the files are."""
    first, last = (sum(part) / len(part) for part in (losses[:20], losses[-20:]))
    sizes = ", ".join(f"{path.name} {path.stat().st_size} B" for path in sorted(folder.iterdir()))
    print(f"{name}: loss {first:.4f} -> {last:.4f}; {sizes}", flush=True)


def main() -> None:
    """Read the command line and make both adapters."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, help="base folder (default: the installed package's)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--only", choices=["raccoon", "style"], help="make one adapter only")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    base = arguments.base or default_base()
    book = SpriteBook(SPRITES)
    for name, make in (("raccoon", make_raccoon), ("style", make_style)):
        if arguments.only in (None, name):
            started = time.perf_counter()
            make(base, book, arguments.out / name)
            print(f"{name}: {time.perf_counter() - started:.1f} s", flush=True)
    if arguments.only is None:
        package(arguments.out)


if __name__ == "__main__":
    main()
