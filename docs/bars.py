"""Pictures of the generated pages: bars of what contestants took, as SVG, which is text that a check can compare."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

_ROW, _NAMES, _SCALE, _VALUES, _EDGE = 24, 560, 400, 80, 12
_OURS, _OTHERS, _TEXT, _GRID = "#c2571a", "#8a939c", "#24292f", "#d8dee4"


def bars(title: str, seconds: Mapping[str, Sequence[float]]) -> str:
    """Draw the median of each contestant's seconds as a bar on a logarithmic scale, lorry's own in their colour.

    A thin line goes from the least to the most of its runs.
    """
    every = [each for runs in seconds.values() for each in runs]
    first, last = math.floor(math.log10(min(every))), math.ceil(math.log10(max(every)))
    width, height = _NAMES + _SCALE + _VALUES, (len(seconds) + 1) * _ROW + 2 * _EDGE

    def x(value: float) -> float:
        return _NAMES + _SCALE * (math.log10(value) - first) / max(last - first, 1)

    bottom = height - _ROW - _EDGE
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13" fill="{_TEXT}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for power in range(first, last + 1):
        at = x(10.0**power)
        lines += [
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_EDGE}" y2="{bottom}" stroke="{_GRID}"/>',
            f'<text x="{at:.1f}" y="{bottom + 17}" text-anchor="middle">{10.0**power:g} s</text>',
        ]
    for number, (name, runs) in enumerate(seconds.items()):
        top, median = _EDGE + number * _ROW, statistics.median(runs)
        middle, end = top + _ROW / 2, x(median)
        colour = _OURS if name.startswith("lorry") else _OTHERS
        lines += [
            f'<text x="{_NAMES - 8}" y="{middle + 4:.1f}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_NAMES}" y="{top + 4}" width="{end - _NAMES:.1f}" height="{_ROW - 8}" fill="{colour}"/>',
            f'<line x1="{x(min(runs)):.1f}" x2="{x(max(runs)):.1f}" y1="{middle}" y2="{middle}" stroke="{_TEXT}"/>',
            f'<text x="{x(max(runs)) + 6:.1f}" y="{middle + 4:.1f}">{median:.2f}</text>',
        ]
    return "\n".join([*lines, "</svg>"])
