"""A heat map of where adapters meet: a row a module, in the order of their names; drawn with Pillow."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lorry.errors import InvalidArgument, MissingExtra
from lorry.ops.comparing.interference import Interference, Meeting, Pair
from lorry.ops.disk.output import replacing

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

_Colour = tuple[int, int, int]

_WHITE, _GREY, _INK = (255, 255, 255), (236, 236, 236), (40, 40, 40)
_RED, _BLUE, _PURPLE, _TEAL = (178, 24, 43), (33, 102, 172), (84, 39, 143), (0, 109, 91)

_ROW, _CELL, _MARGIN, _LABELS, _TOP = 7, 46, 12, 250, 64


class _Column(NamedTuple):
    """A heading over a shade for every meeting; None is nothing to tell."""

    group: str
    heading: str
    shade: Callable[[Meeting], _Colour | None]


def draw_interference(found: Interference, names: Sequence[str], path: str | Path, *, force: bool = False) -> None:
    """Draw a PNG at `path`: norms of every adapter, then cosine and overlaps of every pair.

    Cosines run from blue (-1, cancel out) over white to red (1, add up), overlaps from white to purple, norms from
    white to the largest in green. Grey is where there is nothing to compare. Raises Conflict where something is at
    `path` unless `force`, MissingExtra without Pillow.
    """
    if Path(path).suffix.lower() != ".png":
        raise InvalidArgument(f"{path}: heat maps are PNG pictures; end the name with .png")
    if importlib.util.find_spec("PIL") is None:
        raise MissingExtra("drawing a heat map", "Pillow", "torch")
    from PIL import Image, ImageDraw

    columns = _columns(found, names)
    height = _TOP + _ROW * len(found.meetings) + 2 * _MARGIN + 16 * len(names)
    image = Image.new("RGB", (_LABELS + _CELL * len(columns) + 2 * _MARGIN, height), _WHITE)
    draw = ImageDraw.Draw(image)
    _headings(draw, columns)
    block = ""
    for row, meeting in enumerate(sorted(found.meetings, key=_order)):
        top = _TOP + _ROW * row
        if block != (block := _block(meeting)):
            draw.text((_MARGIN, top - 3), block, fill=_INK, font_size=9)
        for at, column in enumerate(columns):
            left = _LABELS + _CELL * at
            draw.rectangle((left, top, left + _CELL - 2, top + _ROW - 1), fill=column.shade(meeting) or _GREY)
    for at, name in enumerate(names):
        draw.text((_MARGIN, height - _MARGIN - 16 * (len(names) - at)), f"{at + 1}  {name}", fill=_INK, font_size=11)
    with replacing(Path(path), force=force) as draft:
        image.save(draft, format="PNG")


def _columns(found: Interference, names: Sequence[str]) -> list[_Column]:
    largest = max((norm for each in found.meetings for norm in each.norms), default=0.0) or 1.0
    columns = [_Column("norm", f"{at + 1}", _of_norm(at, largest)) for at in range(len(names))]
    pairs = sorted({(pair.first, pair.second) for each in found.meetings for pair in each.pairs})
    for group, shade in (("cosine", _cosine), ("inputs", _reads), ("outputs", _writes)):
        columns += [_Column(group, f"{a + 1}·{b + 1}", _of_pair((a, b), shade)) for a, b in pairs]
    return columns


def _of_norm(at: int, largest: float) -> Callable[[Meeting], _Colour | None]:
    return lambda each: _mix(_TEAL, each.norms[at] / largest)


def _of_pair(wanted: tuple[int, int], shade: Callable[[Pair], _Colour | None]) -> Callable[[Meeting], _Colour | None]:
    return lambda each: next((shade(pair) for pair in each.pairs if (pair.first, pair.second) == wanted), None)


def _cosine(pair: Pair) -> _Colour:
    return _mix(_RED if pair.cosine > 0 else _BLUE, abs(pair.cosine))


def _reads(pair: Pair) -> _Colour | None:
    return None if pair.reads is None else _mix(_PURPLE, pair.reads)


def _writes(pair: Pair) -> _Colour | None:
    return None if pair.writes is None else _mix(_PURPLE, pair.writes)


def _mix(colour: _Colour, share: float) -> _Colour:
    """Return a colour between white and `colour`; the root lets small shares be seen."""
    share = min(max(share, 0.0), 1.0) ** 0.5
    red, green, blue = (round(255 + share * (each - 255)) for each in colour)
    return red, green, blue


def _order(meeting: Meeting) -> list[tuple[int, str]]:
    """Return what sorts layers.2 before layers.10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in str(meeting.path).split(".")]


def _block(meeting: Meeting) -> str:
    """Return the component and the beginning of the name up to the second number, which names its block."""
    parts = meeting.path.name.split(".")
    numbers = [at for at, part in enumerate(parts) if part.isdigit()]
    end = numbers[min(1, len(numbers) - 1)] + 1 if numbers else 1
    return ".".join((meeting.path.component, *parts[:end]))


def _headings(draw: ImageDraw, columns: Sequence[_Column]) -> None:
    group = ""
    for at, column in enumerate(columns):
        left = _LABELS + _CELL * at
        if group != (group := column.group):
            draw.text((left, _TOP - 40), group, fill=_INK, font_size=12)
        draw.text((left + 4, _TOP - 20), column.heading, fill=_INK, font_size=11)
