"""Folders that lead outside, never end, or hold more than they say."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from .attack import Attack, Make, adapter, file_of, header_of, one, refused, sound, unknown
from .contents import lora, peft_folder

WEIGHTS = "adapter_model.safetensors"
SHARDS = "model-{:05}-of-{:05}.safetensors"
INDEX = "model.safetensors.index.json"


def folder(fill: Callable[[Path], object]) -> Make:
    """Return what makes a folder and fills it; `secret` lies beside it."""

    def make(at: Path) -> Path:
        (at / "secret").write_bytes(adapter(lora()))
        (at / "a").mkdir()
        fill(at / "a")
        return at / "a"

    return make


def index(weights: Mapping[str, str], *shards: str, text: str | None = None) -> Make:
    """Return what makes a sharded folder: an index, and shards of one LoRA each."""

    def fill(at: Path) -> None:
        (at / INDEX).write_text(json.dumps({"weight_map": weights}) if text is None else text)
        for name in shards:
            (at / name).write_bytes(adapter(lora()))

    return folder(fill)


def linked(name: str, target: str) -> Make:
    def fill(at: Path) -> None:
        if name != WEIGHTS:
            (at / WEIGHTS).write_bytes(adapter(lora()))
        (at / name).symlink_to(target)

    return folder(fill)


def pipe(at: Path) -> None:
    os.mkfifo(at / WEIGHTS)


def pipe_beside(at: Path) -> None:
    (at / WEIGHTS).write_bytes(adapter(lora()))
    os.mkfifo(at / "README.md")


def alone(at: Path) -> Path:
    os.mkfifo(at / "a.safetensors")
    return at / "a.safetensors"


def device(at: Path) -> Path:
    (at / "a.safetensors").symlink_to("/dev/zero")
    return at / "a.safetensors"


def many(at: Path) -> None:
    for each in range(10_001):
        (at / f"{each}.bin").touch()


KEYS = list(lora())
ONE = dict.fromkeys(KEYS, "model-1.safetensors")

FOLDERS: Mapping[str, Attack] = {
    "a peft folder": Attack(peft_folder("2"), "", "accept", None),
    "a sharded folder": sound(index(ONE, "model-1.safetensors")),
    "a pipe beside the weights": sound(folder(pipe_beside)),
    **refused({
        "weights that are a link outside": (linked(WEIGHTS, "../secret"), "outside its folder"),
        "weights that are a link to a system file": (linked(WEIGHTS, "/etc/hostname"), "outside its folder"),
        "a configuration that is a link outside": (linked("adapter_config.json", "../secret"), "outside its folder"),
        "a card that is a link outside": (linked("README.md", "/etc/hostname"), "outside its folder"),
        "an index that is a link outside": (linked(INDEX, "../secret"), "outside its folder"),
        "a shard upwards": (index({"a": "../secret"}), "no file beside it"),
        "a shard of the whole machine": (index({"a": "/etc/passwd.safetensors"}), "no file beside it"),
        "a shard of Windows": (index({"a": "..\\secret.safetensors"}), "no file beside it"),
        "a shard that is a number": (index({}, text='{"weight_map": {"a": 1}}'), "no file beside it"),
        "a shard that is missing": (index(ONE), "lacks the shard"),
        "a key that is missing": (index({**ONE, "b": "model-1.safetensors"}, "model-1.safetensors"), "lacks the ten"),
        "a key that is unannounced": (
            index({KEYS[0]: "model-1.safetensors"}, "model-1.safetensors"), "holds unannounced"),
        "a key in two shards": (
            index({}, "m-1.safetensors", "m-2.safetensors",
                  text=json.dumps({"weight_map": {KEYS[0]: 1}}).replace("1}}", '"m-1.safetensors", ')
                  + f'"{KEYS[0]}": "m-2.safetensors"}}}}'),
            "a key is there twice"),
        "a hundred thousand shards": (
            folder(lambda at: (at / INDEX).write_text(json.dumps(
                {"weight_map": {str(each): SHARDS.format(each, 100_000) for each in range(100_000)}}))),
            "lacks the shard"),
        "an index of lists": (index({}, text="[" * 1_000_000), "nested beyond"),
        "an index that is no table": (index({}, text="[]"), "is not an index"),
        "an index of nine megabytes": (index({}, text='{"weight_map": {' + " " * (9 << 20) + "}}"), "more than any"),
        "two adapters": (
            folder(lambda at: [(at / f"{each}.safetensors").write_bytes(adapter(lora())) for each in "ab"]),
            "several weights files"),
        "ten thousand files": (folder(many), "more than 10,000 files"),
        "a header that lies": (
            folder(lambda at: (at / WEIGHTS).write_bytes(file_of(header_of(("a", one())), bytes(5)))),
            "followed by something else"),
        "a configuration of two megabytes": (
            folder(lambda at: [(at / WEIGHTS).write_bytes(adapter(lora())),
                               (at / "adapter_config.json").write_text(" " * (2 << 20))]),
            "no config of an adapter does"),
    }),
    "a pipe for weights": unknown(folder(pipe), "holds no adapter"),
    "a pipe": unknown(alone, "neither a file nor a folder"),
    "a device": unknown(device, "neither a file nor a folder"),
    "a link to itself": unknown(folder(lambda at: (at / WEIGHTS).symlink_to(WEIGHTS)), "holds no adapter"),
    "an empty folder": unknown(folder(lambda _: None), "holds no adapter"),
}  # fmt: skip
