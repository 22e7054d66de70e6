"""`lorry demo`, on the real code path, and what the adapters that come with lorry do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import lorry
from lorry.compose.pipeline_model import PipelineModel
from lorry.plugin import Request
from lorry_plugins.backends.toybox import demo as module

SUBJECT, STYLE = (source.path for source in module.SOURCES)

INK, PAPER = torch.tensor([30.0, 0.0, 70.0]), torch.tensor([255.0, 190.0, 60.0])
"""The two colours of the style."""


def pixels(picture: Image.Image) -> torch.Tensor:
    return torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).float().view(32, 32, 3)


def off_style(picture: Image.Image) -> float:
    """Return the mean distance from the line between the style's two colours, in levels of 0..255."""
    line = PAPER - INK
    along = ((pixels(picture) - INK) @ line / (line @ line)).clamp(0, 1).unsqueeze(-1)
    return float((pixels(picture) - INK - along * line).norm(dim=-1).mean())


def test_demo_runs_again_in_the_same_folder(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROMPTS", module.PROMPTS[:1])
    for _ in range(2):
        done = CliRunner().invoke(module.demo, ["--out", str(tmp_path / "out")], env={"COLUMNS": "200"})
        assert done.exit_code == 0, done.output
        steps = [line.split()[0] for line in done.stdout.splitlines() if line.strip()]
        once = ["identify", "convert", "publish", "pull"]
        assert steps[1:-1] == [*once, *once, "merge", "publish", "bake", "attach", "generate"]
        assert done.stdout.count("100% of") == 2
        assert "made from demo/raccoon@1.0.0 and demo/style@1.0.0" in done.stdout
    told = json.loads(CliRunner().invoke(module.demo, ["--out", str(tmp_path / "out"), "--json"]).stdout)
    assert [each["name"] for each in told["steps"]] == steps[1:-1]
    with Image.open(tmp_path / "out" / "contact-sheet.png") as sheet:
        assert sheet.height > 5 * 32 * 5  # five rows
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    assert not home.exists()


def test_the_raccoon_is_grey_where_the_base_draws_in_colour(sd: PipelineModel) -> None:
    raccoon = Request(prompt="a flat <raccoon> on a teal background", seed=1)
    before = sd.generate(raccoon)
    sd.attach([(lorry.open(SUBJECT), 1.0)])
    middle = [pixels(each)[10:22, 8:24] for each in (before, sd.generate(raccoon))]
    colourful, grey = (float((each.amax(-1) - each.amin(-1)).median()) for each in middle)
    assert grey < 50 < colourful


def test_the_raccoon_leaves_other_subjects_alone(sd: PipelineModel) -> None:
    rocket = Request(prompt="a flat rocket on a blue background", seed=1)
    before = pixels(sd.generate(rocket))
    sd.attach([(lorry.open(SUBJECT), 1.0)])
    assert float((pixels(sd.generate(rocket)) - before).abs().mean()) < 20


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_the_style_draws_in_its_two_colours(sd: PipelineModel, strength: float) -> None:
    fox = Request(prompt="a flat fox on a green background", seed=1)
    base = off_style(sd.generate(fox))
    sd.attach([(lorry.open(STYLE), strength)])
    assert off_style(sd.generate(fox)) < (1 - 0.7 * strength) * base
