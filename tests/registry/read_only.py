"""What may be done with a registry on a disk that is mounted read-only, as one JSON object.

python -m tests.registry.read_only FOLDER    FOLDER has home, mounted read-only, and cat.safetensors
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from lorry.cli import cli
from lorry_registry import Registry
from tests.registry.hub.calls import Client
from tests.support.hub_server import ALICE, hub_server

READING = (
    ("ls",), ("search", "cat"), ("show", "demo/cat"), ("versions", "demo/cat"), ("inspect", "demo/cat"),
    ("validate", "demo/cat"), ("verify", "demo/cat"), ("fsck",), ("pull", "demo/cat", "--to", "out"),
    ("push", "demo/cat", "file://{}/remote"), ("export", "demo/cat", "-o", "cat.tar"), ("lock", "demo/cat"),
    ("link", "demo/cat", "--comfyui", "comfy"), ("lineage", "demo/cat"), ("doctor",),
)  # fmt: skip
WRITING = (
    ("publish", "demo/dog@1.0.0", "cat.safetensors"), ("yank", "demo/cat@1.0.0"), ("gc",), ("fsck", "--repair"),
    ("alias", "set", "demo/cat@stable", "1.0.0"), ("add", "cat.safetensors", "demo/dog@1.0.0"),
    ("clone", "file://{}/remote#demo/cat"),
)  # fmt: skip


def tried(folder: Path, command: tuple[str, ...]) -> list[object]:
    result = CliRunner().invoke(cli, [each.format(folder) for each in command])
    return [result.exit_code, f"{result.output}{result.exception or ''}"]


def served(home: Path) -> dict[str, Any]:
    with hub_server(home) as hub:
        call = Client(hub.url)
        files = [each["rfilename"] for each in call("GET", "/api/models/demo/cat").json["siblings"]]
        return {
            "files": {each: len(call("GET", f"/demo/cat/resolve/main/{each}").body) for each in files},
            "notes": call("GET", "/demo/cat/resolve/main/notes.json").json,
            "history": len(call("GET", "/api/models/demo/cat/commits/main").json),
            "written": call("POST", "/api/repos/create", {"name": "cat"}, token=ALICE).status,
        }


def main(folder: Path) -> dict[str, Any]:
    os.chdir(folder)
    told: dict[str, Any] = {" ".join(command): tried(folder, command) for command in (*READING, *WRITING)}
    with Registry().store.layout.scratch.home.joinpath("FORMAT").open(encoding="ascii") as mark:
        return {**told, "served": served(folder / "home"), "mark": mark.read()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))))
