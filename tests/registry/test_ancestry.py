"""What a version was made from, and what was made from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

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


def test_a_file_published_nowhere_ends_its_branch(registry: Registry, tmp_path: Path) -> None:
    recipe = json.dumps({"op": "merge", "inputs": [{"name": 'a "b".safetensors', "sha256": "0" * 64, "weight": 0.5}]})
    registry.publish("demo/cat@1.0.0", [write_lora(tmp_path / "c.safetensors")], recipe=recipe)
    assert lorry("lineage", "demo/cat").splitlines()[1] == '  a "b".safetensors at 0.5'
    assert r'[label="a \"b\".safetensors"];' in lorry("lineage", "demo/cat", "--dot")
