"""Preview pictures are drawn where somebody looks at a terminal, and bad ones disturb nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from lorry.cli import cli
from lorry.errors import InvalidFile
from lorry_registry import Registry
from lorry_registry.previews import draw

from .helpers import write_lora

# textual-image asks Pillow in a way that a later Pillow will not know.
pytestmark = pytest.mark.filterwarnings("ignore:Image.Image.getdata is deprecated:DeprecationWarning")


def picture(path: Path) -> Path:
    Image.effect_mandelbrot((64, 48), (-3, -2.5, 2, 2.5), 20).convert("RGB").save(path)
    return path


def text(path: Path) -> Path:
    path.write_text("no picture")
    return path


def cut_off(path: Path) -> Path:
    data = picture(path).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def enormous(path: Path) -> Path:
    Image.new("1", (30_000, 30_000)).save(path)
    return path


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    def run(*arguments: str, terminal: bool = True) -> Result:
        monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: terminal)
        result = CliRunner().invoke(cli, ["search", *arguments])
        assert result.exit_code == 0, result.output
        return result

    return run


def publish(registry: Registry, name: str, seed: int, *beside: Path) -> None:
    file = write_lora(registry.home.parent / f"{name}.safetensors", seed=seed)
    registry.publish(f"demo/{name}@1.0.0", [file, *beside])


def test_the_first_picture_of_each_is_drawn(registry: Registry, tmp_path: Path, search: Callable[..., Result]) -> None:
    publish(registry, "cat", 1, picture(tmp_path / "cat.png"), picture(tmp_path / "dog.png"))
    publish(registry, "ink", 2)
    plain, drawn = search().stdout, search("--previews").stdout
    assert drawn.startswith(plain)
    added = drawn.removeprefix(plain).splitlines()
    assert len([line for line in added[:-1] if line.strip()]) >= 4
    assert added[-1] == "demo/cat@1.0.0"


@pytest.mark.parametrize("bad", [text, cut_off, enormous])
def test_a_bad_picture_is_told_and_the_others_are_drawn(
    bad: Callable[[Path], Path], registry: Registry, tmp_path: Path, search: Callable[..., Result]
) -> None:
    publish(registry, "cat", 1, bad(tmp_path / "cat.png"))
    publish(registry, "ink", 2, picture(tmp_path / "ink.jpg"))
    result = search("--previews")
    assert "demo/cat@1.0.0: it " in result.stderr
    assert "\ndemo/ink@1.0.0\n" in result.stdout


def test_a_damaged_picture_is_not_drawn(registry: Registry, tmp_path: Path, search: Callable[..., Result]) -> None:
    publish(registry, "cat", 1, picture(tmp_path / "cat.png"))
    (file,) = (each for each in registry.manifest("demo/cat").files if each.role == "preview")
    blob = registry.store.blobs.path(file.sha256)
    blob.chmod(0o644)
    blob.write_bytes(picture(tmp_path / "other.png").read_bytes() + b"more")
    assert "is damaged" in search("--previews").stderr


def test_nothing_is_drawn_into_a_pipe(registry: Registry, tmp_path: Path, search: Callable[..., Result]) -> None:
    publish(registry, "cat", 1, picture(tmp_path / "cat.png"))
    result = search("--previews", terminal=False)
    assert result.stdout == search(terminal=False).stdout
    assert "in terminals only" in result.stderr


def test_only_kinds_of_pictures_that_are_published_are_opened(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.tiff")
    with pytest.raises(InvalidFile, match="no picture"):
        draw((tmp_path / "a.tiff").read_bytes())
