"""Every row of the table in docs/reference/exit-codes.md, brought about on the real command line."""

from __future__ import annotations

import os
import pickle
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import torch
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from safetensors.torch import save_file

from lorry import errors
from lorry_plugins.backends import toybox

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "exit-codes.md"

STEM = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"

TOYBOX_SD_UNET = Path(toybox.__file__).parent / "sd" / "unet" / "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class Call:
    """A command line, with what is different about its environment."""

    arguments: tuple[str | Path, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def call(*arguments: str | Path, **environment: str) -> Call:
    return Call(arguments, environment)


def lora(path: Path, width: int = 64, more: Mapping[str, torch.Tensor] | None = None) -> Path:
    """Write a kohya LoRA of one layer."""
    tensors = {f"{STEM}.lora_down.weight": torch.ones(2, width), f"{STEM}.lora_up.weight": torch.ones(width, 2)}
    save_file({**tensors, **(more or {})}, path)
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def run(case: Call, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lorry", *map(str, case.arguments)],
        env={**os.environ, **case.environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def published(folder: Path) -> Path:
    """Publish demo/cat@1.0.0 and return its file."""
    cat = lora(folder / "cat.safetensors")
    assert run(call("publish", "demo/cat@1.0.0", cat), folder).returncode == 0
    return cat


class Hostile:
    """A pickle of this runs a command when it is loaded by the pickle module."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch executed",)


def truncated(folder: Path) -> Call:
    whole = lora(folder / "whole.safetensors").read_bytes()
    return call("inspect", written(folder / "cut.safetensors", whole[:-1]))


def lying_header(folder: Path) -> Call:
    return call("inspect", written(folder / "lie.safetensors", struct.pack("<Q", 1 << 40) + b"{}"))


def broken_plugin(folder: Path) -> Call:
    installed = folder / "installed"
    (installed / "broken-1.dist-info").mkdir(parents=True)
    (installed / "broken-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (installed / "broken-1.dist-info" / "entry_points.txt").write_text("[lorry.kinds]\nbroken = not_there\n")
    return call("inspect", lora(folder / "a.safetensors"), PYTHONPATH=str(installed))


def other_base(folder: Path) -> Call:
    stem = "transformer.transformer_blocks.0.attn.to_q"
    tensors = {f"{stem}.lora_A.weight": torch.ones(2, 160), f"{stem}.lora_B.weight": torch.ones(160, 2)}
    save_file(tensors, folder / "flux.safetensors")
    return call("bake", "toybox-sd", folder / "flux.safetensors", "-o", folder / "baked")


def two_bases(folder: Path) -> Call:
    flux = other_base(folder).arguments[2]
    return call("merge", lora(folder / "sd.safetensors"), flux, "-o", folder / "merged.safetensors")


def half_understood(folder: Path) -> Call:
    path = lora(folder / "half.safetensors", more={f"{STEM}.secret_sauce": torch.ones(1)})
    return call("convert", path, "--to", "diffusers", "-o", folder / "out.safetensors")


def not_a_number(folder: Path) -> Call:
    nan = {f"{STEM}.lora_up.weight": torch.full((64, 2), torch.nan)}
    return call("validate", lora(folder / "nan.safetensors", more=nan))


def without_torch(folder: Path) -> Call:
    hide = (
        "import importlib.util as util\nfound = util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name == 'torch' else found(name, package)\n"
    )
    (folder / "sitecustomize.py").write_text(hide)
    one = lora(folder / "one.safetensors")
    return call("bake", "toybox-sd", one, "-o", folder / "baked", PYTHONPATH=str(folder), PYTHONDONTWRITEBYTECODE="1")


def published_twice(folder: Path) -> Call:
    published(folder)
    return call("publish", "demo/cat@1.0.0", lora(folder / "dog.safetensors", more={"extra": torch.ones(1)}))


def version_missing(folder: Path) -> Call:
    published(folder)
    return call("pull", "demo/cat@9.9.9", "--to", folder / "pulled")


def alias_missing(folder: Path) -> Call:
    published(folder)
    return call("pull", "demo/cat@champion", "--to", folder / "pulled")


def without_recipe(folder: Path) -> Call:
    published(folder)
    return call("verify", "demo/cat@1.0.0", "--replay")


def rsa_key(password: bytes | None = None) -> bytes:
    protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return rsa.generate_private_key(65537, 2048).private_bytes(pem, pkcs8, protection)


def signed_with(folder: Path, data: bytes) -> Call:
    published(folder)
    return call("sign", "demo/cat@1.0.0", "--key", written(folder / "key.pem", data))


def damaged_blob(folder: Path) -> Call:
    data = published(folder).read_bytes()
    (blob,) = (
        path for path in Path(os.environ["LORRY_HOME"]).rglob("*") if path.is_file() and path.read_bytes() == data
    )
    blob.chmod(0o644)
    blob.write_bytes(data[:-1] + b"\xff")
    return call("verify", "demo/cat@1.0.0")


def output_exists(folder: Path) -> Call:
    existing = written(folder / "precious.safetensors", b"precious")
    return call("convert", lora(folder / "a.safetensors"), "--to", "diffusers", "-o", existing)


SITUATIONS: Mapping[str, Callable[[Path], Call]] = {
    "an empty file": lambda folder: call("inspect", written(folder / "empty.safetensors", b"")),
    "a truncated file": truncated,
    "a header that lies about its size": lying_header,
    "a pickle that would execute something": lambda folder: call(
        "inspect", written(folder / "hostile.pt", pickle.dumps({"weights": Hostile()}))
    ),
    "an installed plugin that cannot be loaded, in a command that needs its group": broken_plugin,
    "a name that is too long for the disk": lambda folder: call(
        "convert", lora(folder / "a.safetensors"), "--to", "diffusers", "-o", "x" * 300
    ),
    "an option that does not exist": lambda _: call("inspect", "--colour"),
    "a missing argument": lambda _: call("inspect"),
    "a command that does not exist": lambda _: call("inspekt"),
    "a strength that is no number": lambda folder: call(
        "merge", f"{lora(folder / 'a.safetensors')}:strong", "-o", folder / "merged.safetensors"
    ),
    "a number outside its range": lambda folder: call("diff", folder / "a", folder / "b", "--top", "-3"),
    "an output whose suffix means another format": lambda folder: call(
        "convert", lora(folder / "a.safetensors"), "--to", "diffusers", "-o", folder / "out.json"
    ),
    "`LORRY_HOME` that is a file": lambda folder: call("ls", LORRY_HOME=str(written(folder / "home", b""))),
    "a plugin name in `LORRY_PLUGINS` that is not installed": lambda _: call("plugins", LORRY_PLUGINS="kohia"),
    "a path that is not there": lambda folder: call("inspect", folder / "nowhere.safetensors"),
    "a format name that is not installed": lambda folder: call(
        "convert", lora(folder / "a.safetensors"), "--to", "kohia", "-o", folder / "out.safetensors"
    ),
    "a base name that nobody knows": lambda folder: call(
        "bake", "toybox-sb", lora(folder / "a.safetensors"), "-o", folder / "baked"
    ),
    "an output in a folder that is not there": lambda folder: call(
        "convert", lora(folder / "a.safetensors"), "--to", "diffusers", "-o", folder / "nowhere" / "out.safetensors"
    ),
    "a reference that names nothing": lambda folder: call("pull", "nobody/nothing@1.0.0", "--to", folder / "pulled"),
    "a version that is not there": version_missing,
    "an alias that is not there": alias_missing,
    "a version without a recipe, under `verify --replay`": without_recipe,
    "an output that exists, without `--force`": output_exists,
    "publishing other files under a version that exists": published_twice,
    "a folder that holds no adapter": lambda folder: call("inspect", folder),
    "a picture": lambda folder: call(
        "inspect", written(folder / "picture.safetensors", b"\x89PNG\r\n\x1a\n" + bytes(64))
    ),
    "a pipe, a socket or a device in place of a file": lambda _: call("inspect", os.devnull),
    "a web page saved in place of a file": lambda folder: call(
        "inspect", written(folder / "page.safetensors", b"<!DOCTYPE html><title>Please log in</title>")
    ),
    "a base model's weights in place of an adapter": lambda _: call(
        "merge", TOYBOX_SD_UNET, "-o", "merged.safetensors"
    ),
    "an adapter in place of a base model": lambda folder: call(
        "bake", lora(folder / "a.safetensors"), folder / "a.safetensors", "-o", folder / "baked"
    ),
    "an adapter for another base": other_base,
    "an adapter for the same base in another size": lambda folder: call(
        "bake", "toybox-sd", lora(folder / "wide.safetensors", width=640), "-o", folder / "baked"
    ),
    "adapters of different bases in one merge": two_bases,
    "keys that nobody understands, where all are needed": half_understood,
    "a target format that cannot hold a layer": lambda folder: call(
        "convert", lora(folder / "a.safetensors"), "--to", "kohya-embedding", "-o", folder / "out.safetensors"
    ),
    "arithmetic without `lorry[torch]`": without_torch,
    "a key of another kind than signs": partial(signed_with, data=rsa_key()),
    "a file that is no key": partial(signed_with, data=b"no key"),
    "an encrypted key, without its password": partial(signed_with, data=rsa_key(b"open")),
    "a number that is not finite, under `validate`": not_a_number,
    "a pickle that would execute something, under `validate`": lambda folder: call(
        "validate", "--json", written(folder / "hostile.pt", pickle.dumps({"weights": Hostile()}))
    ),
    "a number that is not finite, under `publish`": lambda folder: call(
        "publish", "demo/nan@1.0.0", not_a_number(folder).arguments[1]
    ),
    "a truncated file, under `publish`": lambda folder: call(
        "publish", "demo/cut@1.0.0", truncated(folder).arguments[1]
    ),
    "a truncated file, under `add`": lambda folder: call("add", truncated(folder).arguments[1]),
    "a web page saved in place of a file, under `add`": lambda folder: call(
        "add", written(folder / "page.safetensors", b"<!DOCTYPE html><title>Please log in</title>")
    ),
    "a published file that was damaged on disk": damaged_blob,
}

SIGNALS = ("Ctrl-C", "a closed pipe")


def table(heading: str) -> Iterator[list[str]]:
    """Yield the rows of the first table under a heading, without its own heading and rule."""
    lines = PAGE.read_text(encoding="utf-8").partition(f"{heading}\n")[2].splitlines()
    rows = [line for line in lines if line.startswith("|")]
    for row in rows[2:]:
        yield [cell.strip() for cell in row.strip("|").split("|")]


ROWS = [(what, int(code), says) for what, code, says in table("## What leads to which")]


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_row_is_walked_and_every_situation_has_a_row() -> None:
    assert [what for what, _, _ in ROWS] == [*SITUATIONS, *SIGNALS]


def test_every_error_class_has_its_code() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("## What leads")[0]
    told = {
        name.strip("` "): int(row.split("|")[1])
        for row in text.splitlines()
        if row.startswith("| ") and "`" in row
        for name in row.split("|")[2].split(",")
        if name.strip()
    }
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.LorryError)]
    assert told == {each.__name__: each.exit_code for each in classes}


@pytest.mark.parametrize(
    ("what", "code", "says"), ROWS[: -len(SIGNALS)], ids=[what for what, _, _ in ROWS[: -len(SIGNALS)]]
)
def test_failure(what: str, code: int, says: str, tmp_path: Path) -> None:
    case = SITUATIONS[what](tmp_path)
    before = files(tmp_path)
    done = run(case, tmp_path)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert files(tmp_path) == before, "something was left behind"
    if "Usage:" not in done.stderr:
        (line,) = done.stderr.splitlines()
        assert line.startswith("lorry: ")


def test_an_interrupt_ends_with_130_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    code, says = next((code, says) for what, code, says in ROWS if what == "Ctrl-C")
    command = [
        sys.executable,
        "-m",
        "lorry",
        "generate",
        "toybox-sd",
        "-p",
        "a cat",
        "--count",
        "10000",
        "-o",
        "cat.png",
    ]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "cat-0.png" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert (process.returncode, says in told) == (code, True), told
    assert all(path.suffix == ".png" and not path.name.startswith(".") for path in tmp_path.iterdir())


def test_a_closed_pipe_ends_quietly_with_141(tmp_path: Path) -> None:
    code = next(code for what, code, _ in ROWS if what == "a closed pipe")
    command = [sys.executable, "-m", "lorry", "inspect", "--json", str(lora(tmp_path / "a.safetensors"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        told = process.stderr.read()
    assert (process.returncode, told) == (code, "")
