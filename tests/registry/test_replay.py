"""A version is made again from its parents, whatever became of their names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import lorry
from lorry.cli import cli
from lorry.errors import InvalidFile, LorryWarning, NotFound, VerificationFailed
from lorry.ops.headers.recipe import header
from lorry_registry import Registry

from .helpers import write_lora


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {name: write_lora(tmp_path / f"{name}.safetensors", seed) for seed, name in enumerate(["cat", "ink"])}


@pytest.fixture
def family(registry: Registry, files: dict[str, Path], tmp_path: Path) -> Registry:
    """Publish demo/cat and demo/ink, and demo/both: a merge of one and of what was made of the other on the way."""
    for name, path in files.items():
        registry.publish(f"demo/{name}@1.0.0", [path])
    small = {"op": "resize", "inputs": ["demo/ink"], "options": {"rank": 1}}
    recipe = {"op": "merge", "inputs": [{"adapter": "demo/cat@1.0.0", "weight": 0.7}, {"recipe": small, "weight": 0.3}]}
    lorry.run_recipe(recipe, tmp_path / "both.safetensors")
    registry.publish("demo/both@1.0.0", [tmp_path / "both.safetensors"])
    for path in tmp_path.iterdir():
        path.unlink()
    return registry


def test_it_is_made_again_to_the_bit(family: Registry) -> None:
    assert family.replay("demo/both").exact
    assert not list(family.store.layout.drafts.iterdir())


def test_all_parents_stand_in_the_lineage_those_of_nested_recipes_too(family: Registry) -> None:
    lineage = family.manifest("demo/both").lineage
    assert lineage is not None
    cat, small = lineage.parents
    assert (cat.reference, cat.weight, cat.parents) == ("demo/cat@1.0.0", 0.7, None)
    assert (small.reference, small.name, small.op, small.weight) == (None, "", "resize", 0.3)
    assert [(each.reference, each.weight) for each in small.parents or ()] == [("demo/ink@1.0.0", 1.0)]
    assert [str(each.reference) for each in family.descendants("demo/ink")] == ["demo/both@1.0.0"]


def test_an_input_told_by_reference_alone_is_a_parent_too(family: Registry, tmp_path: Path) -> None:
    recipe = json.dumps({"op": "merge", "inputs": [{"adapter": "demo/cat@1.0.0", "weight": 0.5}, "nobody/knows@1.0.0"]})
    family.publish("demo/told@1.0.0", [write_lora(tmp_path / "told.safetensors", 8)], recipe=recipe)
    lineage = family.manifest("demo/told").lineage
    assert lineage is not None
    assert [parent.reference for parent in lineage.parents] == ["demo/cat@1.0.0", None]
    with pytest.raises(NotFound, match="nobody/knows"):
        family.replay("demo/told")


def test_a_recipe_of_recipes_without_end_is_not_published(registry: Registry, tmp_path: Path) -> None:
    recipe = '{"op":"merge","inputs":[{"recipe":' * 5000 + "0" + "}]}" * 5000
    wide = json.dumps({"op": "merge", "inputs": [{"recipe": {"op": "merge", "inputs": ["a"] * 900}}] * 3})
    deep = write_lora(tmp_path / "deep.safetensors")
    for told in (recipe, wide):
        with pytest.raises(InvalidFile):
            registry.publish("demo/deep@1.0.0", [deep], recipe=told)


def test_yanked_parents_are_found_by_their_digest(family: Registry) -> None:
    family.yank("demo/cat@1.0.0", "stolen")
    family.yank("demo/ink@1.0.0")
    assert family.replay("demo/both").exact


def test_a_damaged_parent_is_called_damaged_and_found_elsewhere(
    family: Registry, files: dict[str, Path], tmp_path: Path
) -> None:
    blob = family.store.blobs.path(family.manifest("demo/ink").files[0].sha256)
    blob.unlink()
    with pytest.raises(VerificationFailed, match=r"demo/ink@1\.0\.0: .*missing"):
        family.replay("demo/both")
    write_lora(files["ink"], 1)
    assert family.replay("demo/both", find_in=[tmp_path]).exact


def test_a_parent_from_elsewhere_is_named_by_its_digest_and_may_be_given(
    registry: Registry, files: dict[str, Path], tmp_path: Path
) -> None:
    lorry.run_recipe({"op": "merge", "inputs": [str(each) for each in files.values()]}, tmp_path / "both.safetensors")
    registry.publish("demo/both@1.0.0", [tmp_path / "both.safetensors"])
    registry.publish("demo/cat@1.0.0", [files["cat"]])
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    ink = files["ink"].rename(shelf / "renamed.safetensors")
    manifest = registry.manifest("demo/both").lineage
    assert manifest is not None
    digest = manifest.parents[1].sha256
    with pytest.raises(NotFound, match=f"ink.safetensors.*{digest}.*--find-in"):
        registry.replay("demo/both")
    assert registry.replay("demo/both", find_in=[shelf]).exact
    assert registry.replay("demo/both", inputs={"ink.safetensors": ink}).exact
    with pytest.raises(VerificationFailed, match="is not the ink.safetensors"):
        registry.replay("demo/both", inputs={"ink.safetensors": files["cat"]})


def test_a_version_that_its_recipe_does_not_make_is_found_out(
    registry: Registry, files: dict[str, Path], tmp_path: Path
) -> None:
    for name, path in files.items():
        registry.publish(f"demo/{name}@1.0.0", [path])
    told = json.loads(
        lorry.open(
            lorry.run_recipe({"op": "merge", "inputs": ["demo/cat", "demo/ink"]}, tmp_path / "both.safetensors").path
        ).metadata["lorry.recipe"]
    )
    registry.publish("demo/liar@1.0.0", [write_lora(tmp_path / "liar.safetensors", 7, header(told))])
    with pytest.raises(VerificationFailed, match="demo/liar@1.0.0, made again, is not what"):
        registry.replay("demo/liar")


def test_what_has_no_recipe_of_lorrys_cannot_be_made_again(family: Registry, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no recipe"):
        family.replay("demo/cat")
    family.publish(
        "demo/tuned@1.0.0", [write_lora(tmp_path / "t.safetensors", 5)], recipe='{"op": "train", "steps": 9}'
    )
    with pytest.raises(lorry.LorryError, match="asks for the operation 'train'"):
        family.replay("demo/tuned")


def test_a_recipe_of_the_working_folder_means_nothing_here(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lora(tmp_path / "cat.safetensors")
    recipe = '{"op": "merge", "inputs": ["cat.safetensors"]}'
    registry.publish("demo/odd@1.0.0", [write_lora(tmp_path / "odd.safetensors", 3)], recipe=recipe)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound, match="cat.safetensors"):
        registry.replay("demo/odd")


@pytest.mark.usefixtures("family")
def test_the_command_line_verifies_and_replays() -> None:
    done = CliRunner().invoke(cli, ["verify", "demo/both", "--replay"])
    assert (done.exit_code, "made again by its recipe: every tensor as before" in done.stdout) == (0, True)
    told = json.loads(CliRunner().invoke(cli, ["verify", "demo/both", "--replay", "--json"]).stdout)
    assert told["replayed"]["exact"] is True
    assert CliRunner().invoke(cli, ["verify", "demo/both", "--find-in", "."]).exit_code == 2


def test_a_reference_in_a_recipe_warns_as_it_does_elsewhere(family: Registry, tmp_path: Path) -> None:
    family.deprecate("demo/cat@1.0.0", "old")
    with pytest.warns(LorryWarning, match="deprecated"):
        lorry.run_recipe({"op": "merge", "inputs": ["demo/cat@1.0.0"]}, tmp_path / "out.safetensors")


def test_a_recipe_may_be_told_of_a_file_that_has_none(registry: Registry, files: dict[str, Path]) -> None:
    recipe = files["cat"].parent / "copy.yaml"
    recipe.write_text("op: convert\ninputs: [demo/cat@1.0.0]\noutput: {format: kohya}\n", encoding="utf-8")
    registry.publish("demo/cat@1.0.0", [files["cat"]])
    copy = lorry.run_recipe(recipe, recipe.with_suffix(".safetensors")).path  # byte for byte, and so without a recipe
    done = CliRunner().invoke(cli, ["publish", "demo/copy@1.0.0", str(copy), "--recipe", str(recipe), "-y"])
    assert (done.exit_code, "made from demo/cat@1.0.0" in done.stdout) == (0, True), done.output
    assert registry.replay("demo/copy").exact


def test_a_reference_means_what_it_meant_when_it_was_published(
    registry: Registry, files: dict[str, Path], tmp_path: Path
) -> None:
    registry.publish("demo/cat@1.0.0", [files["cat"]])
    recipe = {"op": "resize", "inputs": ["demo/cat"], "options": {"rank": 1}}
    merged = {"op": "merge", "inputs": [{"recipe": recipe}]}
    made = lorry.run_recipe(merged, tmp_path / "small.safetensors").path
    bare = lorry.save(lorry.open(made), tmp_path / "bare.safetensors", "kohya", dtype="F32").path  # without its recipe
    registry.publish("demo/small@1.0.0", [bare], recipe=json.dumps(merged))
    registry.publish("demo/cat@2.0.0", [files["ink"]])
    assert registry.replay("demo/small").exact
