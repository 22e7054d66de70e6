"""Finding installed plugins: the same answer as importlib.metadata's, wherever a distribution lies."""

import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import DistributionFinder, MetadataPathFinder, distributions
from pathlib import Path

import pytest

from lorry.plugin.installed import installed

TABLE = """\
[console_scripts]
made-up = made_up:main

# a comment = not an entry point
[lorry.kinds]
twist = made_up.twist

[lorry.dialects]
 made-up=made_up.dialect
"""
KINDS = {("twist", "made_up.twist", "lorry.kinds"), ("made-up", "made_up.dialect", "lorry.dialects")}


def as_told() -> set[tuple[str, str, str]]:
    return {(point.name, point.value, point.group) for point in installed()}


def as_python_tells() -> set[tuple[str, str, str]]:
    points = (point for distribution in distributions() for point in distribution.entry_points)
    return {(point.name, point.value, point.group) for point in points if point.group.startswith("lorry.")}


def folder(place: Path, name: str = "made_up-1.0.dist-info", table: str = TABLE) -> Path:
    metadata = place / name
    metadata.mkdir(parents=True)
    (metadata / "entry_points.txt").write_text(table, encoding="utf-8")
    (metadata / ("PKG-INFO" if name.endswith("egg-info") else "METADATA")).write_text("Name: made.up\nVersion: 1.0\n")
    return place


def in_a_folder(place: Path) -> Path:
    return folder(place)


def in_a_source_tree(place: Path) -> Path:
    return folder(place, "made_up.egg-info")


def in_an_egg(place: Path) -> Path:
    (folder(place / "made_up-1.0-py3.egg", "EGG-INFO") / "EGG-INFO" / "METADATA").rename(
        place / "made_up-1.0-py3.egg" / "EGG-INFO" / "PKG-INFO"
    )
    return place / "made_up-1.0-py3.egg"


def in_an_archive(place: Path) -> Path:
    place.mkdir()
    with zipfile.ZipFile(place / "made_up.zip", "w") as archive:
        archive.writestr("made_up-1.0.dist-info/entry_points.txt", TABLE)
        archive.writestr("made_up-1.0.dist-info/METADATA", "Name: made.up\nVersion: 1.0\n")
    return place / "made_up.zip"


@pytest.mark.parametrize("put", [in_a_folder, in_a_source_tree, in_an_egg, in_an_archive])
def test_a_distribution_is_found_wherever_python_finds_it(
    put: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = as_told()
    monkeypatch.syspath_prepend(put(tmp_path / "place"))
    assert as_told() == before | KINDS == as_python_tells()
    (twist,) = (point for point in installed() if point.name == "twist")
    assert twist.dist is not None
    assert (twist.dist.name, twist.dist.version) == ("made.up", "1.0")


def test_the_first_of_two_copies_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder(tmp_path / "old"))
    newer = TABLE.replace("made_up.twist", "made_up.turn")
    monkeypatch.syspath_prepend(folder(tmp_path / "new", "Made.Up-2.0.dist-info", newer))
    assert [point.value for point in installed() if point.name == "twist"] == ["made_up.turn"]


def test_finders_that_know_of_more_are_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Bundle:
        """As the finders of bundled applications: it knows distributions that are not on sys.path."""

        find_spec = staticmethod(lambda *_: None)
        find_distributions = staticmethod(lambda _: MetadataPathFinder.find_distributions(context))

    folder(tmp_path)
    context = DistributionFinder.Context(path=[str(tmp_path)])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Bundle])
    assert as_told() >= KINDS


def test_what_is_not_there_or_has_no_table_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = as_told()
    (tmp_path / "empty-1.0.dist-info").mkdir()
    for place in (tmp_path, tmp_path / "gone"):
        monkeypatch.syspath_prepend(place)
    assert as_told() == before
