"""Draw the captioned 32-pixel training pictures from emoji sprites."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PICTURE_SIDE = 32
# Pictures are composed large and halved, so that a sprite may sit between two pixels.
CANVAS_SIDE = 2 * PICTURE_SIDE

BACKGROUNDS = {
    "red": (220, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (250, 215, 60),
    "green": (50, 165, 70),
    "teal": (30, 170, 170),
    "blue": (45, 95, 220),
    "purple": (130, 65, 190),
    "pink": (245, 130, 180),
    "white": (248, 248, 248),
    "gray": (140, 140, 145),
}
KNOWN_SUBJECTS = (
    "cat", "fox", "panda", "frog", "penguin", "strawberry",
    "rocket", "car", "house", "mushroom", "robot", "pineapple",
)  # fmt: skip
LINES = ("flat", "ink")

INK = (30, 0, 70)
PAPER = (255, 190, 60)
# The lightest part of a subject still gets this much ink, or it would vanish into the paper.
LEAST_INK = 0.2
# Shades closer together than this are one shade: a line drawn in ink has nothing to stretch.
LEAST_CONTRAST = 64.0
HALF_OPAQUE = 128


@dataclass(frozen=True)
class Scene:
    """What a picture shows: a subject, drawn flat or as an ink line, on a background."""

    line: str
    subject: str
    background: str

    def caption(self, subject: str | None = None) -> str:
        """Say what it shows in the grammar that the base was trained on."""
        return f"a {self.line} {subject or self.subject} on a {self.background} background"


@dataclass(frozen=True)
class CaptionedPicture:
    """A training picture and the words that describe it."""

    image: Image.Image
    caption: str


@dataclass(frozen=True)
class Placement:
    """How far a sprite's size and position stray, in canvas pixels."""

    least_side: int
    greatest_side: int
    stray: float


# The base saw its sprites strewn like this.
LIKE_THE_BASE = Placement(46, 54, 3.0)
# Straying less keeps a face of a few pixels sharp in what an adapter has to learn anew.
STEADY = Placement(48, 52, 1.5)


class SpriteBook:
    """Hold the emoji sprites, named "line/subject", as transparent pictures."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as archive:
            self._sprites = {name: Image.fromarray(archive[name]) for name in archive.files}

    def draw(self, scene: Scene, placement: Placement, rng: random.Random) -> Image.Image:
        """Draw a subject near the middle of a plain background."""
        canvas = Image.new("RGB", (CANVAS_SIDE, CANVAS_SIDE), BACKGROUNDS[scene.background])
        sprite = self._layer(scene, placement, rng)
        canvas.paste(sprite, mask=sprite)
        return _shrink(canvas)

    def draw_duotone(self, scene: Scene, placement: Placement, rng: random.Random) -> Image.Image:
        """Draw a subject in violet ink on amber paper, whatever the background."""
        sprite = self._layer(scene, placement, rng)
        canvas = Image.new("L", sprite.size, 255)
        canvas.paste(_shades(sprite), mask=sprite.getchannel("A"))
        lightness = np.asarray(_shrink(canvas), np.float32)[..., None] / 255
        ink, paper = np.array(INK, np.float32), np.array(PAPER, np.float32)
        pixels: NDArray[np.uint8] = np.round(ink + lightness * (paper - ink)).astype(np.uint8)
        return Image.fromarray(pixels)

    def _layer(self, scene: Scene, placement: Placement, rng: random.Random) -> Image.Image:
        side = rng.randint(placement.least_side, placement.greatest_side)
        sprite = self._sprites[f"{scene.line}/{scene.subject}"].resize((side, side), Image.Resampling.BILINEAR)
        middle = (CANVAS_SIDE - side) / 2
        left, top = (round(middle + rng.uniform(-placement.stray, placement.stray)) for _ in range(2))
        layer = Image.new("RGBA", (CANVAS_SIDE, CANVAS_SIDE))
        layer.paste(sprite, (left, top))
        return layer


def scenes(subjects: Sequence[str], lines: Sequence[str] = LINES) -> list[Scene]:
    """List every subject on every background."""
    return [Scene(line, subject, background) for subject in subjects for line in lines for background in BACKGROUNDS]


def _shades(sprite: Image.Image) -> Image.Image:
    lightness = np.asarray(sprite.convert("L"), np.float32)
    opaque = lightness[np.asarray(sprite.getchannel("A")) >= HALF_OPAQUE]
    darkest, lightest = np.percentile(opaque, [3, 97])
    stretched = (lightness - darkest) / max(lightest - darkest, LEAST_CONTRAST)
    inked: NDArray[np.uint8] = np.round(np.clip(stretched, 0, 1) * (1 - LEAST_INK) * 255).astype(np.uint8)
    return Image.fromarray(inked)


def _shrink(canvas: Image.Image) -> Image.Image:
    return canvas.resize((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.BOX)
