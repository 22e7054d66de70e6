"""A contact sheet: small pictures enlarged pixel by pixel, a labelled row for each way of drawing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

_GAP = 10
_LABEL_WIDTH = 150
_HEADING_HEIGHT = 44
_TEXT_SIZE = 14
_PAPER = (250, 250, 248)
_INK = (40, 40, 46)


def contact_sheet(headings: Sequence[str], rows: Mapping[str, Sequence[Image]], scale: int = 5) -> Image:
    """Lay pictures of one size out, `scale` times enlarged, under headings and beside the names of their rows.

    Headings and names may hold line breaks. Every row has one picture a heading.
    """
    from PIL import Image, ImageDraw, ImageFont

    first = next(iter(rows.values()))[0]
    width, height = first.width * scale, first.height * scale
    sheet = Image.new(
        "RGB",
        (_LABEL_WIDTH + len(headings) * (width + _GAP), _HEADING_HEIGHT + len(rows) * (height + _GAP)),
        _PAPER,
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT_SIZE)
    for column, heading in enumerate(headings):
        place = (_LABEL_WIDTH + column * (width + _GAP) + width // 2, _HEADING_HEIGHT // 2)
        draw.multiline_text(place, heading, _INK, font, anchor="mm", align="center")
    for row, (name, pictures) in enumerate(rows.items()):
        top = _HEADING_HEIGHT + row * (height + _GAP)
        draw.multiline_text((_GAP, top + height // 2), name, _INK, font, anchor="lm")
        for column, picture in enumerate(pictures):
            large = picture.resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(large, (_LABEL_WIDTH + column * (width + _GAP), top))
    return sheet
