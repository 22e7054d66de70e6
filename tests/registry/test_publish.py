from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import lorry
from lorry.cli import cli
from lorry.errors import Conflict, InvalidArgument, InvalidFile, LorryError, NotFound, VerificationFailed
from lorry.ops.headers.recipe import header, recipe
from lorry.ops.writing.convert import convert
from lorry_registry import Card, Registry
from lorry_registry.home.log import Log
from lorry_registry.home.records import Records
from lorry_registry.references.semver import Version

from .helpers import RANK, STEM, WIDTH, write_lora


def drafts(registry: Registry) -> list[Path]:
    return list(registry.store.layout.drafts.iterdir())


@pytest.mark.parametrize("nbytes", [640, 0x4B50])
def test_a_header_whose_length_looks_like_a_pickle_is_none(registry: Registry, tmp_path: Path, nbytes: int) -> None:
    """640 is 0x280 and 0x4B50 is "PK" in the order of bytes of a header's length."""
    plain = write_lora(tmp_path / "plain.safetensors", metadata={"a": ""}).read_bytes()
    length = nbytes - int.from_bytes(plain[:8], "little")
    lora = write_lora(tmp_path / "a.safetensors", metadata={"a": "x" * length})
    assert lora.read_bytes()[:8] == nbytes.to_bytes(8, "little")
    assert registry.publish("demo/a@1.0.0", [lora])


def test_the_manifest_tells_what_reading_the_files_shows(registry: Registry, tmp_path: Path) -> None:
    files = [write_lora(tmp_path / "cat.safetensors"), tmp_path / "README.md", tmp_path / "cat.png"]
    files[1].write_text("A cat.")
    files[2].write_bytes(b"\x89PNG")
    registry.publish("demo/cat@1.0.0", files)
    manifest = registry.manifest("demo/cat@1.0.0")
    facts = manifest.adapter
    assert (facts.kinds, facts.format, facts.components) == (("lora",), "kohya+safetensors", ("unet",))
    assert (facts.layers, facts.ranks, facts.dtypes, facts.n_params) == (1, {str(RANK): 1}, ("F32",), 2 * RANK * WIDTH)
    assert (manifest.base.id, facts.unmapped) == ("sd1@1", 0)
    roles = {file.path: (file.role, bool(file.tensor_digest)) for file in manifest.files}
    assert roles == {
        "README.md": ("card", False),
        "cat.png": ("preview", False),
        "cat.safetensors": ("weights", True),
    }


def test_the_same_weights_under_another_header_have_one_tensor_digest(registry: Registry, tmp_path: Path) -> None:
    for name, metadata in (("one", {}), ("other", {"note": "trained twice"})):
        registry.publish(f"demo/{name}@1.0.0", [write_lora(tmp_path / f"{name}.safetensors", metadata=metadata)])
    one, other = (registry.manifest(f"demo/{name}").files[0] for name in ("one", "other"))
    assert one.sha256 != other.sha256
    assert one.tensor_digest == other.tensor_digest


def test_the_fingerprint_tells_bases_of_other_widths_apart(registry: Registry, tmp_path: Path) -> None:
    registry.publish("demo/a@1.0.0", [write_lora(tmp_path / "a.safetensors", seed=1)])
    registry.publish("demo/b@1.0.0", [write_lora(tmp_path / "b.safetensors", seed=2)])
    assert registry.manifest("demo/a").base == registry.manifest("demo/b").base


def test_the_same_content_again_is_no_error_and_no_new_version(published: Registry, lora: Path) -> None:
    first = published.resolve("demo/cat@1.0.0")
    with published.draft("demo/cat@1.0.0", [lora]) as draft:
        assert draft.publish() is False
    assert published.resolve("demo/cat") == first


def test_other_content_never_takes_a_version(published: Registry, tmp_path: Path) -> None:
    before = published.resolve("demo/cat@1.0.0")
    with pytest.raises(Conflict, match=r"demo/cat@1\.0\.0 exists with other content.*1\.1\.0"):
        published.publish("demo/cat@1.0.0", [write_lora(tmp_path / "cat2.safetensors", seed=2)])
    assert published.resolve("demo/cat@1.0.0") == before
    assert not drafts(published)


def test_a_draft_that_is_not_published_leaves_nothing(registry: Registry, lora: Path) -> None:
    with registry.draft("demo/cat@1.0.0", [lora]) as draft:
        assert draft.manifest.adapter.kinds == ("lora",)
    assert registry.ls() == []
    assert not drafts(registry)


