"""Built-in plugins are registered where a third party registers its own, and each keeps to itself."""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from lorry.plugin import API
from lorry.plugin.host import GROUPS

ROOT = Path(__file__).parents[2]

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

TABLES: dict[str, dict[str, str]] = PROJECT["project"]["entry-points"]

POINTS = [(group, name, module) for group, table in TABLES.items() for name, module in table.items()]


def test_every_table_is_one_the_host_reads() -> None:
    assert set(TABLES) <= {f"lorry.{group}" for group in GROUPS}


def test_the_installed_metadata_is_that_of_the_source() -> None:
    installed = importlib.metadata.distribution("lorry").entry_points
    assert {(each.group, each.name, each.value) for each in installed if each.group.startswith("lorry.")} == set(POINTS)


@pytest.mark.parametrize(("group", "name", "module"), POINTS, ids=str)
def test_every_entry_point_is_a_plugin_that_implements_its_hook(group: str, name: str, module: str) -> None:
    loaded = importlib.import_module(module)
    assert loaded.LORRY_API == API, name
    assert callable(getattr(loaded, group.replace(".", "_"))), name


def test_import_contracts_name_every_plugin() -> None:
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    (independent,) = (each for each in contracts if each["type"] == "independence")
    assert set(independent["modules"]) == {module for _, _, module in POINTS if module.startswith("lorry_plugins.")}


def test_ctrl_c_while_the_command_is_imported_ends_as_it_does_later() -> None:
    code = (
        "import sys\n"
        "from lorry.__main__ import main\n"
        "class Interrupted:\n"
        "    def find_spec(name, *_):\n"
        "        if name == 'click':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted)\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (130, "lorry: interrupted; nothing half-written is left\n")
