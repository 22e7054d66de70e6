"""Bad input costs one clear line and an exit code: no traceback, nothing half-written, nothing lost."""

from __future__ import annotations

import json
import os
import pickle
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from lorry.errors import InvalidArgument
from lorry.testing.tables import base_of
from tests.support.files import KOHYA, kohya, peft, write

from .conftest import Command, Done

BASE = "toybox-sd"
SOUND = kohya(rows=64, width=64, alpha=2.0)


def listing(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_dir() or path.is_file()
    }


class Hostile:
    """Unpickling this runs a command."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch executed",)


def whole(folder: Path) -> bytes:
    path = write(folder / "whole.safetensors", SOUND)
    data = path.read_bytes()
    path.unlink()
    return data


def header(text: str, length: int | None = None) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(data) if length is None else length) + data


def base_weights(folder: Path) -> bytes:
    from lorry.plugin.host import host

    weights = base_of(host().base_models()["sd1"]).tensors
    unet = {key.removeprefix("unet."): ref.torch() for key, ref in weights.items() if key.startswith("unet.")}
    path = write(folder / "unet.safetensors", unet)
    data = path.read_bytes()
    path.unlink()
    return data


BAD: Mapping[str, tuple[Callable[[Path], bytes], int, str]] = {
    "empty": (lambda _: b"", 1, "is empty"),
    "a byte short": (lambda folder: whole(folder)[:-1], 1, "cut off"),
    "cut in its header": (lambda folder: whole(folder)[:40], 1, "cut off"),
    "a byte too long": (lambda folder: whole(folder) + b"\0", 1, "followed by something else"),
    "a header that claims a terabyte": (lambda _: header("{}", 1 << 40), 1, "header"),
    "a header that is no JSON": (lambda _: header("{]"), 1, "not UTF-8 JSON"),
    "a header nested too deeply": (lambda _: header('{"a":' + "[" * 100_000), 1, "nested too deeply"),
    "no tensors": (lambda _: header("{}"), 5, "holds no tensors"),
    "half a character for a name": (
        lambda _: header('{"\\ud800":{"dtype":"F32","shape":[1,2,3],"data_offsets":[0,24]}}') + bytes(24),
        5,
        "1 in all",
    ),
    "names that drive a terminal": (
        lambda _: header('{"\u202e\u009b2Jx":{"dtype":"F32","shape":[0,2,3],"data_offsets":[0,0]}}'),
        1,
        "control characters",
    ),
    "a pickle that runs something": (lambda _: pickle.dumps({"weights": Hostile()}), 1, "posix.system"),
    "a picture": (lambda _: b"\x89PNG\r\n\x1a\n" + bytes(64), 5, "PNG picture"),
    "a web page": (lambda _: b"<!DOCTYPE html><title>Please log in</title>", 5, "web page"),
    "a git-lfs pointer": (lambda _: b"version https://git-lfs.github.com/spec/v1\n", 5, "git lfs pull"),
    "noise": (lambda _: bytes(range(255, 0, -1)), 5, "no container"),
    "a base model's weights": (base_weights, 5, "base model's weights"),
    "another model's tensors": (lambda _: json_file({"conv.weight": [2, 2, 3, 3]}), 5, "no adapter"),
    "a module under two names": (
        lambda folder: file_of(
            folder, {**kohya(), **kohya("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q")}
        ),
        1,
        "under two names",
    ),
    "ranks that differ": (
        lambda folder: file_of(folder, {**kohya(), f"{KOHYA}.lora_up.weight": torch.ones(8, 3)}),
        1,
        "ranks of up and down",
    ),
    "an alpha that is no number": (
        lambda folder: file_of(folder, {**kohya(), f"{KOHYA}.alpha": torch.tensor(torch.nan)}), 1, "alpha is nan",
    ),
    "a hostile header": (
        lambda folder: file_of(folder, peft(), {"lora_adapter_metadata": "[" * 100_000}), 1, "lora_adapter_metadata",
    ),
}  # fmt: skip


def json_file(shapes: Mapping[str, list[int]]) -> bytes:
    table: dict[str, object] = {}
    at = 0
    for key, shape in shapes.items():
        size = 4 * torch.Size(shape).numel()
        table[key] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    return header(json.dumps(table)) + bytes(at)


def file_of(folder: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> bytes:
    path = write(folder / "made.safetensors", tensors, metadata)
    data = path.read_bytes()
    path.unlink()
    return data


COMMANDS: Mapping[str, Callable[[Path, Path], list[str | Path]]] = {
    "identify": lambda bad, _: ["identify", bad],
    "inspect": lambda bad, _: ["inspect", bad],
    "validate": lambda bad, _: ["validate", bad, "--json"],
    "convert": lambda bad, out: ["convert", bad, "--to", "diffusers", "-o", out],
    "merge": lambda bad, out: ["merge", bad, "-o", out],
    "diff": lambda bad, _: ["diff", bad, bad],
    "bake": lambda bad, out: ["bake", BASE, bad, "-o", out],
}


def check(done: Done, code: int, says: str) -> None:
    assert done.code == code, done.err
    assert done.line.startswith("lorry: ")
    assert says in done.line
    assert "Traceback" not in done.out


@pytest.mark.parametrize("how", COMMANDS)
@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_one_line_and_a_code(what: str, how: str, command: Command, tmp_path: Path) -> None:
    make, code, says = BAD[what]
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(make(tmp_path))
    before = listing(tmp_path)
    done = command(*COMMANDS[how](bad, tmp_path / "out"))
    if how == "identify":  # it exits with 5 wherever nothing reads the file, with the reasons in a table
        assert done.code in (code, 5), done.err
        assert done.line.startswith("lorry: ")
    elif how == "validate":  # what is wrong with a file is what it is asked for
        check(done, 8, says)
        assert done.json["verdict"] == "reject"
    else:
        check(done, code, says)
    assert listing(tmp_path) == before
    assert not Path("executed").exists()


@pytest.mark.parametrize("how", COMMANDS)
def test_a_folder_without_an_adapter(how: str, command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    check(command(*COMMANDS[how](tmp_path / "empty", tmp_path / "out")), 8 if how == "validate" else 5, "folder")
    assert listing(tmp_path) == {"empty": None}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders here")
def test_a_pipe_in_a_folder_is_not_waited_for(command: Command, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = command("convert", tmp_path / "pipe", "--to", "diffusers", "-o", tmp_path / "out")
    check(done, 5, "neither a file nor a folder")


@pytest.mark.parametrize("how", COMMANDS)
def test_a_path_that_is_not_there(how: str, command: Command, tmp_path: Path) -> None:
    check(command(*COMMANDS[how](tmp_path / "nowhere.safetensors", tmp_path / "out")), 3, "nowhere.safetensors")
    assert listing(tmp_path) == {}


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return write(tmp_path / "sound.safetensors", SOUND)


WRONG_BASE = {
    "FLUX on SD1": (kohya("lora_unet_double_blocks_0_img_attn_proj"), "is for FLUX.1, not for Stable Diffusion 1"),
    "SD1 of another width": (kohya(rows=320, width=320), "for another base"),
    "a deeper SD1": (kohya(KOHYA.replace("blocks_0_attn", "blocks_7_attn"), rows=64, width=64), "no such module"),
}


@pytest.mark.parametrize(("tensors", "says"), WRONG_BASE.values(), ids=WRONG_BASE.keys())
@pytest.mark.parametrize("how", ["bake", "convert", "inspect", "diff", "validate"])
def test_an_adapter_for_another_base(
    tensors: dict[str, torch.Tensor], says: str, how: str, command: Command, tmp_path: Path
) -> None:
    bad = write(tmp_path / "bad.safetensors", tensors)
    before = listing(tmp_path)
    more = [] if how == "bake" else ["--base", BASE]
    check(command(*COMMANDS[how](bad, tmp_path / "out"), *more), 8 if how == "validate" else 5, says)
    assert listing(tmp_path) == before


WRITERS = ["convert", "merge", "bake"]


@pytest.mark.parametrize("how", WRITERS)
@pytest.mark.parametrize("folder", [True, False])
def test_an_output_that_exists_stays(how: str, folder: bool, command: Command, sound: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if folder:
        out.mkdir()
        (out / "precious").write_text("precious")
    else:
        out.write_text("precious")
    before = listing(tmp_path)
    check(command(*COMMANDS[how](sound, out)), 4, "--force")
    assert listing(tmp_path) == before
    if folder or how == "bake":  # more would be lost than something of the same making
        check(command(*COMMANDS[how](sound, out), "--force"), 4, "choose another output")
        assert listing(tmp_path) == before


@pytest.mark.parametrize("how", WRITERS)
def test_force_replaces_what_was_made_in_the_same_way(how: str, command: Command, sound: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command(*COMMANDS[how](sound, out)).code == 0
    first = listing(tmp_path)
    assert command(*COMMANDS[how](sound, out), "--force").code == 0
    assert listing(tmp_path) == first


@pytest.mark.parametrize("how", WRITERS)
@pytest.mark.parametrize("where", ["nowhere/out", "sound.safetensors/out"])
def test_an_output_in_no_folder(how: str, where: str, command: Command, sound: Path, tmp_path: Path) -> None:
    before = listing(tmp_path)
    check(command(*COMMANDS[how](sound, tmp_path / where)), 3, "is not a folder")
    assert listing(tmp_path) == before


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is a folder nobody can write to")
@pytest.mark.parametrize("how", WRITERS)
def test_an_output_where_nothing_can_be_written(how: str, command: Command, sound: Path) -> None:
    check(command(*COMMANDS[how](sound, Path("/proc/lorry-out"))), 1, "/proc")


@pytest.mark.parametrize("how", WRITERS)
@pytest.mark.parametrize(
    ("error", "code", "says"),
    [(KeyboardInterrupt(), 130, "interrupted"), (OSError(28, "No space left on device"), 1, "No space left on device")],
)
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_what_stops_a_write_leaves_nothing_half_written(
    how: str,
    error: BaseException,
    code: int,
    says: str,
    force: list[str],
    command: Command,
    sound: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if force:
        (tmp_path / "out").write_text("precious")
    before = listing(tmp_path)

    def stop(_: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", stop)
    check(command(*COMMANDS[how](sound, tmp_path / "out"), *force), code, says)
    assert listing(tmp_path) == before


NAMES = {
    "a dialect": (["convert", "SOUND", "--to", "kohia", "-o", "OUT"], 3, "did you mean 'kohya'"),
    "a container": (["convert", "SOUND", "--to", "kohya+safetensor", "-o", "OUT"], 3, "did you mean 'safetensors'"),
    "a base": (["bake", "toybox-sb", "SOUND", "-o", "OUT"], 3, "did you mean 'toybox-sd'"),
    "a merge method": (["merge", "SOUND", "-o", "OUT", "--method", "summ"], 3, "did you mean 'sum'"),
    "a weight": (["merge", "SOUND:nan", "-o", "OUT"], 2, "is no strength"),
    "a strength": (["bake", BASE, "SOUND:inf", "-o", "OUT"], 2, "is no strength"),
}


@pytest.mark.parametrize(("words", "code", "says"), NAMES.values(), ids=NAMES.keys())
def test_a_name_that_is_wrong(
    words: list[str], code: int, says: str, command: Command, sound: Path, tmp_path: Path
) -> None:
    before = listing(tmp_path)
    filled = [word.replace("SOUND", str(sound)).replace("OUT", str(tmp_path / "out")) for word in words]
    check(command(*filled), code, says)
    assert listing(tmp_path) == before


def test_two_adapters_that_do_not_go_together(command: Command, sound: Path, tmp_path: Path) -> None:
    flux = write(tmp_path / "flux.safetensors", kohya("lora_unet_double_blocks_0_img_attn_proj"))
    wide = write(tmp_path / "wide.safetensors", kohya(rows=320, width=320))
    before = listing(tmp_path)
    check(command("merge", sound, flux, "-o", tmp_path / "out"), 5, "different bases")
    check(command("merge", sound, wide, "-o", tmp_path / "out"), 5, "different sizes")
    check(command("diff", sound, flux), 5, "nothing to compare")
    check(command("diff", sound, wide), 5, "nothing to compare")
    assert listing(tmp_path) == before


def test_a_conversion_into_its_own_source_cannot_be_verified_but_is_not_lost(
    command: Command, sound: Path, tmp_path: Path
) -> None:
    before = listing(tmp_path)
    done = command("convert", sound, "--to", "diffusers", "-o", sound, "--force", "--verify")
    assert done.code == 0 or listing(tmp_path) == before


@pytest.mark.parametrize(("name", "taken"), [("cat.png", "image/png"), ("cat.JPG", "image/jpeg")])
def test_a_name_that_belies_what_is_written_is_refused(command: Command, name: str, taken: str, tmp_path: Path) -> None:
    source = write(tmp_path / "a.safetensors", kohya())
    done = command("convert", source, "--to", "diffusers", "-o", tmp_path / name)
    assert done.code == InvalidArgument.exit_code
    assert f"would be taken for {taken}" in done.line
    assert not (tmp_path / name).exists()
