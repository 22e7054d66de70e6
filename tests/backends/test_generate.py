"""Requests on the running bases: defaults, steps, seeds, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from lorry.compose.defaults import Defaults
from lorry.compose.pipeline_model import PipelineModel
from lorry.errors import InvalidArgument, InvalidFile
from lorry.plugin import Request
from lorry_plugins.backends.sd.model import load as load_sd
from lorry_plugins.backends.toybox import bases

from .helpers import PROMPT, adapter, difference


def test_the_base_states_its_own_defaults(model: PipelineModel) -> None:
    assert (model.defaults.steps, model.defaults.width, model.defaults.height) == (20, 32, 32)
    short = model.generate(PROMPT)
    full = model.generate(replace(PROMPT, steps=None))
    assert full.size == (32, 32)
    assert difference(full, short) > 0.5


def test_same_seed_same_picture_other_seed_another(model: PipelineModel) -> None:
    first = model.generate(PROMPT)
    assert model.generate(PROMPT).tobytes() == first.tobytes()
    assert difference(model.generate(replace(PROMPT, seed=4)), first) > 0.5


def test_guidance_and_negative_prompt_count(model: PipelineModel) -> None:
    pictures = [
        model.generate(replace(PROMPT, guidance=guidance, negative=negative))
        for guidance, negative in ((1.0, ""), (3.0, ""), (3.0, "a flat dog"))
    ]
    assert min(difference(pictures[a], pictures[b]) for a, b in ((0, 1), (1, 2))) > 0.5


def test_size_can_be_chosen(model: PipelineModel) -> None:
    assert model.generate(replace(PROMPT, width=48, height=40)).size == (48, 40)


def test_on_step_is_called_before_every_step(model: PipelineModel) -> None:
    calls: list[tuple[int, int]] = []
    watched = model.generate(PROMPT, lambda number, total: calls.append((number, total)))
    assert calls == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert watched.tobytes() == model.generate(PROMPT).tobytes()


def test_strengths_can_change_at_every_step(model: PipelineModel) -> None:
    """Strength 1 on the first step alone is neither all nor nothing; on all steps it is all."""
    model.attach([(adapter(model.base), 1.0)])
    on = model.generate(PROMPT)
    model.strengths([0.0])
    off = model.generate(PROMPT)
    denoiser_only = model.generate(PROMPT, lambda number, _: model.strengths([1.0 if number == 0 else 0.0]))
    assert min(difference(denoiser_only, each) for each in (on, off)) > 0.2
    never = model.generate(PROMPT, lambda *_: model.strengths([0.0]))
    assert never.tobytes() == off.tobytes()


def test_a_scheduler_that_asks_once_more_is_counted(sd: PipelineModel) -> None:
    from diffusers import PNDMScheduler

    own, pndm = sd.pipeline.scheduler, cast("Any", PNDMScheduler)
    sd.pipeline.scheduler = pndm.from_config(own.config, skip_prk_steps=True)
    calls: list[tuple[int, int]] = []
    sd.generate(PROMPT, lambda number, total: calls.append((number, total)))
    sd.pipeline.scheduler = own
    assert calls == [(number, 5) for number in range(5)]


def test_an_error_in_on_step_ends_the_picture_and_nothing_else(model: PipelineModel) -> None:
    before = model.generate(PROMPT)

    def stop(number: int, total: int) -> None:
        if number == total - 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.generate(PROMPT, stop)
    assert model.generate(PROMPT).tobytes() == before.tobytes()


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"steps": 5000}, {"width": 33}, {"height": 0}, {"width": -8}, {"seed": -1}, {"seed": 1 << 64}],
    ids=str,
)
def test_requests_that_make_no_sense_are_refused(sd: PipelineModel, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        sd.generate(replace(PROMPT, **wrong))


def test_a_negative_prompt_without_guidance_is_refused(model: PipelineModel) -> None:
    with pytest.raises(InvalidArgument, match="negative"):
        model.generate(Request(prompt="a flat cat", negative="ink", guidance=1.0))


def test_a_closed_model_says_so() -> None:
    closed = load_sd(bases()["toybox-sd"], "cpu")
    closed.close()
    with pytest.raises(InvalidArgument, match="closed"):
        closed.generate(PROMPT)
    with pytest.raises(InvalidArgument, match="closed"):
        closed.attach([])


FALLBACK = Defaults(steps=50, guidance=7.5, width=512, height=512)


def test_defaults_are_read_from_the_folder(tmp_path: Path) -> None:
    assert FALLBACK.stated_in(tmp_path) == FALLBACK
    (tmp_path / "lorry.json").write_text('{"steps": 8, "guidance": 2}')
    assert FALLBACK.stated_in(tmp_path) == Defaults(steps=8, guidance=2, width=512, height=512)


@pytest.mark.parametrize(
    "text", ['{"step": 8}', '{"steps": 8.5}', '{"steps": true}', '{"guidance": "3"}', "[8]", "{", ""]
)
def test_broken_defaults_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "lorry.json").write_text(text)
    with pytest.raises(InvalidFile, match=r"lorry\.json"):
        FALLBACK.stated_in(tmp_path)
