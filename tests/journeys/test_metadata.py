"""Headers are shown, set and mended; the tensors and the hash they are known by stay what they were."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors import safe_open
from safetensors.torch import save_file

import lorry
from lorry.cli import cli
from lorry.errors import Conflict, InvalidArgument, InvalidFile, NotFound
from lorry.ops.disk.hashes import hash_file
from lorry.ops.headers.metadata import edit, fixes, read_metadata
from tests.support.files import kohya, peft, write

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
FLUX = "transformer.transformer_blocks.0.attn.to_q"


def lora(tmp_path: Path, metadata: dict[str, str] | None = None) -> Path:
    """Write a LoRA for Stable Diffusion 1."""
    return write(tmp_path / "cat.safetensors", kohya(width=768, stem=KEY, alpha=1.0), metadata)


KEY = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"


def flux(tmp_path: Path, metadata: dict[str, str] | None = None) -> Path:
    return write(tmp_path / "cat.safetensors", peft(FLUX, rows=3072, width=3072), metadata)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [*map(str, arguments)])


def shown(*arguments: str | Path) -> Any:
    found = run(*arguments, "--json")
    assert found.exception is None, found.output
    return json.loads(found.stdout)


def body(path: Path) -> bytes:
    data = path.read_bytes()
    return data[8 + int.from_bytes(data[:8], "little") :]


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def header(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata() or {}


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"ss_v2": "False", 'é"': "\n\x1b[2J"}])
def test_only_the_header_changes(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = lora(tmp_path, metadata)
    before, tensors = hash_file(path), body(path)
    output = tmp_path / "new.safetensors"
    assert run("metadata", "set", path, "modelspec.title=A cat = mine", "x=", "-o", output).exit_code == 0
    assert header(output) == {**(metadata or {}), "modelspec.title": "A cat = mine", "x": ""}
    assert body(output) == tensors
    assert hash_file(output).autov3 == before.autov3
    assert hash_file(path) == before
    assert lorry.open(output).layers.keys() == lorry.open(path).layers.keys()


def test_setting_and_removing_gives_the_file_back(tmp_path: Path) -> None:
    path = lora(tmp_path, {"a": "1"})
    before = path.read_bytes()
    assert run("metadata", "set", path, "b=2", "--in-place").exit_code == 0
    assert path.read_bytes() != before
    told = shown("metadata", "set", path, "--remove", "b", "--in-place")
    assert told == {"changes": {"b": None}, "triggers": [], "written": [str(path)]}
    assert path.read_bytes() == before


def test_a_file_without_tensors_or_with_empty_ones_can_be_edited(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(0, 4), "b": torch.ones(2)}, tmp_path / "empty.safetensors")
    edit(tmp_path / "empty.safetensors", {"x": "1"})
    assert header(tmp_path / "empty.safetensors") == {"x": "1"}


def test_show_prints_entries_in_full_when_they_are_named(tmp_path: Path) -> None:
    path = lora(tmp_path, {"long": "x" * 5000, "short": "\x1b[2J\u202eok"})
    listed = run("metadata", "show", path).stdout
    assert "5,000 characters" in listed
    assert "\x1b" not in listed
    assert "\u202e" not in listed
    assert run("metadata", "show", path, "long").stdout == "x" * 5000 + "\n"
    assert shown("metadata", "show", path) == {"long": "x" * 5000, "short": "\x1b[2J\u202eok"}
    assert run("metadata", "show", path, "none").exit_code != 0


@pytest.mark.parametrize("where", [(), ("-o", "out", "--in-place")], ids=["nowhere", "twice"])
@pytest.mark.parametrize("what", [("set", "a=1"), ("fix",)], ids=["set", "fix"])
def test_nothing_is_written_unless_it_is_said_where(
    tmp_path: Path, what: tuple[str, ...], where: tuple[str, ...]
) -> None:
    path = lora(tmp_path)
    before = path.read_bytes()
    assert run("metadata", what[0], path, *what[1:], *where).exit_code == 2
    assert path.read_bytes() == before
    assert names(tmp_path) == ["cat.safetensors"]


def test_an_output_that_is_there_stays_without_force(tmp_path: Path) -> None:
    path, other = lora(tmp_path), tmp_path / "other.safetensors"
    other.write_bytes(b"mine")
    with pytest.raises(Conflict):
        edit(path, {"a": "1"}, other, words=["ohwx"])
    assert other.read_bytes() == b"mine"
    assert names(tmp_path) == ["cat.safetensors", "other.safetensors"]
    edit(path, {"a": "1"}, other, force=True)
    assert header(other) == {"a": "1"}


@pytest.mark.parametrize(
    "entry",
    [
        {"big": "x" * (9 << 20)},
        {"control\x1b": "1"},
        {"k" * 600: "1"},
        {"half \udc80": "1"},
        {"half": "\udc80"},
        {"number": 5},
        {"list": ["a"]},
        {3: "number"},
        {"object": object()},
    ],
    ids=["huge", "control", "long key", "half key", "half value", "number", "list", "number key", "object"],
)
@pytest.mark.parametrize("output", [None, "out.safetensors"], ids=["in place", "elsewhere"])
def test_what_no_header_can_hold_is_refused_and_nothing_is_changed(
    tmp_path: Path, entry: Any, output: str | None
) -> None:
    path = lora(tmp_path, {"a": "1"})
    before = path.read_bytes()
    with pytest.raises(InvalidArgument):
        edit(path, entry, tmp_path / output if output else None)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["cat.safetensors"]


def test_a_header_that_is_not_text_is_refused(tmp_path: Path) -> None:
    head = b'{"__metadata__":{"a":1}}'
    (tmp_path / "cat.safetensors").write_bytes(len(head).to_bytes(8, "little") + head)
    with pytest.raises(InvalidFile):
        edit(tmp_path / "cat.safetensors", {"a": "1"})


@pytest.mark.parametrize("command", ["set", "fix"])
def test_a_pickle_is_to_be_converted_first(tmp_path: Path, command: str) -> None:
    torch.save(kohya(width=768, stem=KEY), tmp_path / "cat.pt")
    entries = ["a=1"] if command == "set" else []
    found = run("metadata", command, tmp_path / "cat.pt", *entries, "--in-place")
    assert isinstance(found.exception, InvalidFile)
    assert "lorry convert" in str(found.exception)


def test_a_link_is_not_replaced(tmp_path: Path) -> None:
    path = lora(tmp_path)
    (tmp_path / "link.safetensors").symlink_to(path)
    with pytest.raises(InvalidFile, match="link"):
        edit(tmp_path / "link.safetensors", {"a": "1"})
    edit(tmp_path / "link.safetensors", {"a": "1"}, tmp_path / "out.safetensors")
    assert read_metadata(tmp_path / "out.safetensors") == {"a": "1"}


def test_a_published_version_is_read_but_never_written(tmp_path: Path) -> None:
    assert run("publish", "demo/cat@1.0.0", lora(tmp_path, {"a": "1"})).exit_code == 0
    assert shown("metadata", "show", "demo/cat@1.0.0") == {"a": "1"}
    with pytest.raises(InvalidArgument, match="never changes"):
        edit("demo/cat@1.0.0", {"a": "2"})
    edit("demo/cat@1.0.0", {"a": "2"}, tmp_path / "out.safetensors")
    assert header(tmp_path / "out.safetensors") == {"a": "2"}
    with pytest.raises(NotFound):
        edit(tmp_path / "none.safetensors", {})


@pytest.mark.parametrize("mode", [0o640, 0o600])
def test_a_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    path = lora(tmp_path)
    path.chmod(mode)
    edit(path, {"a": "1"})
    assert path.stat().st_mode & 0o777 == mode


def test_fix_mends_what_is_wrong_and_adds_what_is_missing(tmp_path: Path) -> None:
    wrong = {
        "ss_base_model_version": "sd_1.5",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "ss_output_name": "My cat",
        "sshs_model_hash": EMPTY,
        "sshs_legacy_hash": "00000000",
        "keep": "me",
    }
    path = flux(tmp_path, wrong)
    found = hash_file(path)
    assert run("metadata", "fix", path, "--dry-run").exit_code == 0
    assert header(path) == wrong
    table = run("metadata", "fix", path, "--in-place")
    assert table.exit_code == 0
    assert all(word in table.stdout for word in ("before", "after", "sd_1.5", "flux1"))
    assert header(path) == {
        "ss_base_model_version": "flux1",
        "modelspec.architecture": "flux-1/lora",
        "ss_output_name": "My cat",
        "sshs_model_hash": found.autov3,
        "sshs_legacy_hash": "e3b0c442",
        "keep": "me",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.implementation": "diffusers",
        "modelspec.title": "My cat",
        "modelspec.resolution": "1024x1024",
        "modelspec.hash_sha256": f"0x{found.autov3}",
    }
    assert hash_file(path).autov3 == found.autov3
    assert fixes(path) == ()
    before = path.stat().st_mtime_ns
    assert "nothing is wrong" in run("metadata", "fix", path, "--in-place").stdout
    assert path.stat().st_mtime_ns == before


FOR_SD2 = {"ss_training_started_at": "1690000000.25", "ss_training_finished_at": "1690003600.75"}


@pytest.mark.parametrize(
    ("told", "added"),
    [
        ({}, {}),
        (FOR_SD2, {"modelspec.date": "2023-07-22T05:26:40+00:00"}),
        ({"ss_training_started_at": "1690000000.25"}, {"modelspec.date": "2023-07-22T04:26:40+00:00"}),
        ({"ss_training_finished_at": "None", "ss_training_started_at": "nan"}, {}),
        ({"ss_training_finished_at": "1e300"}, {}),
        ({**FOR_SD2, "modelspec.date": "2020"}, {}),
        (
            {"ss_v_parameterization": "True", "ss_resolution": "(768, 512)"},
            {"modelspec.prediction_type": "v", "modelspec.resolution": "768x512"},
        ),
        ({"ss_resolution": "None"}, {}),
    ],
)
def test_fix_adds_what_the_training_tells_and_invents_nothing(
    tmp_path: Path, told: dict[str, str], added: dict[str, str]
) -> None:
    path = write(tmp_path / "cat.safetensors", kohya(width=1024, stem=KEY, alpha=1.0), {"ss_v2": "True", **told})
    before, tensors = hash_file(path), body(path)
    assert run("metadata", "fix", path, "--in-place").exit_code == 0
    assert header(path) == {
        "ss_v2": "True",
        **told,
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-v2/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": "cat",
        "modelspec.hash_sha256": f"0x{before.autov3}",
        **added,
    }
    assert body(path) == tensors
    assert hash_file(path).autov3 == before.autov3
    assert fixes(path) == ()


@pytest.mark.parametrize(
    ("width", "told", "added"),
    [(1024, {}, "True"), (1024, {"ss_v2": "False"}, None), (768, {}, None)],
    ids=["sd2", "told", "sd1"],
)
def test_fix_adds_by_what_tools_know_a_base(
    tmp_path: Path, width: int, told: dict[str, str], added: str | None
) -> None:
    path = write(tmp_path / "cat.safetensors", kohya(width=width, stem=KEY), told)
    assert {each.key: each.after for each in fixes(path)}.get("ss_v2") == added


@pytest.mark.parametrize(
    ("told", "prediction", "trained"),
    [
        ({}, "", ""),
        ({"ss_network_module": "networks.lora_fa"}, "", "networks.lora_fa"),
        ({"ss_network_module": "lycoris.kohya", "ss_network_args": '{"algo": "lokr"}'}, "", "lokr (lycoris.kohya)"),
        ({"ss_network_module": "networks.lora", "ss_network_args": "[" * 9}, "", "networks.lora"),
        ({"ss_v_parameterization": "True"}, "v", ""),
        ({"ss_v_parameterization": "False"}, "epsilon", ""),
        ({"ss_v_parameterization": "False", "modelspec.prediction_type": "v"}, "v", ""),
    ],
)
def test_inspect_tells_what_only_the_header_knows_of_the_training(
    tmp_path: Path, told: dict[str, str], prediction: str, trained: str
) -> None:
    about = shown("inspect", lora(tmp_path, told))
    assert (about["prediction"], about["trained by"]) == (prediction, trained)


@pytest.mark.parametrize(
    ("base", "architecture"),
    [("sd_v1", "stable-diffusion-v1"), ("SD 1.5", "Stable-Diffusion-v1-LoRA"), ("unheard of", "unheard-of/lora")],
)
def test_fix_leaves_claims_that_are_right_or_not_known(tmp_path: Path, base: str, architecture: str) -> None:
    path = lora(tmp_path, {"ss_base_model_version": base, "modelspec.architecture": architecture})
    assert not {each.key for each in fixes(path)} & {"ss_base_model_version", "modelspec.architecture"}


def test_a_hash_in_the_trainers_own_order_of_tensors_is_right(tmp_path: Path) -> None:
    tensors = {**kohya(width=768, stem=KEY), f"{KEY}.alpha": torch.tensor(1.0, dtype=torch.float16)}
    digest = hashlib.sha256(b"".join(tensors[key].numpy().tobytes() for key in sorted(tensors)))
    told = {"modelspec.hash_sha256": f"0x{digest.hexdigest()}"}
    path = write(tmp_path / "cat.safetensors", tensors, told)
    assert digest.hexdigest() != hash_file(path).autov3
    assert "modelspec.hash_sha256" not in {each.key for each in fixes(path)}
    edit(path, {"modelspec.hash_sha256": "0x" + "1" * 64})
    assert "modelspec.hash_sha256" in {each.key for each in fixes(path)}


@pytest.mark.parametrize(
    ("metadata", "line"),
    [
        ({"ss_base_model_version": "sdxl_base_v1-0"}, "the header says sdxl_base_v1-0 (ss_base_model_version), the "),
        ({"modelspec.architecture": "flux-1-dev/lora"}, "the header says flux-1-dev/lora (modelspec.architecture), "),
        ({"ss_base_model_version": "wan2.1"}, "Stable Diffusion 1, which does not go by that name"),
        ({"sshs_model_hash": EMPTY}, "(sshs_model_hash), the tensors say otherwise: that is the hash of no bytes"),
    ],
)
def test_a_wrong_claim_is_shown_as_a_conflict(tmp_path: Path, metadata: dict[str, str], line: str) -> None:
    path = lora(tmp_path, metadata)
    assert line in run("inspect", path).stdout.replace("\n", "")
    (told,) = shown("inspect", path)["conflicts"]
    assert line in told
    checked = run("validate", path)
    assert checked.exit_code == 0
    assert any(key in checked.stdout for key in ("ss_base", "modelspec", "sshs_model"))


@pytest.mark.parametrize("metadata", [None, {"ss_base_model_version": "sd_v1", "sshs_legacy_hash": "e3b0c442"}])
def test_a_true_header_is_in_no_conflict(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    assert shown("inspect", lora(tmp_path, metadata), "--hashes")["conflicts"] == []


def test_inspect_shows_the_hashes_when_asked(tmp_path: Path) -> None:
    path = lora(tmp_path, {"sshs_model_hash": "0" * 64})
    plain = shown("inspect", path)
    assert plain["hashes"] == {}
    assert plain["conflicts"] == []
    asked = shown("inspect", path, "--hashes")
    assert asked["hashes"] == {str(path): hash_file(path).named()}
    assert "sshs_model_hash" in asked["conflicts"][0]
    text = run("inspect", path, "--hashes").stdout
    assert all(digits in text for digits in hash_file(path).named().values())


def test_a_trigger_word_is_written_everywhere_and_found_again(tmp_path: Path) -> None:
    path, output = lora(tmp_path), tmp_path / "new" / "dog.safetensors"
    output.parent.mkdir()
    (tmp_path / "cat.json").write_text('{"notes": "good"}')
    (tmp_path / "README.md").write_text("# A cat\n")
    assert run("metadata", "set", path, "--trigger", "ohwx man", "-o", output).exit_code == 0
    assert header(output)["modelspec.trigger_phrase"] == "ohwx man"
    assert json.loads((output.parent / "dog.json").read_text()) == {"notes": "good", "activation text": "ohwx man"}
    assert (output.parent / "README.md").read_text() == '---\ninstance_prompt: "ohwx man"\n---\n\n# A cat\n'
    assert (tmp_path / "cat.json").read_text() == '{"notes": "good"}'
    places = shown("inspect", output)["triggers"]["ohwx man"]
    assert places == "modelspec.trigger_phrase, dog.json, dog.civitai.info, README.md, ss_tag_frequency"


def test_fix_carries_stated_words_to_all_places(tmp_path: Path) -> None:
    path = lora(tmp_path, {"ss_dataset_dirs": json.dumps({"3_guess": {}})})
    (tmp_path / "cat.civitai.info").write_text(json.dumps({"id": 7, "trainedWords": ["ohwx man"]}))
    done = shown("metadata", "fix", path, "--triggers", "--in-place")
    assert done["triggers"] == ["ohwx man"]
    assert header(path)["modelspec.trigger_phrase"] == "ohwx man"
    assert json.loads((tmp_path / "cat.json").read_text()) == {"activation text": "ohwx man"}
    assert json.loads((tmp_path / "cat.civitai.info").read_text()) == {"id": 7, "trainedWords": ["ohwx man"]}


def test_publishing_records_the_words_of_side_files(tmp_path: Path) -> None:
    path = lora(tmp_path)
    (tmp_path / "cat.civitai.info").write_text(json.dumps({"trainedWords": ["ohwx man"]}))
    assert run("publish", "demo/cat@1.0.0", path, tmp_path / "cat.civitai.info").exit_code == 0
    assert "ohwx man" in run("show", "demo/cat").stdout