def test_the_file_itself_is_not_touched_and_not_kept_open(published: Registry, lora: Path, tmp_path: Path) -> None:
    lora.write_bytes(b"changed afterwards")
    (pulled,) = published.pull("demo/cat", tmp_path / "out")
    assert pulled.read_bytes() == write_lora(tmp_path / "again.safetensors").read_bytes()


def test_a_folder_is_published_with_all_its_files(registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    (folder / "images").mkdir(parents=True)
    write_lora(folder / "cat.safetensors")
    (folder / "images" / "0.png").write_bytes(b"\x89PNG")
    registry.publish("demo/cat@1.0.0", [folder])
    assert [file.path for file in registry.manifest("demo/cat").files] == ["cat.safetensors", "images/0.png"]


def test_a_peft_folder_is_published_and_opened_with_its_configuration(registry: Registry, tmp_path: Path) -> None:
    adapter = lorry.open(write_lora(tmp_path / "cat.safetensors"))
    lorry.save(adapter, tmp_path / "peft", format="peft+folder")
    registry.publish("demo/peft@1.0.0", [tmp_path / "peft"])
    opened = lorry.open("demo/peft")
    (layers,) = opened.layers.values()
    assert [(layer.kind, layer.scale) for layer in layers] == [("lora", 1.0)]
    assert registry.manifest("demo/peft").adapter.format.startswith("peft+")


def test_the_card_is_taken_from_the_header_where_the_author_says_nothing(registry: Registry, tmp_path: Path) -> None:
    header = {"modelspec.title": "Header cat", "modelspec.trigger_phrase": "sks", "modelspec.tags": "cat, animal"}
    lora = write_lora(tmp_path / "cat.safetensors", metadata=header)
    registry.publish("demo/cat@1.0.0", [lora], card=Card(title="My cat"))
    manifest = registry.manifest("demo/cat")
    assert (manifest.id.title, manifest.id.tags) == ("My cat", ("cat", "animal"))
    assert manifest.adapter.trigger_words == ("sks",)


def published_pair(registry: Registry, tmp_path: Path) -> list[Path]:
    paths = [write_lora(tmp_path / f"{name}.safetensors", seed) for seed, name in enumerate(["cat", "style"])]
    for path in paths:
        registry.publish(f"demo/{path.stem}@1.0.0", [path])
    return paths


def test_a_merge_of_two_published_adapters_names_both_as_parents(registry: Registry, tmp_path: Path) -> None:
    cat, style = published_pair(registry, tmp_path)
    told = recipe("merge", [(lorry.open(cat), 0.7), (lorry.open(style), 0.5)], {"method": "sum"})
    registry.publish("demo/both@1.0.0", [write_lora(tmp_path / "both.safetensors", 9, header(told))])
    lineage = registry.manifest("demo/both").lineage
    assert lineage is not None
    assert (lineage.op, lineage.recipe["options"]) == ("merge", {"method": "sum"})
    assert [(each.reference, each.manifest, each.weight) for each in lineage.parents] == [
        ("demo/cat@1.0.0", registry.resolve("demo/cat").digest, 0.7),
        ("demo/style@1.0.0", registry.resolve("demo/style").digest, 0.5),
    ]


def test_a_conversion_names_what_it_was_converted_from(published: Registry, tmp_path: Path) -> None:
    convert(lorry.open("demo/cat"), tmp_path / "cat-d.safetensors", "diffusers")
    published.publish("demo/cat-d@1.0.0", [tmp_path / "cat-d.safetensors"])
    lineage = published.manifest("demo/cat-d").lineage
    assert lineage is not None
    assert (lineage.op, [each.reference for each in lineage.parents]) == ("convert", ["demo/cat@1.0.0"])


def test_an_input_from_elsewhere_keeps_its_hash_and_name(registry: Registry, tmp_path: Path) -> None:
    convert(lorry.open(write_lora(tmp_path / "cat.safetensors")), tmp_path / "d.safetensors", "diffusers")
    registry.publish("demo/d@1.0.0", [tmp_path / "d.safetensors"])
    lineage = registry.manifest("demo/d").lineage
    assert lineage is not None
    (parent,) = lineage.parents
    assert (parent.name, parent.reference, len(parent.sha256 or "")) == ("cat.safetensors", None, 64)


def test_parents_and_a_recipe_can_be_told_by_hand(published: Registry, tmp_path: Path) -> None:
    other = write_lora(tmp_path / "tuned.safetensors", seed=3)
    recipe = json.dumps({"op": "train", "steps": 100, "rate": 1e-4})
    published.publish("demo/tuned@1.0.0", [other], parents=["demo/cat"], recipe=recipe)
    lineage = published.manifest("demo/tuned").lineage
    assert lineage is not None
    assert (lineage.op, lineage.recipe["rate"]) == ("train", 1e-4)
    assert [(each.reference, each.role) for each in lineage.parents] == [("demo/cat@1.0.0", "named")]


@pytest.mark.parametrize(
    "recipe", ["", "[]", "{}", '{"op": 3}', '{"op": "merge", "inputs": [{"sha256": "../x"}]}', '{"op": "x", "a": NaN}']
)
def test_a_recipe_that_is_none_is_refused(registry: Registry, tmp_path: Path, recipe: str) -> None:
    lora = write_lora(tmp_path / "cat.safetensors", metadata={"lorry.recipe": recipe})
    with pytest.raises(LorryError):
        registry.publish("demo/cat@1.0.0", [lora])
    assert registry.ls() == []


def test_two_recipes_are_one_too_many(registry: Registry, tmp_path: Path) -> None:
    lora = write_lora(tmp_path / "cat.safetensors", metadata={"lorry.recipe": '{"op": "merge"}'})
    with pytest.raises(InvalidArgument, match="its own recipe"):
        registry.publish("demo/cat@1.0.0", [lora], recipe='{"op": "train"}')


def empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def picture(path: Path) -> Path:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    return path


def truncated(path: Path) -> Path:
    write_lora(path)
    path.write_bytes(path.read_bytes()[:-7])
    return path


def unknown_keys(path: Path) -> Path:
    write_lora(path)
    path.write_bytes(path.read_bytes().replace(b"lora_unet_", b"what_unet_"))
    return path


def pickled(path: Path) -> Path:
    path.write_bytes(pickle.dumps(print))
    return path


def pipe(path: Path) -> Path:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (empty, VerificationFailed),
        (picture, VerificationFailed),
        (truncated, VerificationFailed),
        (unknown_keys, VerificationFailed),
        (pickled, VerificationFailed),
        (pipe, InvalidFile),
        (lambda path: path, NotFound),
    ],
)
def test_what_is_no_adapter_is_not_published(
    registry: Registry, tmp_path: Path, make: Callable[[Path], Path], error: type[LorryError]
) -> None:
    path = make(tmp_path / "cat.safetensors")
    with pytest.raises(error, match=r"cat\.safetensors") as caught:
        registry.publish("demo/cat@1.0.0", [path])
    assert str(registry.store.layout.drafts) not in str(caught.value)
    assert registry.ls() == []


