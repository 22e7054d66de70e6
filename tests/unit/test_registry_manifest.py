from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lorry.errors import Incompatible, InvalidFile, LorryError
from lorry_registry.version import canonical_json
from lorry_registry.version.manifest import AdapterFacts, Base, File, Id, Lineage, Manifest, Parent

GOLDEN = Path(__file__).parents[1] / "registry" / "golden" / "manifest-1.json"


def complete() -> Manifest:
    return Manifest(
        id=Id(
            namespace="demo",
            name="raccoon",
            version="1.2.0-rc.1",
            title="A raccoon",
            description="Ein Waschbär",
            license="Apache-2.0",
            authors=("someone",),
            tags=("animal",),
        ),
        files=(
            File(
                path="raccoon.safetensors",
                role="weights",
                media_type="application/vnd.safetensors",
                size=1234,
                sha256="ab" * 32,
                tensor_digest="blake3:" + "cd" * 32,
            ),
            File(path="README.md", role="card", media_type="text/markdown", size=5, sha256="ef" * 32),
        ),
        adapter=AdapterFacts(
            kinds=("lora", "textual-inversion"),
            format="kohya+safetensors",
            components=("unet",),
            layers=3,
            ranks={"4": 2, "16": 1},
            dtypes=("F16",),
            n_params=6272,
            tokens=("<raccoon>",),
            trigger_words=("sks",),
        ),
        base=Base(id="sd1@1", fingerprint="12" * 32),
        lineage=Lineage(
            op="merge",
            recipe={"op": "merge", "options": {"method": "sum"}, "strength": 0.7, "seed": None},
            parents=(Parent(name="a.safetensors", sha256="34" * 32, weight=0.7), Parent(reference="demo/a@1.0.0")),
        ),
    )


def changed(**fields: Any) -> bytes:
    return canonical_json.dump({**json.loads(GOLDEN.read_bytes()), **fields})


def test_the_first_schema_is_written_as_it_always_was() -> None:
    assert complete().to_bytes() == GOLDEN.read_bytes()


def test_the_first_schema_is_read_for_ever() -> None:
    assert Manifest.from_bytes(GOLDEN.read_bytes()) == complete()


def test_its_identity_is_the_hash_of_its_canonical_form() -> None:
    assert complete().digest() == hashlib.sha256(GOLDEN.read_bytes()).hexdigest()


def test_fields_of_a_later_lorry_are_kept() -> None:
    data = changed(training={"steps": 100})
    assert Manifest.from_bytes(data).to_bytes() == data


def test_an_unknown_field_is_refused_when_writing() -> None:
    with pytest.raises(ValidationError, match="unknown field 'nmae'"):
        Id(namespace="demo", name="cat", version="1.0.0", nmae="x")  # type: ignore[call-arg]  # the mistake that is tested


def test_a_newer_schema_says_to_upgrade() -> None:
    with pytest.raises(Incompatible, match="upgrade lorry"):
        Manifest.from_bytes(changed(schema_version=2))


def file(path: str) -> dict[str, Any]:
    return {"path": path, "role": "extra", "media_type": "x", "size": 1, "sha256": "0" * 64}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        GOLDEN.read_bytes() + b"\n",
        GOLDEN.read_bytes().replace(b'"size":5', b'"size":5,"size":6'),
        changed(id={"namespace": "Demo", "name": "cat", "version": "1.0.0"}),
        changed(id={"namespace": "demo", "name": "../cat", "version": "1.0.0"}),
        changed(id={"namespace": "demo", "name": "cat", "version": "1.0"}),
        changed(files=[]),
        changed(files=[file("../../etc/passwd")]),
        changed(files=[file("/etc/passwd")]),
        changed(files=[{**file("a"), "sha256": "../../x"}]),
        changed(files=[{**file("a"), "sha256": "A" * 64}]),
        changed(files=[{**file("a"), "size": -1}]),
        changed(files=[{**file("a"), "size": "1"}]),
        changed(files=[file("a"), file("a")]),
        changed(files=[file("a.png"), file("A.PNG")]),
        changed(files=[file("a"), file("a/b")]),
        changed(schema_version="1"),
    ],
    ids=range(19),
)
def test_what_is_no_sound_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidFile, match="not a manifest"):
        Manifest.from_bytes(data)


def test_errors_of_reading_are_lorry_errors() -> None:
    with pytest.raises(LorryError):
        Manifest.from_bytes(b"[" * 100_000)
