"""What a version was made from, and what was made from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import lorry as api
from lorry.cli import cli
from lorry_registry import Registry

from .helpers import write_lora


@pytest.fixture
def family(registry: Registry, tmp_path: Path) -> Registry:
    """Publish demo/both@1.0.0, merged of two, and demo/final@1.0.0, which uses it and one of the two again."""
    files = {name: write_lora(tmp_path / f"{name}.safetensors", seed=at) for at, name in enumerate("abcd")}
    for name in "ab":
        registry.publish(f"demo/{name}@1.0.0", [files[name]])
    for result, inputs in (("both", ["a", "b"]), ("final", ["both", "a"])):
        parents = [f"demo/{name}@1.0.0" for name in inputs]
        source = files["c" if result == "both" else "d"]
        registry.publish(f"demo/{result}@1.0.0", [source], parents=parents, recipe='{"op": "merge"}')
    return registry


def lorry(*arguments: str) -> str:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_each_step_stands_once(family: Registry) -> None:
    found = family.lineage("demo/final")
    by_name = {made.name: made for made in found.values()}
    assert list(by_name) == ["demo/final@1.0.0", "demo/both@1.0.0", "demo/a@1.0.0", "demo/b@1.0.0"]
    origins = {name: [found[origin.digest].name for origin in made.origins] for name, made in by_name.items()}
    assert origins["demo/final@1.0.0"] == ["demo/both@1.0.0", "demo/a@1.0.0"]
    assert origins["demo/both@1.0.0"] == ["demo/a@1.0.0", "demo/b@1.0.0"]
    assert by_name["demo/both@1.0.0"].op == "merge"


def test_what_was_made_from_a_version(family: Registry) -> None:
    assert [str(each.reference) for each in family.descendants("demo/a")] == ["demo/both@1.0.0", "demo/final@1.0.0"]
    assert family.descendants("demo/final") == ()


@pytest.mark.usefixtures("family")
def test_people_read_it_as_a_tree() -> None:
    assert lorry("lineage", "demo/final").splitlines() == [
        "demo/final@1.0.0, by merge from",
        "  demo/both@1.0.0, by merge from",
        "    demo/a@1.0.0",
        "    demo/b@1.0.0",
        "  demo/a@1.0.0",
    ]
    assert "used in demo/final@1.0.0" in lorry("lineage", "demo/both")


def test_programs_read_json_and_graphviz_reads_dot(family: Registry) -> None:
    told = json.loads(lorry("lineage", "demo/final", "--json"))
    assert told["made"][0]["name"] == "demo/final@1.0.0"
    dot = lorry("lineage", "demo/final", "--dot")
    both, a = (family.resolve(f"demo/{name}").digest for name in ("both", "a"))
    assert dot.startswith("digraph lineage {")
    assert f'"{a}" -> "{both}" [label="merge"];' in dot


@pytest.mark.usefixtures("family")
def test_one_way_of_printing_it_is_said() -> None:
    assert CliRunner().invoke(cli, ["lineage", "demo/both", "--dot", "--json"]).exit_code == 2


def test_a_file_published_nowhere_ends_its_branch(registry: Registry, tmp_path: Path) -> None:
    recipe = json.dumps({"op": "merge", "inputs": [{"name": 'a "b".safetensors', "sha256": "0" * 64, "weight": 0.5}]})
    registry.publish("demo/cat@1.0.0", [write_lora(tmp_path / "c.safetensors")], recipe=recipe)
    assert lorry("lineage", "demo/cat").splitlines()[1] == '  a "b".safetensors at 0.5'
    assert r'[label="a \"b\".safetensors"];' in lorry("lineage", "demo/cat", "--dot")


@pytest.mark.parametrize("times", [1, 2])
def test_a_parent_of_several_files_stands_as_often_as_it_was_taken_in(
    registry: Registry, tmp_path: Path, times: int
) -> None:
    stems = (
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
        "lora_te_text_model_encoder_layers_0_mlp_fc1",
    )
    parts = [write_lora(tmp_path / f"{at}.safetensors", at, stem=stem) for at, stem in enumerate(stems)]
    registry.publish("demo/cat@1.0.0", parts)
    lorry("merge", *["demo/cat:0.5"] * times, "-o", str(tmp_path / "m.safetensors"))
    registry.publish("demo/made@1.0.0", [tmp_path / "m.safetensors"])
    assert len(parents(registry, "demo/made")) == 2 * times
    assert lorry("lineage", "demo/made").splitlines() == [
        "demo/made@1.0.0, by merge from",
        *["  demo/cat@1.0.0 at 0.5"] * times,
    ]


def parents(registry: Registry, reference: str) -> list[tuple[str | None, float | None]]:
    lineage = registry.manifest(reference).lineage
    return [(each.reference, each.weight) for each in lineage.parents] if lineage else []


@pytest.fixture
def twins(registry: Registry, tmp_path: Path) -> Registry:
    """Publish the same bytes as two versions of demo/cat and as demo/ink, and other bytes as demo/dog."""
    cat, other = write_lora(tmp_path / "cat.safetensors", 1), write_lora(tmp_path / "other.safetensors", 2)
    registry.publish("demo/cat@1.0.0", [cat])
    registry.publish("demo/cat@1.1.0", [other])
    registry.publish("demo/cat@1.2.0", [cat])
    registry.publish("demo/ink@1.0.0", [cat])
    registry.publish("demo/dog@1.0.0", [write_lora(tmp_path / "dog.safetensors", 3)])
    return registry


def test_parents_are_the_versions_that_were_meant(twins: Registry, tmp_path: Path) -> None:
    lorry("merge", "demo/ink:0.5", "demo/dog:0.7", "-o", str(tmp_path / "both.safetensors"))
    twins.publish("demo/both@1.0.0", [tmp_path / "both.safetensors"])
    assert parents(twins, "demo/both") == [("demo/ink@1.0.0", 0.5), ("demo/dog@1.0.0", 0.7)]
    assert "used in demo/both@1.0.0" in lorry("lineage", "demo/ink")
    assert "used in" not in lorry("lineage", "demo/cat")
    exported = twins.export(["demo/both"], tmp_path / "all.tar", with_parents=True)
    assert [each.reference.adapter for each in exported] == ["demo/both", "demo/dog", "demo/ink"]


def test_what_was_meant_is_told_again_when_it_is_made_again(twins: Registry, tmp_path: Path) -> None:
    made = api.run_recipe({"op": "merge", "inputs": ["demo/cat@1.0.0", "demo/dog"]}, tmp_path / "once.safetensors").path
    again = api.run_recipe(made, tmp_path / "again.safetensors").path
    assert again.read_bytes() == made.read_bytes()
    twins.publish("demo/both@1.0.0", [again])
    assert parents(twins, "demo/both") == [("demo/cat@1.0.0", 1.0), ("demo/dog@1.0.0", 1.0)]


@pytest.mark.parametrize(("yanked", "named"), [((), "demo/cat@1.2.0"), (("demo/cat@1.2.0",), "demo/cat@1.0.0")])
def test_of_versions_with_the_same_bytes_the_highest_not_yanked_is_named(
    twins: Registry, tmp_path: Path, yanked: tuple[str, ...], named: str
) -> None:
    for each in yanked:
        twins.yank(each)
    lorry("merge", str(tmp_path / "cat.safetensors"), "demo/dog", "-o", str(tmp_path / "both.safetensors"))
    twins.publish("demo/both@1.0.0", [tmp_path / "both.safetensors"])
    assert parents(twins, "demo/both")[0][0] == named


def test_a_version_told_that_has_other_bytes_here_is_not_believed(twins: Registry, tmp_path: Path) -> None:
    made = api.run_recipe({"op": "merge", "inputs": ["demo/ink", "demo/dog"]}, tmp_path / "both.safetensors").path
    recipe = json.loads(api.open(made).metadata["lorry.recipe"])
    other = twins.resolve("demo/cat@1.1.0")
    recipe["inputs"][0]["version"] = {"reference": str(other.reference), "digest": f"sha256:{other.digest}"}
    twins.publish("demo/liar@1.0.0", [write_lora(tmp_path / "liar.safetensors", 7)], recipe=json.dumps(recipe))
    assert parents(twins, "demo/liar")[0][0] == "demo/cat@1.2.0"


def test_steps_on_the_way_stand_between(twins: Registry, tmp_path: Path) -> None:
    small = {"op": "resize", "inputs": ["demo/ink"], "options": {"rank": 1}}
    night = {"op": "merge", "inputs": [{"adapter": "demo/dog", "weight": 0.7}, {"recipe": small, "weight": 0.3}]}
    api.run_recipe(night, tmp_path / "night.safetensors")
    published = lorry("publish", "demo/night@1.0.0", str(tmp_path / "night.safetensors"), "-y")
    assert published.splitlines()[2:] == ["made from demo/dog@1.0.0", "made from resize of demo/ink@1.0.0"]
    assert lorry("lineage", "demo/night").splitlines() == [
        "demo/night@1.0.0, by merge from",
        "  demo/dog@1.0.0 at 0.7",
        "  resize at 0.3, of",
        "    demo/ink@1.0.0 at 1",
    ]
    shown = lorry("show", "demo/night")
    assert "resize of" in shown
    assert "  demo/ink@1.0.0" in shown
    assert "resize-" not in shown
    (step,) = (each for each in json.loads(lorry("lineage", "demo/night", "--json"))["made"] if each["op"] == "resize")
    ink = twins.resolve("demo/ink").digest
    assert [each["digest"] for each in step["origins"]] == [ink]
    assert f'"{ink}" -> "{step["digest"]}" [label="resize 1"];' in lorry("lineage", "demo/night", "--dot")


def test_a_file_of_ones_own_that_tells_its_recipe_keeps_its_name(twins: Registry, tmp_path: Path) -> None:
    small, both = tmp_path / "small.safetensors", tmp_path / "both.safetensors"
    lorry("resize", "demo/ink", "--rank", "1", "-o", str(small))
    lorry("merge", str(small), "demo/dog", "-o", str(both))
    assert "made from small.safetensors (resize of demo/ink@1.0.0)" in lorry("publish", "demo/both", str(both), "-y")
    assert "  small.safetensors at 1, by resize from" in lorry("lineage", "demo/both")
    assert [str(each.reference) for each in twins.descendants("demo/ink")] == ["demo/both@1.0.0"]
