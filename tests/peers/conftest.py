"""Pipelines are built once a worker: each takes a second."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .pipelines import Toy, toy


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Toy]:
    """Return pipelines by the id of their base table, each built when it is first asked for."""
    built: dict[str, Toy] = {}

    def get(name: str) -> Toy:
        if name not in built:
            built[name] = toy(name, tmp_path_factory.mktemp(name))
        return built[name]

    return get
