"""Recipes of strangers: data alone, refused at once where they are no recipes, and never a word in what is written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lorry.errors import LorryError
from tests.support.files import kohya, write

from .test_corpus import CPU_SECONDS, MEMORY, measure, posix

ZEROS = "0" * 64


def merge(**more: object) -> dict[str, Any]:
    return {"op": "merge", "inputs": ["cat.safetensors"], **more}


def nested(levels: int) -> dict[str, Any]:
    recipe = merge()
    for _ in range(levels):
        recipe = merge(inputs=[{"recipe": recipe}])
    return recipe


def weighted(spec: str) -> str:
    return json.dumps(merge(options={"weights": [spec]}))


LAUGHS = "".join(f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]\n" for at in range(1, 10))

ATTACKS: Mapping[str, tuple[str, str, str]] = {
    "a billion laughs": ("a.yaml", f"a0: &a0 lol\n{LAUGHS}op: merge", "recipes take none"),
    "an alias of itself": ("a.yaml", "&a\nop: merge\ninputs: [{recipe: *a}]", "recipes take none"),
    "a call in YAML": ("a.yaml", "op: !!python/object/apply:os.system ['touch owned']", "could not determine"),
    "a merge key": ("a.yaml", "x: &x {op: merge}\n<<: *x", "recipes take none"),
    "deep brackets in YAML": ("a.yaml", "[" * 60_000, "levels deep"),
    "deep brackets": ("a.json", "[" * 2_000_000, "no recipe"),
    "recipes within recipes": ("a.json", json.dumps(nested(40)), "levels deep"),
    "a wide tree": ("a.json", json.dumps(merge(inputs=[{"recipe": merge()}] * 900)), "more than 256 steps"),
    "more inputs than anybody has": ("a.json", json.dumps(merge(inputs=["cat.safetensors"] * 100_000)), "at most 1000"),
    "more bytes than a recipe takes": ("a.json", " " * (5 << 20), "at most"),
    "a number without end": ("a.json", f'{{"op": "merge", "lorry": {"9" * 100_000}}}', "no recipe"),
    "an expression for years": ("a.json", weighted("/(.*)*x/=1"), "years"),
    "an expression for days": ("a.json", weighted(f"/{'.*' * 9}x/=1"), "years"),
    "a thousand expressions": ("a.json", weighted("/.*.*.*x/=1," * 1000), "more than 16"),
    "code for an operation": ("a.json", json.dumps(merge(op="__import__('os')")), "asks for the operation"),
    "a path to write to": ("a.json", json.dumps(merge(output={"path": "/tmp/owned"})), "nothing is called"),
    "files above the folder": (
        "a.json",
        json.dumps(merge(inputs=[{"adapter": "a", "files": {"../../etc/passwd": f"sha256:{ZEROS}"}}])),
        "inside its folder",
    ),
    "a device": ("a.json", json.dumps(merge(inputs=["/dev/zero"])), "not a regular file"),
    "a folder of everything": ("a.json", json.dumps(merge(inputs=["/proc"])), ""),
    "a secret": ("a.json", json.dumps(merge(inputs=["/etc/hostname"])), ""),
    "an answer that is none": ("a.json", json.dumps(merge(inputs=["no\u202egp.safetensors\x1b[2J"])), "not found"),
}


@posix
def test_a_hostile_recipe_ends_at_once_with_one_line(tmp_path: Path) -> None:
    commands = []
    for at, (name, text, _) in enumerate(ATTACKS.values()):
        folder = tmp_path / str(at)
        folder.mkdir()
        write(folder / "cat.safetensors", kohya())
        (folder / name).write_text(text, encoding="utf-8")
        commands.append(["run-recipe", str(folder / name), "-o", str(folder / "out.safetensors"), "-y"])
    start, *answers = measure(tmp_path, [["--version"], *commands])
    for (name, (_, _, says)), answer in zip(ATTACKS.items(), answers, strict=True):
        last = answer["out"].strip().splitlines()[-1]
        assert answer["code"] in (1, 2, 3, 5), (name, answer)
        assert last.startswith("lorry: "), (name, answer)
        assert "Traceback" not in answer["out"], name
        assert "\x1b" not in answer["out"], name
        assert says in last, (name, last)
        assert answer["cpu"] - start["cpu"] < CPU_SECONDS, (name, answer["cpu"])
        assert answer["memory"] - start["memory"] < MEMORY, (name, answer["memory"])
    for at, (name, _, _) in enumerate(ATTACKS.values()):
        assert {path.name for path in (tmp_path / str(at)).iterdir()} <= {"cat.safetensors", "a.json", "a.yaml"}, name
    assert not (tmp_path / "owned").exists()


def test_weights_in_a_recipe_are_never_the_name_of_a_file(tmp_path: Path) -> None:
    from lorry import run_recipe

    cat = write(tmp_path / "cat.safetensors", kohya())
    (tmp_path / "secret").write_text("hunter2", encoding="utf-8")
    recipe = merge(inputs=[str(cat)], options={"weights": [str(tmp_path / "secret")]})
    with pytest.raises(LorryError) as refused:
        run_recipe(recipe, tmp_path / "out.safetensors")
    assert "hunter2" not in str(refused.value)


def test_a_folder_that_holds_itself_is_searched_once(tmp_path: Path) -> None:
    from lorry import run_recipe
    from lorry.ops.headers.recipe import known_sha256

    shelf = tmp_path / "shelf"
    (shelf / "deep").mkdir(parents=True)
    cat = write(shelf / "deep" / "other.safetensors", kohya())
    (shelf / "deep" / "again").symlink_to(shelf)
    os.mkfifo(shelf / "pipe.safetensors")
    recipe = merge(inputs=[{"adapter": "gone", "files": {"cat.safetensors": f"sha256:{known_sha256(cat)}"}}])
    assert run_recipe(recipe, tmp_path / "out.safetensors", find_in=[shelf]).path.exists()


def test_a_name_of_an_earlier_result_leads_nowhere(tmp_path: Path) -> None:
    from lorry import run_recipe

    cat = write(tmp_path / "cat.safetensors", kohya())
    for name in ("..", ".hidden.safetensors", "sub/x.safetensors", "/tmp/x.safetensors"):
        inner = {"op": "resize", "inputs": [str(cat)], "options": {"rank": 1}}
        files = {name if name.startswith(".h") else "x.safetensors": f"sha256:{ZEROS}"}
        recipe = merge(inputs=[{"adapter": name, "files": files, "recipe": inner}])
        out = tmp_path / "out.safetensors"
        run_recipe(recipe, out, force=True)
        assert {path.name for path in tmp_path.iterdir()} == {"cat.safetensors", "out.safetensors"}


@pytest.mark.parametrize(
    "told", ["{", "[]", '{"op": "merge"}', "[" * 10_000, '{"op": 3, "lorry": "0.1.0", "inputs": 7}']
)
def test_a_hostile_header_stops_no_operation_on_the_file(told: str, tmp_path: Path) -> None:
    import lorry

    cat = write(tmp_path / "cat.safetensors", kohya(), {"lorry.recipe": told})
    lorry.run_recipe(merge(inputs=[str(cat)]), tmp_path / "out.safetensors")
    with pytest.raises(LorryError):
        lorry.run_recipe(cat, tmp_path / "again.safetensors")
