"""Finding adapters by what people know of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from lorry.cli import cli
from lorry_registry import Card, Registry

from .helpers import write_lora


@pytest.fixture
def zoo(registry: Registry, tmp_path: Path) -> Registry:
    cards = {
        "demo/raccoon": Card(title="Ein Waschbär", tags=("animal",), trigger_words=("sks coon",)),
        "demo/ink": Card(title="Ink style", description="Made beside the raccoon; 100% black", tags=("style",)),
        "other/cat": Card(title="CAT", authors=("someone",)),
    }
    for at, (name, card) in enumerate(cards.items()):
        registry.publish(f"{name}@1.0.0", [write_lora(tmp_path / f"{at}.safetensors", seed=at)], card=card)
    registry.publish(
        "demo/raccoon@1.1.0", [write_lora(tmp_path / "new.safetensors", seed=9)], card=cards["demo/raccoon"]
    )
    return registry


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["raccoon"], ["demo/raccoon", "demo/ink"]),
        (["WASCHBÄR"], ["demo/raccoon"]),
        (["coon", "sks"], ["demo/raccoon"]),
        (["demo", "style"], ["demo/ink"]),
        (["100%"], ["demo/ink"]),
        (["cat"], ["other/cat"]),
        (["anim"], ["demo/raccoon"]),
        (["%"], ["demo/ink"]),
        (["_"], []),
        (["raccoon", "cat"], []),
        ([], ["demo/ink", "demo/raccoon", "other/cat"]),
        (["--base", "sd1"], ["demo/ink", "demo/raccoon", "other/cat"]),
        (["--base", "flux1"], []),
        (["--kind", "lora", "cat"], ["other/cat"]),
        (["--kind", "loha"], []),
    ],
)
@pytest.mark.usefixtures("zoo")
def test_every_word_must_stand_somewhere(words: Sequence[str], found: Sequence[str]) -> None:
    result = CliRunner().invoke(cli, ["search", *words, "--json"])
    assert result.exit_code == 0, result.output
    assert [each["adapter"] for each in json.loads(result.stdout)] == found


def test_people_see_one_line_an_adapter(zoo: Registry) -> None:
    lines = CliRunner().invoke(cli, ["search", "raccoon"]).stdout.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [["demo/raccoon", "1.1.0", "2"], ["demo/ink", "1.0.0", "1"]]
    assert f"nothing in the registry at {zoo.home} fits" in CliRunner().invoke(cli, ["search", "zebra"]).stderr
