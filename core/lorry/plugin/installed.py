"""Finding installed plugins: the entry points in lorry's groups of every distribution on sys.path.

importlib.metadata tells the same, but importing it costs each command some 20 ms of CPU, for email, zipfile and
csv come along. So folders are read here, and whatever else Python can import from is left to it. The format:
https://packaging.python.org/en/latest/specifications/entry-points.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

PREFIX = "lorry."


class PluginPoint(NamedTuple):
    """One entry point of an installed distribution; `folder` holds that distribution's metadata."""

    name: str
    value: str
    group: str
    folder: Path

    @property
    def dist(self) -> Distribution:
        """Return the distribution, for its name and version."""
        from importlib.metadata import Distribution

        return Distribution.at(self.folder)

    @property
    def owner(self) -> str:
        """Return the normalised name of the distribution, without reading anything: its folder tells."""
        return _distribution(self.folder)


def installed() -> tuple[PluginPoint | EntryPoint, ...]:
    """Return the entry points whose group begins with "lorry."; where a distribution is there twice, the first's."""
    places = [Path(place) for place in dict.fromkeys(sys.path)]
    if not all(map(_is_plain, places)) or not all(map(_finds_folders_only, sys.meta_path)):
        return tuple(_by_metadata())
    found: dict[str, Path] = {}
    for place in places:
        for file in sorted(place.glob("*.*-info/entry_points.txt")):
            found.setdefault(_distribution(file.parent), file)
    return tuple(point for file in found.values() for point in _points(file))


def _is_plain(place: Path) -> bool:
    return (place.is_dir() and place.suffix != ".egg") or not place.exists()


def _finds_folders_only(finder: object) -> bool:
    return finder is PathFinder or not hasattr(finder, "find_distributions")


def _distribution(folder: Path) -> str:
    """Return the normalised name of the distribution: its folder is called NAME-VERSION.dist-info."""
    return normalised(folder.stem.partition("-")[0])


def normalised(name: str) -> str:
    """Return the one form in which names of distributions are compared (packaging.python.org, Name normalization)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def owner(point: PluginPoint | EntryPoint) -> str:
    """Return the normalised name of the distribution that an entry point is of."""
    if isinstance(point, PluginPoint):
        return point.owner
    return normalised(point.dist.name) if point.dist else "unknown"


def _points(file: Path) -> Iterator[PluginPoint]:
    group = ""
    for line in map(str.strip, file.read_text(encoding="utf-8").splitlines()):
        if line.startswith("["):
            group = line.strip("[]").strip()
        elif "=" in line and not line.startswith("#") and group.startswith(PREFIX):
            name, _, value = line.partition("=")
            yield PluginPoint(name.strip(), value.strip(), group, file.parent)


def _by_metadata() -> Iterable[EntryPoint]:
    from importlib.metadata import distributions

    seen: set[str] = set()
    for distribution in distributions():
        name = distribution.name
        if name not in seen:
            seen.add(name)
            yield from (point for point in distribution.entry_points if point.group.startswith(PREFIX))
