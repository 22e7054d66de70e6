"""What a recipe may say, what it may not, and what earlier ones said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import lorry
from lorry.errors import Incompatible, InvalidFile, LorryError
from lorry.recipe.document import RECIPE, canonical, schema
from lorry.recipe.reading import parse, read_recipe
from tests.support.files import write

MERGE: dict[str, Any] = {"op": "merge", "inputs": ["cat.safetensors"]}
ZEROS = "0" * 64


def test_a_text_stands_for_an_input_and_for_a_model() -> None:
    short = parse({**MERGE, "base": "small"}, "it")
    long = parse(
        {"lorry": 1, **MERGE, "inputs": [{"adapter": "cat.safetensors", "weight": 1}], "base": {"path": "small"}}, "it"
    )
    assert canonical(short) == canonical(long)
    assert RECIPE.validate_json(canonical(short)) == short


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ([], "no recipe"),
        ({}, "no 'op'"),
        ({**MERGE, "op": "mrege"}, "did you mean 'merge'?"),
        ({**MERGE, "op": "exec"}, "there are merge, extract"),
        ({**MERGE, "optoins": {}}, "did you mean 'options'?"),
        ({**MERGE, "options": {"metod": "sum"}}, "nothing is called 'options.metod' there; did you mean 'method'?"),
        ({**MERGE, "inputs": []}, "inputs"),
        ({**MERGE, "inputs": [{}]}, "needs an adapter, files or a recipe"),
        ({**MERGE, "inputs": [{"adapter": "a", "weight": "heavy"}]}, "inputs.0.weight"),
        ({**MERGE, "inputs": [{"adapter": "a", "weight": float("nan")}]}, "finite"),
        ({**MERGE, "inputs": [{"adapter": "a", "files": {"../a": f"sha256:{ZEROS}"}}]}, "inside its folder"),
        ({**MERGE, "inputs": [{"adapter": "a", "files": {"a": "md5:00"}}]}, "pattern"),
        ({**MERGE, "options": {"rank": True}}, "options.rank"),
        ({**MERGE, "options": {"partial": "yes"}}, "options.partial"),
        ({"op": "resize", "inputs": ["a", "b"]}, "at most 1"),
        ({"op": "extract", "base": "x"}, "tuned"),
        ({"op": "bake", "inputs": ["a"], "base": {}}, "needs a path, a name or a recipe"),
        ({"op": "convert-base", "base": "x"}, "output: Field required"),
        ({"op": "convert-base", "base": "x", "inputs": ["a"], "output": {"layout": "ldm"}}, "'inputs'"),
        ({**MERGE, "expect": {"tensor_digest": "?"}}, "expect.tensor_digest"),
        ({**MERGE, "inputs": [{"recipe": {"op": "mrege"}}]}, "inputs.0.recipe asks for the operation 'mrege'"),
    ],
)
def test_what_is_no_recipe_is_said_to_be_none(told: Any, says: str) -> None:
    with pytest.raises(InvalidFile) as refused:
        parse(told, "it")
    assert says in str(refused.value)


def test_a_newer_schema_asks_for_a_newer_lorry() -> None:
    with pytest.raises(Incompatible, match="upgrade lorry"):
        parse({"lorry": 2, "op": "dance"}, "it")


def test_the_published_schema_takes_what_lorry_takes(tmp_path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    check = jsonschema.Draft202012Validator(schema())
    made = lorry.run_recipe(
        {"op": "merge", "inputs": [{"recipe": {"op": "resize", "inputs": [str(_lora(tmp_path))]}}]},
        tmp_path / "out.safetensors",
    )
    told = json.loads(lorry.open(made.path).metadata["lorry.recipe"])
    assert check.is_valid(told)
    assert check.is_valid({**MERGE, "base": "small"})
    assert not check.is_valid({**MERGE, "op": "mrege"})
    assert not check.is_valid({**MERGE, "options": {"metod": "sum"}})


def _lora(folder: Path) -> Path:
    from tests.support.files import kohya

    return write(folder / "cat.safetensors", kohya())


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.json", "{", "is no recipe"),
        ("a.json", '{"op": "merge", "op": "bake"}', "'op' stands twice"),
        ("a.json", '{"op": "merge", "inputs": [NaN]}', "NaN is no number"),
        ("a.yaml", "op: merge\nop: bake", "a.yaml is no recipe: line 2, column 1: 'op' stands twice"),
        ("a.yaml", "op: merge\ninputs: [a, b", "a.yaml is no recipe: line 2, column 14: while parsing"),
        ("a.yaml", "op: \x01", "a.yaml is no recipe: unacceptable character"),
        ("a.yaml", "a: &a [1]\nb: *a", "recipes take none"),
        ("a.yaml", "op: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a.yaml", "[" * 300 + "]" * 300, "levels deep"),
        ("a.json", "[" * 100_000, "is no recipe"),
        ("a.yaml", "a" * (129 << 10), "at most"),
    ],
)
def test_text_that_is_damaged_or_hostile(name: str, text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(LorryError) as refused:
        read_recipe(tmp_path / name)
    assert says in str(refused.value)


EARLIER = [
    (
        {"op": "merge", "options": {"method": "ties", "format": "kohya", "dtype": None, "options": {"density": "0.5"},
         "weights": ["unet=0.5"], "rank": 4, "like": "x.safetensors", "by_layer": True}},
        {"method": "ties", "settings": {"density": "0.5"}, "weights": ("unet=0.5",), "rank": 4},
    ),
    ({"op": "resize", "options": {"ranks": "energy 0.9", "format": "kohya", "dtype": "F16"}}, {"energy": 0.9}),
    ({"op": "resize", "options": {"ranks": "size 50MB", "format": "kohya", "dtype": None}}, {"size": "50MB"}),
    ({"op": "convert", "options": {"format": "diffusers", "dtype": None}}, {}),
    (
        {"op": "extract", "inputs": [], "options": {"tuned": "mine", "base": "sd", "ranks": "rank 8", "format": "kohya",
         "convolutions": "tucker", "full": False, "others": True}},
        {"rank": 8, "conv": "tucker"},
    ),
    (
        {"op": "bake", "options": {"dtype": None, "layout": "diffusers"},
         "base": {"id": "sd1", "name": "sd", "path": "../sd", "files": {"unet/a.safetensors": f"blake3:{ZEROS}"}}},
        {},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("told", "options"), EARLIER, ids=lambda each: each.get("op"))
def test_what_lorry_told_before_there_was_a_schema(told: dict[str, Any], options: dict[str, Any]) -> None:
    listed = [{"name": "cat.safetensors", "sha256": ZEROS, "weight": 0.5}]
    recipe = parse({"inputs": listed, "lorry": "0.1.0", **told}, "it")
    assert recipe.by.lorry == "0.1.0"
    assert recipe.options.model_dump(exclude_defaults=True) == options
    if recipe.op != "extract":
        (only,) = recipe.inputs
        assert (only.adapter, only.files) == ("cat.safetensors", {"cat.safetensors": f"sha256:{ZEROS}"})
    if recipe.op == "extract":
        assert (recipe.tuned.name, recipe.base.name) == ("mine", "sd")
    if recipe.op == "merge":
        assert recipe.like is not None
        assert (recipe.inputs[0].weight, recipe.like.adapter) == (0.5, "x.safetensors")
    inner = {"lorry": 1, "op": "merge", "inputs": [{"recipe": {"inputs": listed, "lorry": "0.1.0", **told}}]}
    assert parse(inner, "it").inputs[0].recipe == recipe


def test_the_files_of_one_adapter_were_told_one_by_one() -> None:
    listed = [{"name": f"{name}.safetensors", "sha256": ZEROS, "weight": 1.0} for name in "ab"]
    told = {"op": "convert", "lorry": "0.1.0", "inputs": listed, "options": {"format": "kohya", "dtype": None}}
    (only,) = parse(told, "it").inputs
    assert (only.adapter, set(only.files)) == ("a.safetensors+b.safetensors", {"a.safetensors", "b.safetensors"})


def test_an_earlier_header_is_replayed(tmp_path: Path) -> None:
    cat = _lora(tmp_path)
    out = tmp_path / "out.safetensors"
    from lorry.ops.headers.recipe import known_sha256

    listed = [{"name": cat.name, "sha256": known_sha256(cat), "weight": 0.5}]
    told = {
        "inputs": listed,
        "lorry": "0.1.0",
        "op": "merge",
        "options": {"dtype": None, "format": "kohya", "method": "sum"},
    }
    merged = lorry.merge([(lorry.open(cat), 0.5)])
    lorry.save(merged, out, "kohya", metadata={"lorry.recipe": json.dumps(told)})
    compared = lorry.run_recipe(out, tmp_path / "again.safetensors").compared
    assert compared is not None
    assert compared.exact
