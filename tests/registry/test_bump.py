"""A version says how far it is from the one below it, and lorry holds it to that."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import lorry
from lorry.cli import cli
from lorry.errors import Conflict, LorryError, LorryWarning, VerificationFailed
from lorry_registry import Card, Registry
from lorry_registry.publishing.bump import bump

from .helpers import STEM, write_lora

Change = Callable[[Path, Path], Path]


def weights(out: Path, seed: int, stem: str = STEM, metadata: Mapping[str, str] | None = None) -> Path:
    (out / "cat.safetensors").unlink(missing_ok=True)
    return write_lora(out / "cat.safetensors", seed, metadata, stem)


def same_weights(_: Path, out: Path) -> Path:
    return weights(out, 0, metadata={"ss_comment": "mended"})


def other_weights(_: Path, out: Path) -> Path:
    return weights(out, 7)


def other_format(lora: Path, out: Path) -> Path:
    (out / "cat.safetensors").unlink(missing_ok=True)
    lorry.convert(lorry.open(lora), out / "cat.safetensors", "diffusers")
    return out / "cat.safetensors"


def other_modules(_: Path, out: Path) -> Path:
    return weights(out, 0, stem="lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q")


CHANGES = [
    (same_weights, "patch", "1.0.1", "other metadata"),
    (other_weights, "minor", "1.1.0", "other weights"),
    (other_format, "major", "2.0.0", "format: diffusers"),
    (other_modules, "major", "2.0.0", "it changes other modules"),
]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize(("change", "size", "fits", "what"), CHANGES, ids=[each[1] + each[3] for each in CHANGES])
def test_the_smallest_bump_that_fits_is_taken_and_a_smaller_one_refused(
    change: Change, size: str, fits: str, what: str, published: Registry, lora: Path, out: Path
) -> None:
    file = change(lora, out)
    for version in ("1.0.1", "1.1.0", "2.0.0"):
        if version == fits:
            break
        with pytest.raises(Conflict, match=rf"too small a bump from 1\.0\.0: .*{what}.*{size}.*demo/cat@{fits}"):
            published.publish(f"demo/cat@{version}", [file])
    assert str(published.publish("demo/cat", [file]).reference) == f"demo/cat@{fits}"


def test_a_larger_bump_is_anybodys_choice(published: Registry, lora: Path, out: Path) -> None:
    assert published.publish("demo/cat@3.0.0", [same_weights(lora, out)])


def test_the_first_version_is_1_0_0(registry: Registry, lora: Path) -> None:
    assert str(registry.publish("demo/cat", [lora]).reference) == "demo/cat@1.0.0"


def test_the_same_again_is_the_version_that_is_there(published: Registry, lora: Path) -> None:
    assert published.publish("demo/cat", [lora]) == published.resolve("demo/cat@1.0.0")
    assert len(published.versions("demo/cat")) == 1


def test_below_1_0_0_the_second_number_is_what_the_first_is_later(registry: Registry, lora: Path, out: Path) -> None:
    registry.publish("demo/cat@0.2.0", [lora])
    with pytest.raises(Conflict, match=r"demo/cat@0\.3\.0"):
        registry.publish("demo/cat@0.2.1", [other_format(lora, out)])
    assert registry.publish("demo/cat@0.3.0", [other_format(lora, out)])


def test_it_is_force_that_publishes_a_smaller_bump(published: Registry, lora: Path, out: Path) -> None:
    assert published.publish("demo/cat@1.0.1", [other_weights(lora, out)], force_bump=True)


def test_pre_releases_promise_nothing(published: Registry, lora: Path, out: Path) -> None:
    assert published.publish("demo/cat@1.0.1-rc.1", [other_weights(lora, out)])
    assert published.publish("demo/cat@1.0.1-rc.2", [other_format(lora, out)])
    assert str(published.publish("demo/cat", [other_weights(lora, out)]).reference) == "demo/cat@1.1.0"


def test_what_a_yanked_version_promised_still_holds(published: Registry, lora: Path, out: Path) -> None:
    published.publish("demo/cat@1.1.0", [other_weights(lora, out)])
    published.yank("demo/cat@1.1.0")
    assert str(published.publish("demo/cat", [weights(out, 8)]).reference) == "demo/cat@1.2.0"
    with pytest.raises(Conflict, match=r"too small a bump from 1\.1\.0.*demo/cat@1\.3\.0"):
        published.publish("demo/cat@1.1.1", [weights(out, 9)])


def test_yanking_all_versions_does_not_make_a_large_change_small(published: Registry, lora: Path, out: Path) -> None:
    published.yank("demo/cat@1.0.0")
    with pytest.raises(Conflict, match="format: diffusers"):
        published.publish("demo/cat@1.0.1", [other_format(lora, out)])
    assert str(published.publish("demo/cat", [other_format(lora, out)]).reference) == "demo/cat@2.0.0"


def test_the_same_again_is_a_new_version_where_it_was_yanked(published: Registry, lora: Path) -> None:
    published.yank("demo/cat@1.0.0")
    assert str(published.publish("demo/cat", [lora]).reference) == "demo/cat@1.0.1"


def test_a_version_that_cannot_be_read_is_passed_over_aloud(published: Registry, lora: Path, out: Path) -> None:
    found = published.publish("demo/cat@1.1.0", [other_weights(lora, out)])
    manifest = published.store.blobs.path(found.digest)
    manifest.chmod(0o644)
    manifest.write_bytes(b"?")
    with pytest.warns(LorryWarning, match=r"demo/cat@1\.1\.0.*what changed is told from the version below"):
        assert str(published.publish("demo/cat", [weights(out, 8)]).reference) == "demo/cat@1.2.0"


@pytest.mark.parametrize(("change", "fits"), [(same_weights, r"1\.1\.1"), (other_format, r"2\.0\.0")])
def test_where_a_version_is_taken_the_one_that_would_be_chosen_is_named(
    change: Change, fits: str, published: Registry, lora: Path, out: Path
) -> None:
    published.publish("demo/cat@1.0.1", [lora], card=Card(title="Cat"))
    published.publish("demo/cat@1.1.0", [lora], card=Card(title="A cat"))
    file = change(lora, out)
    with pytest.raises(Conflict, match=rf"publish this as demo/cat@{fits}"):
        published.publish("demo/cat@1.0.0", [file])
    with pytest.raises(Conflict, match=r"this is demo/cat@1\.1\.0, which is there already"):
        published.publish("demo/cat@1.0.1", [lora], card=Card(title="A cat"))


def test_an_older_line_goes_on_beside_a_newer_one(published: Registry, lora: Path, out: Path) -> None:
    published.publish("demo/cat@1.1.0", [other_weights(lora, out)])
    published.publish("demo/cat@2.0.0", [other_format(lora, out)])
    with pytest.raises(Conflict, match=r"from 1\.0\.0.*demo/cat@1\.2\.0"):
        published.publish("demo/cat@1.0.1", [weights(out, 9)])
    assert published.publish("demo/cat@1.0.1", [same_weights(lora, out)])


def test_a_configuration_is_part_of_the_weights(published: Registry, lora: Path, out: Path) -> None:
    before = published.manifest("demo/cat")
    (out / "notes.json").write_text("{}")
    published.publish("demo/cat@1.1.0", [lora, out / "notes.json"])
    assert bump(before, published.manifest("demo/cat")).size == "minor"
    published.publish("demo/cat@1.1.1", [lora, out / "notes.json"], card=Card(title="Cat"))


def test_what_validate_rejects_is_not_published(registry: Registry, lora: Path) -> None:
    data = bytearray(lora.read_bytes())
    data[-4:] = struct.pack("<f", float("nan"))
    lora.write_bytes(data)
    with pytest.raises(VerificationFailed, match=r"demo/cat@1\.0\.0 is not let in: .*NaN"):
        registry.publish("demo/cat@1.0.0", [lora])
    assert registry.ls() == []


def test_the_command_chooses_refuses_and_is_forced(published: Registry, lora: Path, out: Path) -> None:
    def told(*arguments: str | Path) -> Any:
        result = CliRunner().invoke(cli, ["publish", *map(str, arguments), "--json"])
        if isinstance(result.exception, LorryError):
            return result.exception.exit_code
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    file = other_weights(lora, out)
    assert told("demo/cat", file, "--dry-run")["reference"] == "demo/cat@1.1.0"
    assert told("demo/cat@1.0.1", file) == 4
    assert told("demo/cat@1.0.1", file, "--force-bump")["new"] is True
    assert [str(each) for each in published.versions("demo/cat")] == ["1.0.0", "1.0.1"]
