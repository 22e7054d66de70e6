"""The two shipped bases, opened once a worker."""

from __future__ import annotations

import importlib.metadata
import sys
import types
from collections.abc import Iterator

import pytest
import torch

from lorry.compose.pipeline_model import PipelineModel
from lorry.plugin import hookimpl
from lorry.plugin.host import GROUPS, Host
from lorry_plugins.backends.flux.model import load as load_flux
from lorry_plugins.backends.sd.model import load as load_sd
from lorry_plugins.backends.toybox import bases

from .helpers import made_up_kinds


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # models this small only lose by sharing


@pytest.fixture(scope="session")
def toybox_sd(plugins: Host) -> Iterator[PipelineModel]:
    opened = load_sd(bases()["toybox-sd"], "cpu")
    opened.plugins = plugins
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def toybox_flux(plugins: Host) -> Iterator[PipelineModel]:
    opened = load_flux(bases()["toybox-flux"], "cpu")
    opened.plugins = plugins
    yield opened
    opened.close()


@pytest.fixture
def sd(toybox_sd: PipelineModel) -> Iterator[PipelineModel]:
    """The tiny Stable Diffusion, with nothing attached before and after."""
    yield toybox_sd
    toybox_sd.detach()


@pytest.fixture
def flux(toybox_flux: PipelineModel) -> Iterator[PipelineModel]:
    """The tiny FLUX.1, with nothing attached before and after."""
    yield toybox_flux
    toybox_flux.detach()


@pytest.fixture(params=["sd", "flux"])
def model(request: pytest.FixtureRequest) -> PipelineModel:
    """Each backend in turn."""
    opened: PipelineModel = request.getfixturevalue(request.param)
    return opened


@pytest.fixture(scope="session")
def plugins() -> Iterator[Host]:
    """All built-in plugins, and three made-up kinds that have no low-rank form."""
    module = types.ModuleType("made_up_kinds")
    module.LORRY_API = 1  # type: ignore[attr-defined]
    module.lorry_kinds = hookimpl(made_up_kinds, specname="lorry_kinds")  # type: ignore[attr-defined]
    sys.modules["made_up_kinds"] = module
    installed = [point for group in GROUPS for point in importlib.metadata.entry_points(group=f"lorry.{group}")]
    made_up = importlib.metadata.EntryPoint("made-up", "made_up_kinds", "lorry.kinds")
    yield Host(entry_points=[*installed, made_up])
    del sys.modules["made_up_kinds"]
