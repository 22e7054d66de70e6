"""Judge the two adapters with the stock pipeline: a contact sheet and a few numbers."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from make_adapters import SPRITES, SUBJECT, SUBJECT_WORD, default_base, load_base
from numpy.typing import NDArray
from pictures import BACKGROUNDS, INK, KNOWN_SUBJECTS, LIKE_THE_BASE, PAPER, PICTURE_SIDE, Scene, SpriteBook
from PIL import Image
from train import Pipeline

STEPS = 20
GUIDANCE = 3.0
SEED = 5
CELL_SIDE = 3 * PICTURE_SIDE
DRAWINGS_PER_SCENE = 40

Pictures = NDArray[np.float32]


@dataclass(frozen=True)
class Row:
    """One row of the sheet: which scenes, under which adapter weights."""

    label: str
    scenes: tuple[Scene, ...]
    raccoon: float
    style: float


def rows() -> list[Row]:
    """List the rows; those without the right adapter are controls."""
    backgrounds = list(BACKGROUNDS)
    raccoons = tuple(Scene("flat", SUBJECT, background) for background in backgrounds)
    flat, ink = (
        tuple(Scene(line, name, backgrounds[place % 10]) for place, name in enumerate(KNOWN_SUBJECTS))
        for line in ("flat", "ink")
    )
    return [
        Row("the word alone", raccoons, 0, 0),
        Row("raccoon", raccoons, 1, 0),
        Row("raccoon, style .5", raccoons, 1, 0.5),
        Row("raccoon, style 1", raccoons, 1, 1),
        Row("style alone", raccoons, 0, 1),
        Row("flat, base", flat, 0, 0),
        Row("flat, raccoon on", flat, 1, 0),
        Row("flat, style", flat, 0, 1),
        Row("ink, base", ink, 0, 0),
        Row("ink, raccoon on", ink, 1, 0),
        Row("ink, style", ink, 0, 1),
    ]


def load_with_adapters(base: Path, adapters: Path) -> Pipeline:
    """Load the base with both adapters, as any user of diffusers would."""
    pipeline = load_base(base)
    pipeline.load_textual_inversion(adapters / "raccoon" / "learned_embeds.safetensors", token=SUBJECT_WORD)
    for name in ("raccoon", "style"):
        pipeline.load_lora_weights(adapters / name, adapter_name=name)
    return pipeline


def sample(pipeline: Pipeline, row: Row) -> Pictures:
    """Sample a row's pictures, from black 0 to white 1."""
    pipeline.set_adapters(["raccoon", "style"], [row.raccoon, row.style])
    prompts = [scene.caption(SUBJECT_WORD if scene.subject == SUBJECT else None) for scene in row.scenes]
    pictures: Pictures = pipeline(
        prompts,
        height=PICTURE_SIDE,
        width=PICTURE_SIDE,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        generator=torch.Generator().manual_seed(SEED),
        output_type="np",
    ).images
    return pictures


class Drawings:
    """Compare sampled pictures with drawings of the thirteen subjects, pixel by pixel."""

    def __init__(self, book: SpriteBook) -> None:
        self._book = book
        self._drawn: dict[tuple[Scene, bool], Pictures] = {}

    def distance(self, picture: Pictures, scene: Scene, *, styled: bool) -> float:
        """Measure how far a picture is from the closest drawing of a scene."""
        errors = (self._draw(scene, styled=styled) - picture) ** 2
        return float(np.sqrt(errors.mean(axis=(1, 2, 3)).min()))

    def name(self, picture: Pictures, scene: Scene, *, styled: bool) -> str:
        """Name the subject with the closest drawing; the scene gives line and background."""

        def distance(subject: str) -> float:
            return self.distance(picture, replace(scene, subject=subject), styled=styled)

        return min((SUBJECT, *KNOWN_SUBJECTS), key=distance)

    def _draw(self, scene: Scene, *, styled: bool) -> Pictures:
        if styled:
            scene = replace(scene, background="white")  # the style paints over every background
        if (scene, styled) not in self._drawn:
            rng = random.Random(SEED)
            draw = self._book.draw_duotone if styled else self._book.draw
            drawings = [np.asarray(draw(scene, LIKE_THE_BASE, rng), np.float32) for _ in range(DRAWINGS_PER_SCENE)]
            self._drawn[scene, styled] = np.stack(drawings) / np.float32(255)
        return self._drawn[scene, styled]


def style_error(pictures: Pictures) -> float:
    """Measure how far pixels lie, on average, from the line between ink and paper."""
    ink, paper = np.array(INK, np.float32) / 255, np.array(PAPER, np.float32) / 255
    along = np.clip((pictures - ink) @ (paper - ink) / ((paper - ink) @ (paper - ink)), 0, 1)
    return float(np.linalg.norm(pictures - ink - along[..., None] * (paper - ink), axis=-1).mean())


def contact_sheet(pictures: Sequence[Pictures]) -> Image.Image:
    """Lay rows of pictures out, enlarged without smoothing."""
    sheet = Image.new("RGB", (max(map(len, pictures)) * CELL_SIDE, len(pictures) * CELL_SIDE), "white")
    for top, row in enumerate(pictures):
        for left, picture in enumerate(row):
            cell = Image.fromarray(np.round(picture * 255).astype(np.uint8))
            enlarged = cell.resize((CELL_SIDE, CELL_SIDE), Image.Resampling.NEAREST)
            sheet.paste(enlarged, (left * CELL_SIDE, top * CELL_SIDE))
    return sheet


def main() -> None:
    """Read the command line, print a line for every row and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, help="base folder (default: the installed package's)")
    parser.add_argument("--adapters", type=Path, required=True, help="folder that make_adapters.py wrote")
    parser.add_argument("--sheet", type=Path, required=True, help="contact sheet to write, a PNG")
    arguments = parser.parse_args()

    drawings = Drawings(SpriteBook(SPRITES))
    pipeline = load_with_adapters(arguments.base or default_base(), arguments.adapters)
    sampled = []
    for row in rows():
        pictures, styled = sample(pipeline, row), row.style >= 1
        sampled.append(pictures)
        pairs = list(zip(pictures, row.scenes, strict=True))
        named = sum(drawings.name(picture, scene, styled=styled) == scene.subject for picture, scene in pairs)
        distance = np.mean([drawings.distance(picture, scene, styled=styled) for picture, scene in pairs])
        print(
            f"{row.label:18} named {named:2}/{len(pairs)}  distance {distance:.3f}"
            f"  style error {style_error(pictures):.3f}",
            flush=True,
        )
    contact_sheet(sampled).save(arguments.sheet)


if __name__ == "__main__":
    main()
