"""What people type: names, numbers and suffixes that mean something, and one clear line for those that do not."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from lorry_plugins.backends.toybox import FOLDER
from tests.support.files import kohya, write

from .conftest import Command

SOUND = kohya(rows=64, width=64, alpha=2.0)
DRAW = ("generate", "toybox-sd", "-p", "a cat", "--steps", "1", "-o")


@pytest.fixture
def sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "sound.safetensors", SOUND)
    return "sound.safetensors"


@pytest.mark.parametrize(("suffix", "written"), [(".png", "PNG"), (".GIF", "GIF"), (".jpg", "JPEG"), (".webp", "WEBP")])
def test_the_suffix_is_the_format_of_a_picture(suffix: str, written: str, command: Command, tmp_path: Path) -> None:
    done = command(*DRAW, tmp_path / f"cat{suffix}")
    assert done.code == 0, done.err
    with Image.open(tmp_path / f"cat{suffix}") as picture:
        assert picture.format == written


@pytest.mark.parametrize("name", ["cat", "cat.", "cat.gfi", "cat.xbm", "cat.safetensors"])
def test_a_picture_needs_a_suffix_that_pillow_writes(name: str, command: Command, tmp_path: Path) -> None:
    done = command(*DRAW, tmp_path / name)
    assert (done.code, "end it with .png" in done.line) == (2, True), done.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("target", "name", "better"),
    [
        ("kohya+safetensors", "x.ckpt", "x.safetensors"),
        ("kohya+safetensors", "x.PT", "x.safetensors"),
        ("diffusers", "x.json", "x.safetensors"),
        ("peft", "x.ckpt", "name it x"),
        ("peft", "x.safetensors", "name it x"),
    ],
)
def test_a_suffix_never_promises_another_container(
    target: str, name: str, better: str, command: Command, sound: str
) -> None:
    done = command("convert", sound, "--to", target, "-o", name)
    assert (done.code, better in done.line) == (2, True), done.err
    assert [path.name for path in Path().iterdir()] == [sound]


def test_endless_text_is_cut_wherever_an_error_is_printed(command: Command) -> None:
    for words in (
        ["inspect", "x/" * 40_000],
        [f"inspe{'c' * 80_000}t"],
        ["diff", "a", "b", "--top", "1" * 80_000 + "x"],
    ):
        done = command(*words)
        assert done.code != 0
        assert 100 < len(done.err) < 5000
        assert "…" in done.err


STRENGTHS = {
    "a word": "sound.safetensors:x",
    "nothing": "sound.safetensors:",
    "not a number": "sound.safetensors:nan",
    "no end": "sound.safetensors:-inf",
}


@pytest.mark.parametrize("typed", STRENGTHS.values(), ids=STRENGTHS.keys())
def test_what_follows_the_name_of_a_file_is_a_finite_strength(typed: str, command: Command, sound: str) -> None:
    done = command("merge", typed, "-o", "out.safetensors")
    assert (done.code, "is no strength" in done.line) == (2, True), done.err
    assert [path.name for path in Path().iterdir()] == [sound]


@pytest.mark.skipif(os.name == "nt", reason="a colon cannot stand in a name here")
@pytest.mark.parametrize("name", ["sound.safetensors:x", "sound.safetensors:0.5"])
def test_a_file_may_have_a_colon_in_its_name(name: str, command: Command, sound: str) -> None:
    Path(sound).rename(name)
    write(Path(sound), kohya("lora_unet_double_blocks_0_img_attn_proj"))  # of another base, which would be told
    for typed, folder in ((name, "whole"), (f"{name}:0.5", "half")):
        done = command("bake", "toybox-sd", typed, "-o", folder)
        assert done.code == 0, done.err


def test_a_number_that_makes_no_sense_is_a_usage_error(command: Command, sound: str) -> None:
    assert command("diff", sound, sound, "--top", "-3").code == 2
    for option in ("--width", "--steps", "--count"):
        assert command(*DRAW, "cat.png", option, "-1").code == 2
    for guidance in ("nan", "inf"):
        assert command(*DRAW, "cat.png", "--guidance", guidance).code == 2
    assert command(*DRAW, "cat.png", "--seed", str(1 << 70)).code == 2


@pytest.mark.parametrize(
    "words", [["ls"], ["inspect", "demo/cat"], ["base", "ls"], ["publish", "demo/cat@1.0.0", "SOUND"]]
)
def test_a_home_that_is_a_file_is_told(
    words: list[str], command: Command, sound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("home").write_text("not a folder")
    monkeypatch.setenv("LORRY_HOME", str(Path("home").absolute()))
    done = command(*(word.replace("SOUND", sound) for word in words))
    assert (done.code, "LORRY_HOME" in done.line, "is a file" in done.line) == (2, True, True), done.err


@pytest.mark.parametrize(
    "words",
    [
        ["bake", "SOUND", "SOUND", "-o", "out"],
        ["generate", "SOUND", "-p", "a cat", "-o", "out.png"],
        ["validate", "SOUND", "--base", "SOUND"],
        ["base", "add", "mine", "SOUND"],
    ],
)
def test_an_adapter_in_the_place_of_a_base(words: list[str], command: Command, sound: str) -> None:
    done = command(*(word.replace("SOUND", sound) for word in words))
    assert (done.code, f"{sound} is an adapter (kohya for Stable Diffusion 1" in done.line) == (5, True), done.err
    assert "stands for one" in done.line


@pytest.mark.parametrize("given", [FOLDER / "sd", FOLDER / "sd" / "unet", "toybox-sd"])
def test_a_base_in_the_place_of_an_adapter(given: str | Path, command: Command, tmp_path: Path) -> None:
    done = command("merge", given, "-o", tmp_path / "out.safetensors")
    assert (done.code, "is a base model" in done.line) == (5, True), done.err


@pytest.mark.parametrize("how", ["identify", "inspect"])
@pytest.mark.parametrize(
    "given", [FOLDER / "sd" / "text_encoder", FOLDER / "sd" / "text_encoder" / "model.safetensors"]
)
def test_a_text_encoder_is_nobodys_alone(how: str, given: Path, command: Command) -> None:
    done = command(how, given)
    assert done.code == 5
    assert "text encoder of" in done.line
    assert "Stable Diffusion 1" in done.line
    assert "FLUX.1" in done.line


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[dict[str, Path]]:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(tmp_path)  # the address of a socket is short
        listening.bind("socket")
        os.chdir(here)
        yield {"pipe": tmp_path / "pipe", "socket": tmp_path / "socket", "device": Path(os.devnull)}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders here")
@pytest.mark.parametrize("how", ["identify", "inspect"])
@pytest.mark.parametrize("what", ["pipe", "socket", "device"])
def test_what_is_no_file_is_told_and_not_waited_for(
    how: str, what: str, command: Command, odd: dict[str, Path]
) -> None:
    done = command(how, odd[what])
    assert (done.code, "neither a file nor a folder" in done.line) == (5, True), done.err
    done = command("bake", odd[what], odd[what], "-o", odd["pipe"].with_name("out"))
    assert (done.code, "neither a file nor a folder" in done.line) == (5, True), done.err


def test_json_that_is_no_adapter(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_text('{"a": 1}')
    done = command("inspect", path)
    assert (done.code, "is JSON, but no adapter" in done.line) == (5, True), done.err


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    folder = tmp_path / "locked"
    folder.mkdir(0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("root may write anywhere")
    return folder


def test_a_folder_that_may_not_be_written_in_is_named_at_once(command: Command, sound: str, locked: Path) -> None:
    made = locked / "out.safetensors"
    for arguments in (
        ("convert", sound, "--to", "diffusers", "-o", made),
        ("convert", sound, "--to", "diffusers", "--out-dir", locked),
        ("merge", sound, sound, "--method", "sum", "-o", made),
        ("resize", sound, "--rank", "2", "-o", made),
        ("generate", "toybox-sd", sound, "-p", "a cat", "-o", made.with_suffix(".png")),
    ):
        done = command(*arguments)
        assert done.code == 1, arguments
        assert f"{locked} may not be written in" in done.err
        assert ".part" not in done.err


@pytest.mark.parametrize("asked", ["inspect", "validate"])
def test_a_file_that_may_not_be_read_is_said_to_be_so(command: Command, sound: str, asked: str) -> None:
    Path(sound).chmod(0)
    if os.access(sound, os.R_OK):
        pytest.skip("root may read anything")
    done = command(asked, sound)
    assert done.code == 1
    assert f"{sound} cannot be read: Permission denied" in done.line


def test_a_link_out_of_a_locked_folder_is_written_through(command: Command, sound: str, locked: Path) -> None:
    outside = locked.with_name("outside.safetensors")
    locked.chmod(0o700)
    (locked / "out.safetensors").symlink_to(outside)
    locked.chmod(0o500)
    done = command("convert", sound, "--to", "diffusers", "--force", "-o", locked / "out.safetensors")
    assert done.code == 0, done.err
    assert outside.is_file()


def test_a_format_that_cannot_hold_a_layer_says_which_can(command: Command, sound: str) -> None:
    done = command("convert", sound, "--to", "kohya-embedding", "-o", "out.safetensors")
    assert done.code == 5
    assert "--lossy" in done.line
    assert "diffusers" in done.line
    assert command("convert", sound, "--to", "diffusers", "-o", "out.safetensors").code == 0
