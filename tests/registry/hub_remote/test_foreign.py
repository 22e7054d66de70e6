"""Repositories that lorry did not push to: which files are the adapter, and what is claimed of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from lorry.errors import AccessDenied, InvalidArgument, LorryError, NotFound, UpstreamFailed
from lorry.plugin.fetched import Fetched, Limits
from lorry_registry import Registry
from lorry_registry.adding.add import Wishes
from lorry_registry.remotes.hub.claims import Claims, claims
from lorry_registry.remotes.hub.foreign import fetch
from tests.registry.helpers import write_lora
from tests.support.hub_server import HubServer

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own

CARD = """---
base_model:
- runwayml/stable-diffusion-v1-5
license: other
license_name: cat-licence
instance_prompt: a photo of sks cat
tags: [lora, animal]
widget:
- text: sks cat
  output: {url: pictures/one.png}
---
# Cats
<script>alert(1)</script>
"""


def put(api: HfApi, name: str, files: dict[str, bytes]) -> str:
    """Make a repository with these files; return its address."""
    api.create_repo(name, private=True)
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    api.create_commit(name, operations, commit_message="All of it")
    return f"hf://{name}"


@pytest.fixture
def weights(tmp_path: Path) -> bytes:
    return write_lora(tmp_path / "some.safetensors").read_bytes()


def fetched(address: str, tmp_path: Path, limits: Limits | None = None) -> Fetched:
    into = tmp_path / "into"
    into.mkdir(exist_ok=True)
    return fetch(address, into, limits or Limits())


def test_the_one_file_comes_with_its_card_and_pictures(api: HfApi, weights: bytes, tmp_path: Path) -> None:
    picture = b"\x89PNG\r\n\x1a\n" + bytes(100)
    place = put(
        api,
        "alice/cat-lora",
        {
            "README.md": CARD.encode(),
            "cat.safetensors": weights,
            "cat.json": json.dumps({"activation text": "sks cat"}).encode(),
            "cat.civitai.info": json.dumps({"trainedWords": ["fluffy"]}).encode(),
            "checkpoint-5/cat.safetensors": weights[:-4] + b"1234",
            "pictures/one.png": picture,
            "other.png": picture,
        },
    )
    got = fetched(place, tmp_path)
    assert {path.name: path.read_bytes() for path in got.files} == {"cat.safetensors": weights, "one.png": picture}
    facts = got.facts
    commit = api.model_info("alice/cat-lora").sha
    assert facts.source == f"hf://alice/cat-lora@{commit}#cat.safetensors"
    assert (facts.title, facts.authors, facts.license) == ("cat-lora", ("alice",), "cat-licence")
    assert (facts.base, facts.tags) == ("runwayml/stable-diffusion-v1-5", ("lora", "animal"))
    assert set(facts.trigger_words) == {"sks cat", "fluffy", "a photo of sks cat"}
    assert set(facts.hashes["cat.safetensors"]) == {"SHA256"}


def test_it_goes_into_the_registry(api: HfApi, weights: bytes, registry: Registry) -> None:
    place = put(api, "alice/cat-lora", {"README.md": CARD.encode(), "cat.safetensors": weights})
    (outcome,) = registry.add([place], wishes=Wishes())
    assert outcome.reference == "foreign/cat-lora@1.0.0"
    manifest = registry.manifest(outcome.reference)
    assert manifest.id.license == "cat-licence"
    assert manifest.lineage
    assert manifest.lineage.op == "import"
    assert "hf://alice/cat-lora@" in json.dumps(manifest.lineage.recipe)
    assert "hf_alice" not in manifest.to_bytes().decode()


def test_of_several_files_one_must_be_named(api: HfApi, weights: bytes, tmp_path: Path) -> None:
    place = put(api, "alice/two", {"a.safetensors": weights, "b.safetensors": weights, "sub/c.safetensors": weights})
    with pytest.raises(InvalidArgument, match=r"3 files of weights: a\.safetensors, b.*name one: hf://alice/two#a"):
        fetched(place, tmp_path)
    assert [path.name for path in fetched(f"{place}#sub/c.safetensors", tmp_path).files] == ["c.safetensors"]
    both = fetched(f"{place}@main#a.safetensors+b.safetensors", tmp_path)
    assert [path.name for path in both.files] == ["a.safetensors", "b.safetensors"]
    with pytest.raises(NotFound, match=r"has no file 'd\.safetensors'; it has a\.safetensors"):
        fetched(f"{place}#d.safetensors", tmp_path)


def test_settings_beside_the_weights_come_along(api: HfApi, weights: bytes, tmp_path: Path) -> None:
    files = {"x/adapter_model.safetensors": weights, "x/adapter_config.json": b"{}", "adapter_config.json": b"[]"}
    got = fetched(put(api, "alice/peft", files), tmp_path)
    assert {path.name: path.read_bytes() for path in got.files} == {
        "adapter_model.safetensors": weights,
        "adapter_config.json": b"{}",
    }


def test_pickles_count_where_there_is_nothing_else(api: HfApi, weights: bytes, tmp_path: Path) -> None:
    place = put(api, "alice/old", {"learned_embeds.bin": b"a pickle", "text.txt": b"no"})
    assert [path.name for path in fetched(place, tmp_path).files] == ["learned_embeds.bin"]
    place = put(api, "alice/both", {"learned_embeds.bin": b"a pickle", "learned_embeds.safetensors": weights})
    assert [path.name for path in fetched(place, tmp_path).files] == ["learned_embeds.safetensors"]
    with pytest.raises(NotFound, match=r"no file of weights; it has .*text\.txt"):
        fetched(put(api, "alice/none", {"text.txt": b"no"}), tmp_path)


def test_what_lorry_pushed_is_cloned_instead(published: Registry, api: HfApi, tmp_path: Path) -> None:
    published.push("demo/cat", "hf://demo/cat")
    with pytest.raises(InvalidArgument, match="with: lorry clone hf://demo/cat$"):
        fetched("hf://demo/cat", tmp_path)
    place = put(api, "alice/named-alike", {"adapter.json": b'{"theirs": 1}', "a.safetensors": b"x"})
    assert [path.name for path in fetched(place, tmp_path).files] == ["a.safetensors"]


def test_limits_hold(
    api: HfApi, hub: HubServer, weights: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = put(api, "alice/cat", {"cat.safetensors": weights})
    with pytest.raises(UpstreamFailed, match="larger than may be fetched"):
        fetched(place, tmp_path, Limits(nbytes=len(weights) - 1))
    with pytest.raises(NotFound, match="has no revision 'v9'"):
        fetched(f"{place}@v9", tmp_path)
    hub.faults.redirect = True  # from here to a machine of another name, which is private
    with pytest.raises(UpstreamFailed, match="leads elsewhere"):
        fetched(place, tmp_path)
    hub.faults.redirect = False
    monkeypatch.setenv("HF_TOKEN", hub.bob)
    with pytest.raises(NotFound, match="or this token may not see it"):
        fetched(place, tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(AccessDenied):
        fetched(place, tmp_path)


def test_a_file_that_was_cut_goes_on(api: HfApi, hub: HubServer, weights: bytes, tmp_path: Path) -> None:
    place = put(api, "alice/cat", {"cat.safetensors": weights})
    hub.faults.cut_after, hub.faults.cut_times = 300, 2  # the first is for adapter.json, which is not there
    hub.seen.clear()
    got = fetched(place, tmp_path)
    assert got.files[0].read_bytes() == weights
    assert [each.range for each in hub.seen if each.path.endswith("cat.safetensors")] == ["", "bytes=300-"]


@pytest.mark.parametrize(
    "card",
    [
        "",
        "# no front matter",
        "---\n- a list\n---\n",
        "---\nbase_model: {a: 1}\ntags: 5\nwidget: x\nlicense: [1]\n---\n",
        "---\nx: !!python/object/apply:os.system ['touch x']\n---\n",
        "---\na: &a [x,x]\nb: &b [*a,*a]\nbase_model: *b\n---\n",
        f"---\nbase_model: {'[' * 1200}\n---\n",
        "---\nbase_model: '\n---\n",
        "---\nwhen: 2024-13-45\n---\n",
        f"---\nbase_model: x\npad: {'y' * 100_000}\n---\n",
    ],
    ids=["empty", "none", "list", "types", "object", "aliases", "deep", "broken", "date", "endless"],
)
def test_a_card_that_is_none_claims_nothing(card: str) -> None:
    assert claims(card) == Claims()


def test_claims_are_one_line_each_and_not_endless() -> None:
    tags = json.dumps(["t"] * 9 + [1, ""])
    card = f"---\nbase_model: |\n  one\n  two\ninstance_prompt: {'x' * 1000}\ntags: {tags}\n---\n"
    told = claims(card)
    assert (told.base, told.tags) == ("one two", ("t",))
    assert len(told.trigger_words[0]) == 500


def test_a_wrong_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LorryError, match="hf://owner/name"):
        fetched("hf://cat", tmp_path)
