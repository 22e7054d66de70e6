"""Adding other people's adapters: what gets in, what waits, what never does, and what is recorded of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from lorry.cli import cli
from lorry.errors import Conflict, LorryError, NotFound, UnknownName, VerificationFailed
from lorry.ops.writing.style import RECIPE_KEY
from lorry_plugins.formats.cloneofsimo import order
from lorry_registry import Registry
from lorry_registry.adding.naming import named
from tests.attacks.attack import MARKER, Call, adapter, dumps, in_zip

from .helpers import STEM, write_lora

WARNED = {"ss_base_model_version": "sdxl_base_v1-0", "sshs_model_hash": "0" * 64}
"""A header with a hash that is not that of the tensors."""


def lorry(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def code_of(result: Result) -> int:
    """Return the exit code that the command line gives."""
    return result.exception.exit_code if isinstance(result.exception, LorryError) else result.exit_code


def added(*arguments: str | Path, code: int = 0) -> list[dict[str, Any]]:
    result = lorry("add", *arguments, "--json")
    assert code_of(result) == code, result.output
    told: list[dict[str, Any]] = json.loads(result.stdout)
    return told


def test_a_file_goes_in_under_its_own_name_and_tells_where_it_came_from(registry: Registry, tmp_path: Path) -> None:
    cat = write_lora(tmp_path / "Cat Style (v2).safetensors", metadata={RECIPE_KEY: '{"op": "merge", "inputs": []}'})
    cat.with_suffix(".json").write_text('{"activation text": "sks cat"}')
    cat.with_suffix(".png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (told,) = added(cat)
    assert (told["outcome"], told["reference"]) == ("added", "foreign/cat-style-v2@1.0.0")
    manifest = registry.manifest(told["reference"])
    assert manifest.adapter.trigger_words == ("sks cat",)
    assert [file.role for file in manifest.files] == ["preview", "weights"]
    assert manifest.lineage
    assert (manifest.lineage.op, manifest.lineage.parents) == ("import", ())
    assert [each["sha256"] for each in manifest.lineage.recipe["files"]] == [each["sha256"] for each in told["files"]]
    assert (registry.home / "blobs" / "sha256" / manifest.files[1].sha256[:2]).is_dir()
    assert cat.exists()


def test_the_same_again_is_no_error_whatever_its_name(registry: Registry, lora: Path, tmp_path: Path) -> None:
    (first,) = added(lora)
    (again,) = added(lora)
    (other,) = added(shutil.copy(lora, tmp_path / "other.safetensors"))
    assert [again["outcome"], other["outcome"]] == ["already here"] * 2
    assert first["reference"] == again["reference"] == other["reference"]
    assert len(registry.ls()) == 1


def test_a_folder_is_added_whole_and_tells_what_was_refused(registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "loras"
    (folder / "deeper").mkdir(parents=True)
    write_lora(folder / "a.safetensors", 1)
    write_lora(folder / "deeper" / "b.safetensors", 2)
    (folder / "bad.safetensors").write_bytes(b"no header at all")
    (folder / "notes.txt").write_text("nothing to see")
    result = lorry("add", folder)
    assert code_of(result) == 8
    lines = [line.split()[0] for line in result.stdout.splitlines()[1:]]
    assert lines == ["added", "refused", "added"]
    assert [str(each.reference) for each in registry.ls()] == ["foreign/a@1.0.0", "foreign/b@1.0.0"]
    assert not list(registry.quarantine.ls())  # what is refused here stays where it is, and there alone


def test_files_that_are_one_adapter_by_their_names_come_as_one(registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "loras"
    folder.mkdir()
    unet = load_file(write_lora(tmp_path / "a.safetensors"))
    keys = list(unet)
    for at, part in enumerate((keys[:1], keys[1:]), 1):
        save_file({key: unet[key] for key in part}, folder / f"cat-{at:05}-of-00002.safetensors")
    (outcome,) = registry.add([folder])
    assert outcome.outcome == "added", outcome.why
    assert len(registry.manifest(outcome.reference).files) == 2


def test_names_that_every_tool_gives_are_not_taken(tmp_path: Path) -> None:
    for at, name in enumerate(("ink cat", "dog")):
        (tmp_path / "hub" / name).mkdir(parents=True)
        write_lora(tmp_path / "hub" / name / "pytorch_lora_weights.safetensors", at)
    assert [each["reference"] for each in added(tmp_path / "hub")] == ["foreign/dog@1.0.0", "foreign/ink-cat@1.0.0"]


def test_the_pickles_of_one_training_become_files_that_belong_together(registry: Registry, tmp_path: Path) -> None:
    """What cloneofsimo's trainer writes: lists for the U-Net and for the text encoder, and a learned token."""
    names = order.unet(order.Targets(attention=True, geglu=True, resnets=False), new=False)
    unet = [torch.ones(64 if name.endswith(order.GEGLU) else 8, 1) for name in names]
    folder = tmp_path / "loras"
    folder.mkdir()
    torch.save([half for up in unet for half in (up, torch.ones(1, 8))], folder / "a.b.pt")
    torch.save(
        [half for _ in range(8) for half in (torch.ones(32, 1), torch.ones(1, 32))], folder / "a.b.text_encoder.pt"
    )
    torch.save({"<s1>": torch.randn(32)}, folder / "a.b.ti.pt")
    (told,) = added(folder)
    manifest = registry.manifest(told["reference"])
    assert {Path(file.path).suffix for file in manifest.files} == {".safetensors"}
    assert (manifest.adapter.layers, manifest.adapter.tokens) == (144 + 8, ("<s1>",))


