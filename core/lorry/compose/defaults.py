"""What a request leaves open, and where it comes from: the base's own `lorry.json`, or the backend.

A base folder may state its defaults in a file `lorry.json`, every entry optional:

    {"steps": 20, "guidance": 3.0, "width": 512, "height": 512}
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from lorry.errors import InvalidArgument, InvalidFile
from lorry.plugin.backend import Request

FILE = "lorry.json"

_SEEDS = 1 << 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """Denoising steps, guidance scale, and the size in pixels."""

    steps: int
    guidance: float
    width: int
    height: int

    def stated_in(self, folder: Path) -> Defaults:
        """Return these, with what the folder's own file says in their place; raise InvalidFile for a broken one."""
        path = folder / FILE
        if not path.is_file():
            return self
        try:
            stated = json.loads(path.read_bytes())
        except ValueError as error:
            raise InvalidFile(f"{path} is not JSON: {error}") from error
        known = asdict(self)
        if not isinstance(stated, dict):
            raise InvalidFile(f"{path} is not a JSON object")
        for name, value in stated.items():
            if not _is_like(value, known.get(name)):
                raise InvalidFile(f"{path}: {name!r}: {value!r} is no default; give numbers for {', '.join(known)}")
        return replace(self, **stated)


class Drawing(NamedTuple):
    """A request with nothing left open."""

    prompt: str
    negative: str
    seed: int
    steps: int
    guidance: float
    width: int
    height: int


def fill(request: Request, defaults: Defaults, multiple: int) -> Drawing:
    """Fill what the request leaves open; raise InvalidArgument for numbers that no picture can have.

    multiple: pixels that width and height must be whole multiples of; nothing is rounded in silence.
    """
    drawing = Drawing(
        prompt=request.prompt,
        negative=request.negative,
        seed=request.seed,
        steps=defaults.steps if request.steps is None else request.steps,
        guidance=defaults.guidance if request.guidance is None else request.guidance,
        width=defaults.width if request.width is None else request.width,
        height=defaults.height if request.height is None else request.height,
    )
    if not math.isfinite(drawing.guidance):
        raise InvalidArgument(f"a guidance of {drawing.guidance} means nothing; give a number")
    if drawing.steps < 1:
        raise InvalidArgument(f"{drawing.steps} steps draw nothing; give 1 or more")
    if not 0 <= drawing.seed < _SEEDS:
        raise InvalidArgument(f"seed {drawing.seed} is not within 0..{_SEEDS - 1}")
    for name, pixels in (("width", drawing.width), ("height", drawing.height)):
        if pixels < multiple or pixels % multiple:
            near = max(round(pixels / multiple), 1) * multiple
            raise InvalidArgument(f"{name} {pixels} is no multiple of {multiple}, as this base needs; try {near}")
    return drawing


def _is_like(value: object, known: float | None) -> bool:
    if known is None or isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(known, float) and isinstance(value, float))
