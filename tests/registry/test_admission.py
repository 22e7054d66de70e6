"""What is let in from elsewhere: no manifest that its files contradict, and no pickle under any role or name."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lorry.errors import InvalidFile, LorryError, VerificationFailed
from lorry_registry import Card, Registry
from lorry_registry.disk import durable
from lorry_registry.version.manifest import File, Manifest

from .helpers import write_lora


def told(manifest: Manifest, part: str, **said: Any) -> Manifest:
    """Return a manifest that says something else."""
    return manifest.model_copy(update={part: getattr(manifest, part).model_copy(update=said)})


def of_file(manifest: Manifest, **said: Any) -> Manifest:
    """Return a manifest that says something else of its first file."""
    return manifest.model_copy(update={"files": (manifest.files[0].model_copy(update=said), *manifest.files[1:])})


def careless(registry: Registry, manifest: Manifest, files: Mapping[str, Path]) -> str:
    """Put a version in a home as it is told, without a look at it; return its address."""
    registry.store.layout.prepare()
    with durable.draft(registry.store.layout.drafts) as folder:
        drafts = {path: folder / path for path in files}
        for path, file in files.items():
            drafts[path].parent.mkdir(parents=True, exist_ok=True)
            drafts[path].write_bytes(file.read_bytes())
        registry.store.publish(manifest, drafts)
    return f"{registry.home.as_uri()}#{manifest.reference}"


@pytest.fixture
def cat(published: Registry) -> Manifest:
    return published.manifest("demo/cat")


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        (lambda cat: told(cat, "adapter", kinds=("lokr",)), "kinds are 'lokr', and by the tensors 'lora'"),
        (lambda cat: told(cat, "adapter", kinds=("lora", "oft")), "kinds are"),
        (lambda cat: told(cat, "adapter", kinds=()), "kinds are none"),
        (lambda cat: told(cat, "adapter", tokens=("<cat>",)), "tokens are '<cat>', and by the tensors none"),
        (lambda cat: told(cat, "base", id="flux1@1"), "and by the tensors for Stable Diffusion 1"),
        (lambda cat: of_file(cat, tensor_digest=f"blake3:{'0' * 64}"), "tensor digest of cat.safetensors"),
    ],
)
def test_a_manifest_that_the_tensors_contradict(
    cat: Manifest, lora: Path, elsewhere: Registry, tmp_path: Path, lie: Callable[[Manifest], Manifest], says: str
) -> None:
    address = careless(Registry(tmp_path / "careless"), lie(cat), {"cat.safetensors": lora})
    with pytest.raises(VerificationFailed, match=says):
        elsewhere.clone(address)
    assert elsewhere.ls() == []
    with pytest.raises(VerificationFailed, match=says):  # nor does it get out of there by a bundle
        Registry(tmp_path / "careless").export(["demo/cat"], tmp_path / "a.tar")
    assert not (tmp_path / "a.tar").exists()


@pytest.mark.parametrize(
    "claim",
    [
        lambda cat: told(cat, "adapter", trigger_words=("sks cat",)),
        lambda cat: told(cat, "base", id="sd1@999"),
        lambda cat: told(cat, "base", id="of-a-plugin@1"),
        lambda cat: of_file(cat, tensor_digest=None),
        lambda cat: told(cat, "id", title="The best cat", tags=("cat",)),
    ],
)
def test_what_the_tensors_leave_open_is_the_publishers_to_say(
    cat: Manifest, lora: Path, elsewhere: Registry, tmp_path: Path, claim: Callable[[Manifest], Manifest]
) -> None:
    address = careless(Registry(tmp_path / "careless"), claim(cat), {"cat.safetensors": lora})
    assert elsewhere.clone(address).new


def test_a_kind_that_a_newer_lorry_reads_is_let_in(elsewhere: Registry, registry: Registry, tmp_path: Path) -> None:
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to"
    tensors = {f"{stem}_q.lora_down.weight": torch.rand(2, 16), f"{stem}_q.lora_up.weight": torch.rand(16, 2)}
    save_file({**tensors, f"{stem}_k.made_up": torch.rand(2, 2)}, tmp_path / "cat.safetensors")
    registry.publish("demo/cat@1.0.0", [tmp_path / "cat.safetensors"])
    manifest = registry.manifest("demo/cat")
    assert manifest.adapter.unmapped == 1
    newer = told(manifest, "adapter", kinds=("lora", "made-up"), unmapped=0)
    files = {"cat.safetensors": tmp_path / "cat.safetensors"}
    assert elsewhere.clone(careless(Registry(tmp_path / "newer"), newer, files)).new
    lying = told(manifest, "adapter", kinds=("made-up",), unmapped=0)
    with pytest.raises(VerificationFailed, match="kinds are 'made-up'"):
        Registry(tmp_path / "third").clone(careless(Registry(tmp_path / "lying"), lying, files))


def test_trigger_words_that_the_file_states_are_not_hidden(
    elsewhere: Registry, registry: Registry, tmp_path: Path
) -> None:
    path = write_lora(tmp_path / "cat.safetensors", metadata={"modelspec.trigger_phrase": "sks cat"})
    registry.publish("demo/cat@1.0.0", [path])
    hidden = told(registry.manifest("demo/cat"), "adapter", trigger_words=())
    with pytest.raises(VerificationFailed, match="no trigger words, and its files state 'sks cat'"):
        elsewhere.clone(careless(Registry(tmp_path / "careless"), hidden, {"cat.safetensors": path}))
    registry.publish("demo/cat@1.0.1", [path], card=Card(trigger_words=("fur",)))
    assert elsewhere.clone(f"{registry.home.as_uri()}#demo/cat@1.0.1").new


def write_pickle(path: Path, how: str) -> Path:
    if how == "zip":
        torch.save({"a": torch.ones(1)}, path)
    else:
        path.write_bytes(pickle.dumps({"a": list(range(9))}))
    return path


def with_pickle(manifest: Manifest, path: str, role: str, file: Path) -> Manifest:
    data = file.read_bytes()
    more = File(
        path=path,
        role=role,
        media_type="text/plain",
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    return manifest.model_copy(update={"files": (*manifest.files, more)})


@pytest.mark.parametrize("how", ["zip", "plain"])
@pytest.mark.parametrize(
    ("path", "role"),
    [("evil.pt", "other"), ("evil.pt", "weights"), ("evil.txt", "card"), ("deep/evil.png", "preview"), ("x", "extra")],
)
def test_no_pickle_is_let_in_under_any_role(
    cat: Manifest, lora: Path, elsewhere: Registry, tmp_path: Path, path: str, role: str, how: str
) -> None:
    evil = write_pickle(tmp_path / "evil", how)
    manifest = with_pickle(cat, path, role, evil)
    address = careless(Registry(tmp_path / "careless"), manifest, {"cat.safetensors": lora, path: evil})
    with pytest.raises(InvalidFile, match="is a pickle"):
        elsewhere.clone(address)
    assert elsewhere.ls() == []


@pytest.mark.parametrize("how", ["zip", "plain"])
def test_no_pickle_is_published_under_another_name(registry: Registry, lora: Path, tmp_path: Path, how: str) -> None:
    evil = write_pickle(tmp_path / "notes.txt", how)
    with pytest.raises(InvalidFile, match=r"notes\.txt is a pickle.*leave it out"):
        registry.publish("demo/cat@1.0.0", [lora, evil])
    evil.write_text("PKM trained it")
    assert registry.publish("demo/cat@1.0.0", [lora, evil])


def test_weights_under_another_role_are_looked_at_too(
    cat: Manifest, lora: Path, elsewhere: Registry, tmp_path: Path
) -> None:
    damaged = tmp_path / "more.safetensors"
    damaged.write_bytes(lora.read_bytes()[:-1])
    manifest = with_pickle(cat, "more.safetensors", "extra", damaged)
    files = {"cat.safetensors": lora, "more.safetensors": damaged}
    with pytest.raises(LorryError, match="not let in"):
        elsewhere.clone(careless(Registry(tmp_path / "careless"), manifest, files))
    assert elsewhere.ls() == []
