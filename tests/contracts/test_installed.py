"""Every installed plugin keeps the laws of its contract, as a stranger's does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lorry.plugin import BaseModel, Container, Dialect, Kind
from lorry.plugin.host import host
from lorry.testing import check_base_model, check_container, check_dialect, check_kind

NUMBERED = {"cloneofsimo", "cloneofsimo-list"}
"""They number all layers of a model, so a few by themselves are not for them: see tests/unit/test_cloneofsimo.py."""


@pytest.mark.parametrize("kind", host().kinds().values(), ids=lambda kind: kind.name)
def test_kind(kind: Kind) -> None:
    check_kind(kind)


@pytest.mark.parametrize("dialect", host().dialects().values(), ids=lambda dialect: dialect.name)
def test_dialect(dialect: Dialect) -> None:
    check_dialect(dialect, whole=dialect.name in NUMBERED)


@pytest.mark.parametrize("model", host().base_models().values(), ids=lambda model: model.id)
def test_base_model(model: BaseModel) -> None:
    check_base_model(model)


@pytest.mark.parametrize(
    "container", [each for each in host().containers().values() if each.write], ids=lambda container: container.name
)
def test_container(container: Container) -> None:
    if container.name == "json":
        check_container(container, dtypes=["F32"], numbered=True)
    else:
        check_container(container)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles(tmp_path: Path, *, zipped: bool) -> None:
    path = tmp_path / "some.pt"
    torch.save({"a.weight": torch.ones(2, 3), "step": 3}, path, _use_new_zipfile_serialization=zipped)
    check_container(host().containers()["ckpt"], path)
