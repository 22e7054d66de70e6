"""The sdist, and the wheel that is built from it, hold everything and run."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SOURCE_ROOTS = ("core", "registry", "plugins")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build an sdist, and a wheel from that sdist, without a network."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)])
    return folder


def run(arguments: list[str], **environment: str) -> str:
    done = subprocess.run(
        arguments, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def source_files() -> dict[str, Path]:
    """Every file below the source roots by its name in the wheel."""
    return {
        path.relative_to(ROOT / root).as_posix(): path
        for root in SOURCE_ROOTS
        for path in (ROOT / root).rglob("*")
        if path.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in path.parts)
    }


def test_wheel_through_sdist_holds_every_source_and_data_file(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.getinfo(name).file_size for name in archive.namelist()}
    wanted = {name: path.stat().st_size for name, path in source_files().items()}
    assert {name: size for name, size in held.items() if ".dist-info/" not in name} == wanted


def test_wheel_carries_the_licences(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        licences = {Path(name).name for name in archive.namelist() if ".dist-info/licenses/" in name}
    emoji = (ROOT / "plugins/lorry_plugins/backends/toybox/licenses").iterdir()
    assert licences == {"LICENSE", *(path.name for path in emoji)}


def test_sdist_can_be_tested_and_documented(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "Makefile",
        "constraints.txt",
        "mkdocs.yml",
        "docs/generate.py",
        "tests/conftest.py",
        "examples/lorry-hello/pyproject.toml",
        "benchmarks/startup.py",
        "README.md",
        "LICENSE",
    } <= held


def test_installed_wheel_is_a_working_command(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    run([*pip, "--target", str(tmp_path), str(wheel)])
    where = run([sys.executable, "-c", "import lorry; print(lorry.__file__)"], PYTHONPATH=str(tmp_path))
    assert Path(where.strip()).is_relative_to(tmp_path)
    assert "convert" in run([sys.executable, "-m", "lorry", "--help"], PYTHONPATH=str(tmp_path))
    assert "kohya" in run([sys.executable, "-m", "lorry", "plugins"], PYTHONPATH=str(tmp_path))
    assert run([str(tmp_path / "bin" / "lorry"), "--version"], PYTHONPATH=str(tmp_path)).startswith("lorry ")
