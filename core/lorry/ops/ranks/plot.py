"""A picture of a rank report: how much of each block's energy is held, and how fast the singular values fall."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lorry.errors import InvalidArgument, MissingExtra
from lorry.ir.module_path import ModulePath
from lorry.ops.disk.output import replacing
from lorry.ops.ranks.report import LayerCut, RankReport

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

_BAR, _LABELS, _PLOT, _GAP = 20, 260, 460, 40
_HELD, _LOST, _LINE, _TEXT, _AXIS = (46, 110, 160), (222, 140, 70), (46, 110, 160, 70), (30, 30, 30), (170, 170, 170)
_DECADES = 4
"""Powers of ten that the plot of singular values shows."""


def draw_ranks(report: RankReport, path: str | Path, *, force: bool = False) -> None:
    """Draw a report as a PNG at `path`: on the left a bar a block, on the right the singular values of every layer.

    A bar is as long as the block's share of the energy of all differences, ‖ΔW‖²; what is not held is in another
    colour. Values are drawn over their number, both axes logarithmic, each layer relative to its largest value.
    Raises Conflict where something is at `path` unless `force`, MissingExtra without Pillow.
    """
    check_plot(Path(path))
    from PIL import Image, ImageDraw

    blocks = _blocks(report.layers)
    height = max(len(blocks) * _BAR, _PLOT) + 2 * _GAP
    with Image.new("RGB", (_LABELS + 2 * _PLOT + 4 * _GAP, height), "white") as picture:
        draw = ImageDraw.Draw(picture, "RGBA")
        _bars(draw, blocks)
        _spectra(draw, report.layers, _LABELS + _PLOT + 3 * _GAP)
        with replacing(Path(path), force=force) as draft:
            picture.save(draft, format="PNG")


def check_plot(path: Path) -> None:
    """Raise MissingExtra without Pillow, and InvalidArgument for a name that is no PNG's."""
    if find_spec("PIL") is None:
        raise MissingExtra("drawing a plot", "Pillow", "torch")
    if path.suffix.lower() != ".png":
        raise InvalidArgument(f"{path}: plots are PNG pictures; end the name with .png")


def _blocks(layers: Sequence[LayerCut]) -> dict[str, tuple[float, float]]:
    """Return energy and held energy by block, in order."""
    found: dict[str, tuple[float, float]] = {}
    for each in layers:
        name = _block(each.at.path)
        energy, held = found.get(name, (0.0, 0.0))
        found[name] = energy + each.norm**2, held + each.kept * each.norm**2
    return found


def _block(path: ModulePath) -> str:
    """Return the module's name up to its first number: "unet.up_blocks.1"."""
    parts = path.name.split(".")
    end = next((at + 1 for at, part in enumerate(parts) if part.isdecimal()), 1)
    return ".".join((path.component, *parts[:end]))


def _bars(draw: ImageDraw, blocks: dict[str, tuple[float, float]]) -> None:
    largest = max((energy for energy, _ in blocks.values()), default=0.0) or 1.0
    whole = math.fsum(energy for energy, _ in blocks.values()) or 1.0
    draw.text((_GAP, _GAP / 2 - 6), "energy of the difference by block: held (blue), not held (orange)", _TEXT)
    for at, (name, (energy, held)) in enumerate(blocks.items()):
        top, left = _GAP + at * _BAR, _LABELS + _GAP
        draw.text((_GAP, top + 3), name, _TEXT)
        end, split = left + _PLOT * energy / largest * 0.85, left + _PLOT * held / largest * 0.85
        draw.rectangle((left, top + 3, end, top + _BAR - 3), _LOST)
        draw.rectangle((left, top + 3, split, top + _BAR - 3), _HELD)
        draw.text((end + 5, top + 3), f"{energy / whole:.1%}", _TEXT)


def _spectra(draw: ImageDraw, layers: Sequence[LayerCut], left: int) -> None:
    longest = max((len(each.values) for each in layers), default=0)
    draw.text((left, _GAP / 2 - 6), "singular values, of the largest, by number", _TEXT)
    draw.rectangle((left, _GAP, left + _PLOT, _GAP + _PLOT), outline=_AXIS)
    for decade in range(1, _DECADES):
        y = _GAP + _PLOT * decade / _DECADES
        draw.line((left, y, left + _PLOT, y), _AXIS)
        draw.text((left + 4, y + 2), f"1e-{decade}", _TEXT)
    if longest < 2:  # noqa: PLR2004  a line needs two points
        return
    for each in layers:
        points = [
            (
                left + _PLOT * math.log(number) / math.log(longest),
                _GAP + _PLOT * min(1.0, -math.log10(value / each.values[0]) / _DECADES),
            )
            for number, value in enumerate(each.values, 1)
            if value > 0
        ]
        if len(points) > 1:
            draw.line(points, _LINE, 1)
    number = 1
    while number <= longest:
        draw.text((left + _PLOT * math.log(number) / math.log(longest), _GAP + _PLOT + 4), str(number), _TEXT)
        number *= 4
