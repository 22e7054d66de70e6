"""The bases that come with lorry: ordinary diffusers folders that draw what they are asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import diffusers
import pytest
import torch
from PIL import Image

from lorry.compose.pipeline_model import PipelineModel
from lorry.ops.bases.base import open_base
from lorry.plugin import Request
from lorry_plugins.backends.toybox import FOLDER, bases
from lorry_plugins.backends.toybox.contact_sheet import contact_sheet

BACKGROUNDS = {"red": (220, 40, 40), "teal": (30, 170, 170), "white": (248, 248, 248), "purple": (130, 65, 190)}


@pytest.mark.parametrize(("name", "base"), [("toybox-sd", "sd1"), ("toybox-flux", "flux1")])
def test_bases_are_known_by_name(name: str, base: str) -> None:
    assert open_base(name).id == base


@pytest.mark.filterwarnings("ignore")  # diffusers' own, at every opening
@pytest.mark.parametrize("name", ["toybox-sd", "toybox-flux"])
def test_bases_open_as_ordinary_diffusers_folders(name: str) -> None:
    pipeline = cast("Any", diffusers).DiffusionPipeline.from_pretrained(bases()[name], local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline("a flat cat on a red background", width=32, height=32, num_inference_steps=2).images[0]
    assert picture.size == (32, 32)


@pytest.mark.parametrize("color", BACKGROUNDS)
def test_bases_draw_the_background_they_are_asked_for(model: PipelineModel, color: str) -> None:
    picture = model.generate(Request(prompt=f"a flat cat on a {color} background", seed=1))
    corners = torch.tensor([picture.getpixel((x, y)) for x in (1, 30) for y in (1, 30)], dtype=torch.float32)
    nearest = min(BACKGROUNDS, key=lambda name: float((corners - torch.tensor(BACKGROUNDS[name])).norm()))
    assert nearest == color
    assert float((corners.median(0).values - torch.tensor(BACKGROUNDS[color])).abs().max()) < 40


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.json")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_configurations_name_no_place_of_another_machine(path: Path) -> None:
    assert "_name_or_path" not in json.loads(path.read_bytes())


def test_contact_sheet_enlarges_pixels_in_their_places() -> None:
    colors = ["#ff0000", "#00ff00", "#0000ff", "#ffff00"]
    pictures = [Image.new("RGB", (4, 2), color) for color in colors]
    sheet = contact_sheet(["one", "two"], {"above": pictures[:2], "below": pictures[2:]}, scale=3)
    areas = {
        color: sum(count for count, found in sheet.getcolors(1 << 20) or () if found == rgb)
        for color, rgb in ((color, Image.new("RGB", (1, 1), color).getpixel((0, 0))) for color in colors)
    }
    assert areas == dict.fromkeys(colors, 4 * 2 * 9)
