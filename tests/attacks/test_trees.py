"""Folders of strangers: links, pipes, sockets, devices and names, met by lorry add; the good ones still get in."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from lorry_registry import Registry

from .attack import MARKER, Call, adapter, dumps, in_zip
from .contents import lora

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes and links")

GOOD = adapter(lora())


def link_out(folder: Path) -> None:
    (folder.parent / "secret.safetensors").write_bytes(GOOD[:-4] + bytes(4))
    (folder / "a.safetensors").symlink_to("../secret.safetensors")


def linked_folder(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    (folder.parent / "elsewhere" / "a.safetensors").write_bytes(GOOD[:-4] + bytes(4))
    (folder / "sub").symlink_to("../elsewhere")


def listening(folder: Path) -> None:
    at = Path.cwd()
    os.chdir(folder)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("a.safetensors")
    os.chdir(at)


def deep(folder: Path) -> None:
    for _ in range(80):
        folder /= "d" * 20
    folder.mkdir(parents=True)
    (folder / "a.safetensors").write_bytes(b"{")


def named(name: str, data: bytes = GOOD[:-4] + b"abcd") -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data)


TREES: dict[str, tuple[Callable[[Path], object], str | None]] = {
    "a link out of the folder": (link_out, "outside its folder"),
    "a link to a device": (lambda at: (at / "a.safetensors").symlink_to("/dev/zero"), "outside its folder"),
    "a link to itself": (lambda at: (at / "a.safetensors").symlink_to("a.safetensors"), "leads nowhere"),
    "a link to a folder elsewhere": (linked_folder, None),
    "a pipe": (lambda at: os.mkfifo(at / "a.safetensors"), "neither a file nor a folder"),
    "a socket": (listening, "neither a file nor a folder"),
    "a folder named as a file": (lambda at: (at / "a.safetensors").mkdir(), None),
    "an empty file": (named("a.safetensors", b""), "is empty"),
    "a program": (named("a.pt", in_zip(dumps(Call(eval, f"open({MARKER!r}, 'w')")))), "eval"),
    "a program by another name": (named("a.safetensors", in_zip(dumps(Call(eval, "1")))), "eval"),
    "a device of Windows": (named("con.safetensors"), "device"),
    "a name with a line break": (named("a\nb.safetensors"), "control"),
    "a name that turns round": (named("a\u202ecod.safetensors"), "direction"),
    "a name that is no text": (named(os.fsdecode(b"\xff.safetensors")), "undecodable"),
    "a hidden file": (named(".a.safetensors"), None),
    "deep down": (deep, ""),
}
"""How each is made, and what is said of it: "" for whatever, None where it is passed over."""


@pytest.mark.parametrize("tree", TREES)
def test_a_tree_gets_its_answer_and_the_good_one_is_in(
    tree: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make, says = TREES[tree]
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "good.safetensors").write_bytes(GOOD)
    make(folder)
    registry = Registry(home)
    outcomes = list(registry.add([folder]))
    assert [each.reference for each in outcomes if each.reference] == ["foreign/good@1.0.0"]
    refused = [each.why for each in outcomes if not each.reference]
    assert len(refused) == (says is not None)
    assert says is None or says in refused[0]
    assert [str(each.reference) for each in registry.ls()] == ["foreign/good@1.0.0"]
    assert not Path(MARKER).exists()