def test_a_pickle_becomes_a_safetensors_file_and_is_never_published(registry: Registry, tmp_path: Path) -> None:
    lora = load_file(write_lora(tmp_path / "a.safetensors"))
    pickled = tmp_path / "ink.pt"
    torch.save(lora, pickled)
    torch.save({"string_to_param": {"*": torch.ones(2, 768)}, "name": "x"}, tmp_path / "sks.pt")
    (told, token) = added(pickled, tmp_path / "sks.pt")
    for each in (told, token):
        assert [file.path for file in registry.manifest(each["reference"]).files] == [
            Path(each["source"]).with_suffix(".safetensors").name
        ]
    (pulled,) = registry.pull(told["reference"], tmp_path / "out")
    assert {key: value.tolist() for key, value in load_file(pulled).items()} == {
        key: value.tolist() for key, value in lora.items()
    }
    assert registry.manifest(token["reference"]).adapter.tokens == ("sks",)
    recorded = registry.manifest(told["reference"]).lineage
    assert recorded
    assert recorded.recipe["files"][0]["name"] == "ink.pt"


def test_a_program_never_runs_and_never_gets_in(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pt").write_bytes(in_zip(dumps(Call(eval, f"open({MARKER!r}, 'w')"))))
    result = lorry("add", "a.pt")
    assert isinstance(result.exception, VerificationFailed)
    assert "eval" in str(result.exception)
    assert not Path(MARKER).exists()
    assert not registry.ls()


def test_what_is_warned_of_waits_until_it_is_accepted(registry: Registry, tmp_path: Path) -> None:
    (told,) = added(write_lora(tmp_path / "a.safetensors", metadata=WARNED), code=8)
    assert (told["outcome"], told["verdict"]) == ("waits", "warn")
    assert not registry.ls()
    (held,) = json.loads(lorry("quarantine", "ls", "--json").stdout)
    assert (held["id"], held["wanted"]) == (told["quarantine"], "foreign/a@1.0.0")
    assert held["source"] == str(tmp_path / "a.safetensors")
    shown = lorry("quarantine", "show", held["id"])
    assert "sshs_model_hash" in shown.stdout
    accepted = json.loads(lorry("quarantine", "accept", held["id"][:4], "demo/a@2.0.0", "--json").stdout)
    assert accepted["reference"] == "demo/a@2.0.0"
    assert registry.verify("demo/a@2.0.0").lineage
    assert not list(registry.quarantine.ls())


def test_yes_lets_in_what_is_warned_of(tmp_path: Path) -> None:
    (told,) = added(write_lora(tmp_path / "a.safetensors", metadata=WARNED), "--yes")
    assert (told["outcome"], told["why"] != "") == ("added", True)


def test_what_is_let_in_later_no_longer_waits(registry: Registry, tmp_path: Path) -> None:
    file = write_lora(tmp_path / "a.safetensors", metadata=WARNED)
    added(file, code=8)
    added(file, "--yes")
    assert not list(registry.quarantine.ls())


@pytest.mark.parametrize("damage", [b"?", b"[]", None])
def test_one_damaged_entry_hides_no_other_and_can_be_removed(
    registry: Registry, home: Path, tmp_path: Path, damage: bytes | None
) -> None:
    for seed, name in enumerate(("a", "b")):
        added(write_lora(tmp_path / f"{name}.safetensors", seed, WARNED), code=8)
    one, other = (each.id for each in registry.quarantine.ls())
    about = home / "quarantine" / one / "about.json"
    about.unlink() if damage is None else about.write_bytes(damage)
    listed = json.loads(lorry("quarantine", "ls", "--json").stdout)
    assert [(each["id"], each["verdict"]) for each in listed] == [(one, "damaged"), (other, "warn")]
    assert f"lorry quarantine rm {one}" in listed[0]["worst"]
    assert lorry("quarantine", "ls").exit_code == 0
    assert lorry("quarantine", "rm", one).exit_code == 0
    assert [each.id for each in registry.quarantine.ls()] == [other]


def test_a_name_that_another_adapter_has_is_given_by_a_person(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    added(write_lora(tmp_path / "one" / "cat.safetensors", 1))
    (told,) = added(write_lora(tmp_path / "two" / "cat.safetensors", 2), code=8)
    assert told["outcome"] == "waits"
    with pytest.raises(Conflict, match="exists with other content"):
        registry.accept(told["quarantine"])
    assert str(registry.accept(told["quarantine"], "foreign/cat-two@1.0.0").reference) == "foreign/cat-two@1.0.0"


def test_what_became_bad_in_quarantine_is_not_let_in(registry: Registry, tmp_path: Path) -> None:
    (told,) = added(write_lora(tmp_path / "a.safetensors", metadata=WARNED), code=8)
    (file,) = registry.quarantine.get(told["quarantine"]).files
    file.chmod(0o644)
    file.write_bytes(adapter({f"{STEM}.lora_down.weight": ((2, 16), float("nan")),
                              f"{STEM}.lora_up.weight": ((16, 2), 1.0)}))  # fmt: skip
    with pytest.raises(VerificationFailed, match="never let in"):
        registry.accept(told["quarantine"])
    assert not registry.ls()


def test_removing_from_quarantine(registry: Registry, tmp_path: Path) -> None:
    (told,) = added(write_lora(tmp_path / "a.safetensors", metadata=WARNED), code=8)
    assert lorry("quarantine", "rm", told["quarantine"]).exit_code == 0
    with pytest.raises(NotFound):
        registry.quarantine.get(told["quarantine"])


def test_a_reference_at_the_end_makes_one_version_of_all_sources(registry: Registry, tmp_path: Path) -> None:
    lora = write_lora(tmp_path / "a.safetensors")
    (tmp_path / "card.md").write_text("# A cat")
    (told,) = added(lora, tmp_path / "card.md", "demo/cat@1.2.0")
    assert told["reference"] == "demo/cat@1.2.0"
    assert len(registry.manifest("demo/cat@1.2.0").files) == 2


def test_a_stranger_among_the_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.exe").write_bytes(b"MZ")
    (tmp_path / "a.png").write_bytes(b"<script>")
    lora = write_lora(tmp_path / "a.safetensors")
    assert lorry("add", lora, tmp_path / "run.exe", "demo/cat@1.0.0").exit_code != 0
    assert "is not the picture" in str(lorry("add", lora, tmp_path / "a.png", "demo/cat@1.0.0").exception)


def test_what_is_no_source_says_so(tmp_path: Path) -> None:
    for source, error in (("gopher://x/y", UnknownName), (str(tmp_path / "none.safetensors"), NotFound)):
        assert type(lorry("add", source).exception) is error


def test_a_folder_without_an_adapter_says_so(registry: Registry, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    result = lorry("add", write_lora(tmp_path / "cat.safetensors"), empty)
    assert isinstance(result.exception, NotFound)
    assert f"{empty} holds no adapter" in str(result.exception)
    assert not list(registry.ls())


@pytest.mark.parametrize(
    ("title", "reference"),
    [
        ("Cat Style (v2).safetensors", "foreign/cat-style-v2@1.0.0"),
        ("Ünï — cödé", "foreign/uni-code@1.0.0"),
        ("../../etc/passwd", "foreign/etc-passwd@1.0.0"),
        ("con", "foreign/adapter-0123456789ab@1.0.0"),
        ("日本", "foreign/adapter-0123456789ab@1.0.0"),
        ("a--b...c" + "x" * 100, "foreign/a-b.c" + "x" * 59 + "@1.0.0"),
    ],
)
def test_names(title: str, reference: str) -> None:
    assert str(named("foreign", title, "0123456789abcdef" * 4)) == reference
