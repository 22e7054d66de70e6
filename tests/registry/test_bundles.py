"""Bundles: the same versions make the same file, and what comes out of it is what went in."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

import lorry
from lorry.cli import cli
from lorry.errors import Conflict, InvalidArgument, LorryWarning, NotFound, VerificationFailed
from lorry_registry import Registry
from lorry_registry.bundle.carry import Import
from lorry_registry.references.reference import Reference

from .helpers import publish_bytes, write_lora


def export(registry: Registry, path: Path, *references: str, with_parents: bool = False) -> Path:
    registry.export(references, path, with_parents=with_parents)
    return path


def import_(registry: Registry, path: Path) -> Import:
    work = Import(registry.store, path)
    list(work.run())
    return work


@pytest.fixture
def family(published: Registry, tmp_path: Path) -> Registry:
    """A registry with demo/both@1.0.0, which was made of demo/cat@1.0.0 and demo/ink@1.0.0."""
    published.publish("demo/ink@1.0.0", [write_lora(tmp_path / "ink.safetensors", seed=1)])
    cat, ink = (lorry.open(tmp_path / f"{name}.safetensors") for name in ("cat", "ink"))
    lorry.save(lorry.merge([(cat, 0.7), (ink, 0.5)]), tmp_path / "both.safetensors", format="kohya")
    published.publish("demo/both@1.0.0", [tmp_path / "both.safetensors"], parents=["demo/cat", "demo/ink"])
    return published


def test_out_and_in_is_the_same_version(published: Registry, elsewhere: Registry, tmp_path: Path) -> None:
    import_(elsewhere, export(published, tmp_path / "x.tar", "demo/cat"))
    assert elsewhere.resolve("demo/cat") == published.resolve("demo/cat")
    assert elsewhere.verify("demo/cat") == published.verify("demo/cat")
    assert elsewhere.fsck() == ()


def test_parents_come_along_where_asked(family: Registry, elsewhere: Registry, tmp_path: Path) -> None:
    import_(elsewhere, export(family, tmp_path / "one.tar", "demo/both"))
    assert [str(each.reference) for each in elsewhere.ls()] == ["demo/both@1.0.0"]
    import_(elsewhere, export(family, tmp_path / "all.tar", "demo/both", with_parents=True))
    assert len(elsewhere.ls()) == 3
    assert elsewhere.lineage("demo/both") == family.lineage("demo/both")


def test_the_same_versions_make_the_same_bytes(family: Registry, elsewhere: Registry, tmp_path: Path) -> None:
    first = export(family, tmp_path / "first.tar", "demo/both", "demo/cat", "demo/ink")
    import_(elsewhere, first)
    again = export(elsewhere, tmp_path / "again.tar", "demo/ink", "demo/both", "demo/cat", "demo/both")
    assert again.read_bytes() == first.read_bytes()


def test_notes_and_aliases_come_along_and_take_nothing_back(
    published: Registry, elsewhere: Registry, tmp_path: Path
) -> None:
    published.publish("demo/cat@1.1.0", [write_lora(tmp_path / "next.safetensors", seed=3)])
    published.set_alias("demo/cat@best", "1.1.0")
    published.set_alias("demo/cat@first", "1.0.0")
    published.deprecate("demo/cat@1.1.0", "too loud")
    with pytest.warns(LorryWarning, match="too loud"):
        path = export(published, tmp_path / "x.tar", "demo/cat@1.0.0", "demo/cat@1.1.0")
    elsewhere.publish("demo/cat@2.0.0", [write_lora(tmp_path / "own.safetensors", seed=4)])
    elsewhere.set_alias("demo/cat@best", "2.0.0")
    with pytest.warns(LorryWarning, match="too loud"):
        work = import_(elsewhere, path)
    aliases = {name: str(version) for name, version in elsewhere.aliases("demo/cat").items()}
    assert aliases == {"best": "2.0.0", "first": "1.0.0", "latest": "2.0.0"}
    assert [(str(each.alias), str(each.here), str(each.there)) for each in work.kept] == [
        ("demo/cat@best", "2.0.0", "1.1.0")
    ]
    assert elsewhere.note("demo/cat@1.1.0").deprecated == "too loud"


def test_an_alias_of_a_yanked_version_is_not_taken(published: Registry, elsewhere: Registry, tmp_path: Path) -> None:
    published.set_alias("demo/cat@best", "1.0.0")
    published.yank("demo/cat@1.0.0")
    with pytest.warns(LorryWarning, match="yanked"):
        import_(elsewhere, export(published, tmp_path / "x.tar", "demo/cat@1.0.0"))
    assert elsewhere.aliases("demo/cat") == {}
    assert elsewhere.note("demo/cat@1.0.0").yanked is not None


def test_an_import_that_was_stopped_goes_on(family: Registry, elsewhere: Registry, tmp_path: Path) -> None:
    path = export(family, tmp_path / "x.tar", "demo/both", with_parents=True)
    assert next(Import(elsewhere.store, path).run()).new
    assert [each.new for each in Import(elsewhere.store, path).run()] == [False, True, True]


def test_a_bundle_is_named_what_it_is(published: Registry, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"x\.tar"):
        published.export(["demo/cat"], tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


def test_a_file_that_is_there_is_replaced_only_by_force(published: Registry, tmp_path: Path) -> None:
    path = export(published, tmp_path / "x.tar", "demo/cat")
    with pytest.raises(Conflict, match="--force"):
        published.export(["demo/cat"], path)
    published.export(["demo/cat"], path, force=True)


def test_what_cannot_be_exported_leaves_no_file(registry: Registry, tmp_path: Path) -> None:
    publish_bytes(registry.store, "demo/none@1.0.0", b"no adapter")
    with pytest.raises(VerificationFailed, match="demo/none@1.0.0"):
        export(registry, tmp_path / "x.tar", "demo/none")
    with pytest.raises(NotFound):
        export(registry, tmp_path / "x.tar", "demo/nothing")
    assert list(tmp_path.glob("*x.tar*")) == []


def test_another_version_of_that_name_is_refused(published: Registry, elsewhere: Registry, tmp_path: Path) -> None:
    path = export(published, tmp_path / "x.tar", "demo/cat")
    elsewhere.publish("demo/cat@1.0.0", [write_lora(tmp_path / "other.safetensors", seed=9)])
    with pytest.raises(Conflict, match="other content"):
        import_(elsewhere, path)


def test_it_is_an_oci_image_layout(published: Registry, tmp_path: Path) -> None:
    with tarfile.open(export(published, tmp_path / "x.tar", "demo/cat"), "r:") as archive:
        files = {each.name: (archive.extractfile(each) or pytest.fail(each.name)).read() for each in archive}
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    named = {each["annotations"]["org.opencontainers.image.ref.name"]: each
             for each in json.loads(files["index.json"])["manifests"]}  # fmt: skip
    assert sorted(named) == ["demo/cat:1.0.0", "demo/cat:latest"]
    manifest = json.loads(files["blobs/" + named["demo/cat:1.0.0"]["digest"].replace(":", "/")])
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    for each in (manifest["config"], *manifest["layers"]):
        assert len(files["blobs/" + each["digest"].replace(":", "/")]) == each["size"]


def test_a_layout_of_another_tool_is_taken(published: Registry, elsewhere: Registry, tmp_path: Path) -> None:
    export(published, tmp_path / "x.tar", "demo/cat")
    with tarfile.open(tmp_path / "x.tar", "r:") as archive:
        for each in archive:
            path = tmp_path / "x" / each.name
            path.parent.mkdir(parents=True, exist_ok=True)
            if data := archive.extractfile(each):
                path.write_bytes(data.read())
    index = json.loads((tmp_path / "x" / "index.json").read_text())
    (tmp_path / "x" / "index.json").write_text(json.dumps(index, indent=2))
    with tarfile.open(tmp_path / "y.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        for name in ("blobs", "index.json", "oci-layout"):
            archive.add(tmp_path / "x" / name, name)
    import_(elsewhere, tmp_path / "y.tar")
    assert elsewhere.resolve("demo/cat") == published.resolve("demo/cat")


def test_the_commands_do_the_same(published: Registry, elsewhere: Registry, tmp_path: Path) -> None:
    def run(*arguments: str, home: Path) -> str:
        result = CliRunner(env={"LORRY_HOME": str(home)}).invoke(cli, arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    path = str(tmp_path / "x.tar")
    assert "1 version in" in run("export", "demo/cat", "-o", path, home=published.home)
    told = json.loads(run("export", "demo/cat", "-o", path, "--force", "--json", home=published.home))
    assert told["versions"][0]["reference"] == "demo/cat@1.0.0"
    assert "demo/cat@1.0.0 is here now" in run("import", path, home=elsewhere.home)
    assert json.loads(run("import", path, "--json", home=elsewhere.home))["versions"][0]["new"] is False
    assert elsewhere.resolve("demo/cat").reference == Reference.parse("demo/cat@1.0.0")
