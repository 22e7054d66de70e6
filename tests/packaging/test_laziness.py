"""Commands that need no arithmetic start without the heavy libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

HEAVY = {"torch", "numpy", "diffusers", "transformers", "huggingface_hub", "safetensors"}

LATE = {"rich", "pydantic", "blake3", "platformdirs", "sqlite3"}

# The command runs in its own interpreter; afterwards that interpreter tells which modules it holds.
PROBE = """
import json, sys
from lorry.cli import main
sys.argv = ["lorry", *sys.argv[1:]]
try:
    main()
finally:
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""


def loaded_by(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    path = tmp_path / "sample.safetensors"
    stem = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    tensors = {
        f"{stem}.lora_down.weight": torch.ones(2, 640),
        f"{stem}.lora_up.weight": torch.ones(640, 2),
        f"{stem}.alpha": torch.tensor(2.0),
    }
    save_file(tensors, path)
    return path


def test_import_loads_nothing_heavy_and_no_plugin() -> None:
    code = "import json, sys, lorry; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    names = json.loads(done.stdout)
    assert not (HEAVY | LATE) & set(names)
    assert not [name for name in names if name.startswith(("lorry_plugins", "lorry_registry"))]


@pytest.mark.parametrize(
    "command", [["--help"], ["--version"], ["plugins", "--help"], ["run-recipe", "--help"]], ids=" ".join
)
def test_help_loads_neither_heavy_nor_late_modules(command: list[str]) -> None:
    assert not (HEAVY | LATE) & loaded_by(*command)


@pytest.mark.parametrize("command", ["inspect", "identify", "validate"])
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["for people", "as JSON"])
def test_reading_a_file_loads_nothing_heavy(command: str, options: tuple[str, ...], adapter: Path) -> None:
    assert not HEAVY & loaded_by(command, *options, str(adapter))


def test_conversion_by_renaming_loads_nothing_heavy(adapter: Path, tmp_path: Path) -> None:
    output = tmp_path / "renamed.safetensors"
    assert not HEAVY & loaded_by("convert", str(adapter), "--to", "diffusers", "-o", str(output))
    assert output.exists()


def test_the_registry_loads_nothing_heavy(adapter: Path, tmp_path: Path) -> None:
    assert not HEAVY & loaded_by("ls")
    assert not HEAVY & loaded_by("publish", "demo/sample@1.0.0", str(adapter))
    assert not HEAVY & loaded_by("ls")
    assert not HEAVY & loaded_by("pull", "demo/sample@1.0.0", "--to", str(tmp_path / "pulled"))
    assert (tmp_path / "pulled").exists()


def test_adding_files_and_linking_them_loads_nothing_heavy_and_no_client(adapter: Path, tmp_path: Path) -> None:
    assert not (HEAVY | {"httpcore2"}) & loaded_by("add", str(adapter))
    (tmp_path / "tool").mkdir()
    assert not HEAVY & loaded_by("link", "foreign/sample", "--comfyui", str(tmp_path / "tool"))
