"""Nothing is undocumented, and nothing that is documented is missing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from lorry.cli import cli
from lorry.plugin import hookspecs
from lorry.plugin.host import Host

ROOT = Path(__file__).parents[2]

REFERENCE = ROOT / "docs" / "reference"

TEXTS = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md")), ROOT / "examples/lorry-hello/README.md"]


def read(page: str) -> str:
    return (REFERENCE / page).read_text(encoding="utf-8")


def test_generated_pages_are_those_of_the_code() -> None:
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout


def test_every_command_is_in_the_reference() -> None:
    page = read("cli.md")
    names = cli.list_commands(click.Context(cli))
    assert names
    assert not [name for name in names if f"## lorry {name}\n" not in page]


def test_one_table_has_every_command_once() -> None:
    table = read("commands.md").partition("## Looking")[0]
    cells = [line.split("|")[2] for line in table.splitlines() if line.startswith("|")]
    told = [name for cell in cells for name in re.findall(r"`([\w-]+)`", cell)]
    assert sorted(told) == sorted(cli.list_commands(click.Context(cli)))


def test_every_hook_is_in_the_reference() -> None:
    hooks = [name for name in vars(hookspecs) if name.startswith("lorry_")]
    page = read("hooks.md")
    assert hooks
    assert not [hook for hook in hooks if f"`{hook}`" not in page]


def test_every_format_kind_and_base_is_in_the_reference() -> None:
    host, page = Host(), read("formats.md")
    names = [*host.containers(), *host.dialects(), *host.kinds(), *host.base_models()]
    assert not [name for name in names if f"`{name}`" not in page]


def test_every_setting_is_in_the_reference_and_the_other_way_round() -> None:
    sources = [path for room in ("core", "registry", "plugins") for path in (ROOT / room).rglob("*.py")]
    used = {
        name
        for path in sources
        for name in re.findall(r'(?:environ(?:\.get\(|\[)|getenv\()"(\w+)"', path.read_text(encoding="utf-8"))
    }
    told = set(re.findall(r"^\| `(LORRY_\w+)` \|", read("settings.md"), re.MULTILINE))
    assert {name for name in used if name.startswith("LORRY_")} == told
    assert not [name for name in used if f"`{name}`" not in read("settings.md")]


@pytest.mark.parametrize("house", ["core/lorry/ops", "registry/lorry_registry"])
def test_every_room_is_in_the_architecture(house: str) -> None:
    text = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition(f"room of `{house}`")[2].partition("\n\n")[0]
    rooms = [path.parent.name for path in (ROOT / house).glob("*/__init__.py")]
    assert sorted(re.findall(r"`(\w+)`", table)) == sorted(rooms)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if not link.startswith(("http:", "https:")):
            assert (path.parent / link).exists(), link


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_paths_named_in_the_text_exist(path: Path) -> None:
    named = re.findall(
        r"`((?:core|registry|plugins|examples|benchmarks|tests|docs)/[\w./-]+)`", path.read_text(encoding="utf-8")
    )
    assert not [each for each in named if not (ROOT / each).exists()]


def test_the_site_builds_strictly_and_fetches_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="https?://[^"]*\.(?:js|css|woff2?)', page)