def test_a_sound_pickle_is_read_but_never_published(registry: Registry, tmp_path: Path) -> None:
    tensors = {f"{STEM}.lora_down.weight": torch.ones(2, 16), f"{STEM}.lora_up.weight": torch.ones(16, 2)}
    torch.save(tensors, tmp_path / "cat.ckpt")
    assert lorry.open(tmp_path / "cat.ckpt").kinds == ("lora",)
    with pytest.raises(InvalidFile, match=r"is a pickle.*lorry convert cat\.ckpt"):
        registry.publish("demo/cat@1.0.0", [tmp_path / "cat.ckpt"])


def test_two_files_of_one_name_are_refused(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    files = [write_lora(tmp_path / "cat.safetensors"), write_lora(tmp_path / "a" / "CAT.safetensors")]
    with pytest.raises(InvalidArgument, match="would both be named"):
        registry.publish("demo/cat@1.0.0", files)


def test_links_in_a_folder_are_not_followed(registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    write_lora(folder / "cat.safetensors")
    (tmp_path / "secret").write_text("key")
    try:
        (folder / "notes.txt").symlink_to(tmp_path / "secret")
    except OSError:
        pytest.skip("no symbolic links here")
    with pytest.raises(InvalidFile, match=r"notes\.txt is a link"):
        registry.publish("demo/cat@1.0.0", [folder])


def test_only_an_exact_version_can_be_published(registry: Registry, lora: Path) -> None:
    for reference in ("demo/cat@1", "demo/cat@^1", "demo/cat@latest"):
        with pytest.raises(InvalidArgument, match="does not name a version"):
            registry.publish(reference, [lora])


@pytest.mark.parametrize(
    ("order", "latest"),
    [
        (["1.0.0", "1.1.0"], "1.1.0"),
        (["1.1.0", "1.0.1"], "1.1.0"),
        (["1.9.0", "1.10.0"], "1.10.0"),
        (["1.0.0", "2.0.0-rc.1"], "1.0.0"),
    ],
)
def test_latest_is_the_highest_stable_version(registry: Registry, lora: Path, order: list[str], latest: str) -> None:
    for version in order:
        registry.publish(f"demo/cat@{version}", [lora])
    assert registry.aliases("demo/cat") == {"latest": Version.parse(latest)}
    assert registry.resolve("demo/cat").reference.exact() == Version.parse(latest)


def test_a_pre_release_alone_is_not_what_a_bare_name_means(registry: Registry, lora: Path) -> None:
    registry.publish("demo/cat@1.0.0-rc.1", [lora])
    with pytest.raises(NotFound, match=r"no stable version yet; name one of 1\.0\.0-rc\.1"):
        registry.resolve("demo/cat")
    assert registry.resolve("demo/cat@1.0.0-rc.1")


def test_what_a_card_lacks_is_as_in_the_version_below(published: Registry, tmp_path: Path) -> None:
    told = Card(title="A cat", license="cc0-1.0", authors=("Ann",), tags=("animal",), trigger_words=("ct",))
    published.publish("demo/cat@1.1.0", [write_lora(tmp_path / "b.safetensors", seed=1)], card=told)
    published.publish("demo/cat@3.0.0", [write_lora(tmp_path / "c.safetensors", seed=2)], card=Card(title="Cat 3"))
    with published.draft("demo/cat@2.0.0", [write_lora(tmp_path / "d.safetensors", seed=3)]) as draft:
        found = draft.manifest.id
        assert draft.kept == "title, license, authors, tags, trigger words as in demo/cat@1.1.0"
        assert draft.manifest.adapter.trigger_words == ("ct",)
    assert (found.title, found.license, found.authors, found.tags) == ("A cat", "CC0-1.0", ("Ann",), ("animal",))
    latest = published.manifest("demo/cat@3.0.0")
    assert (latest.id.title, latest.id.license, latest.adapter.trigger_words) == ("Cat 3", "CC0-1.0", ("ct",))


def test_the_same_files_without_the_card_are_the_same_version(registry: Registry, lora: Path) -> None:
    first = registry.publish("demo/cat@1.0.0", [lora], card=Card(title="A cat", trigger_words=("ct",)))
    assert registry.publish("demo/cat@1.0.0", [lora]) == registry.publish("demo/cat", [lora]) == first


def test_the_command_tells_what_the_card_has_from_below(lora: Path, tmp_path: Path) -> None:
    lines = ["publish", "demo/cat", str(lora), "--title", "A cat", "-y"]
    assert CliRunner().invoke(cli, lines).exit_code == 0
    other = str(write_lora(tmp_path / "b.safetensors", seed=1))
    assert "title as in demo/cat@1.0.0" in CliRunner().invoke(cli, ["publish", "demo/cat", other, "-y"]).stderr


@pytest.mark.parametrize(
    ("text", "kept"),
    [("mit", "MIT"), ("MIT or apache-2.0", "MIT OR Apache-2.0"), ("LicenseRef-A", "LicenseRef-A"), ("Other", "other")],
)
def test_a_licence_is_spelt_as_spdx_does(registry: Registry, lora: Path, text: str, kept: str) -> None:
    registry.publish("demo/cat@1.0.0", [lora], card=Card(license=text))
    assert registry.manifest("demo/cat").id.license == kept


def test_a_licence_that_spdx_does_not_know_is_refused(registry: Registry, lora: Path) -> None:
    with pytest.raises(InvalidArgument, match="'open rail' is no licence that SPDX knows .* LicenseRef-open-rail, or"):
        registry.publish("demo/cat@1.0.0", [lora], card=Card(license="open rail"))
    assert registry.ls() == []


@pytest.mark.parametrize(
    ("of", "step", "stands"), [(Records, "commit", 1), (Log, "add_publish", 1), (Records, "digest", 0)]
)
def test_who_interrupts_a_publish_too_late_is_told_that_it_stands(
    registry: Registry, lora: Path, monkeypatch: pytest.MonkeyPatch, of: type, step: str, stands: int
) -> None:
    real = getattr(of, step)

    def interrupted(*arguments: object) -> None:
        monkeypatch.undo()
        real(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(of, step, interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        registry.publish("demo/cat@1.0.0", [lora])
    told = getattr(caught.value, "__notes__", [])
    assert [note for note in told if "demo/cat@1.0.0 is published" in note] == told
    assert len(told) == stands
    assert len(list(registry.ls())) == stands


def test_nothing_of_a_folder_is_published_where_not_all_can_be_seen(
    registry: Registry, lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root nothing is closed, so the system's answer is given in its place."""
    folder, scan = tmp_path / "folder", os.scandir
    (folder / "closed").mkdir(parents=True)
    (folder / lora.name).write_bytes(lora.read_bytes())

    def scandir(path: str | Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(LorryError, match="closed cannot be looked into: Permission denied; mend that"):
        registry.publish("demo/cat@1.0.0", [folder])
    assert registry.ls() == []
