"""Two versions of lorry on one home: each reads what it understands, keeps what it does not, refuses what it must."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lorry.errors import Incompatible, InvalidFile
from lorry_registry import Registry
from lorry_registry.home.store import Resolved
from lorry_registry.version.manifest import Manifest
from tests.registry.helpers import write_lora
from tests.reliability.jobs import assert_sound

LATER = """
import sys, pathlib
from lorry_registry import Registry
from lorry_registry.version import canonical_json
from lorry_registry.home import index_file
from lorry_registry.references.reference import Reference
from lorry_registry.references.semver import Version

index_file._SCHEMA += 1                       # its index has another schema
registry = Registry(sys.argv[1])
manifest = registry.manifest("demo/cat@1.0.0").model_dump(mode="json", exclude_none=True)
manifest["id"]["version"] = "1.1.0"
manifest["id"]["mood"] = "curious"       # its manifests have a field more, and one part more
manifest["weather"] = {"sky": "blue"}
manifest["schema_version"] = int(sys.argv[2])
digest = registry.store.blobs.add_bytes(canonical_json.dump(manifest))
records = registry.store.records(Reference.parse("demo/cat"))
records.commit(Version(1, 1, 0), digest)
records.log.add("publish", version="1.1.0", manifest=digest)
records.log.add("sing", song="a line that nobody knows yet")
(registry.home / "later").mkdir()        # and it keeps something of its own
(registry.home / "later" / "file").write_text("later")
registry.ls()
"""

LISTING = """
import sys
from lorry_registry import Registry
from lorry_registry.home import index_file
index_file._SCHEMA += 1
assert [len(Registry(sys.argv[1]).ls()) for _ in range(20)] == [1] * 20
"""


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry of demo/cat@1.0.0."""
    registry = Registry(tmp_path / "home")
    registry.publish("demo/cat@1.0.0", [write_lora(tmp_path / "cat.safetensors")])
    return registry


def later(registry: Registry, schema: int = 1) -> Resolved:
    """Let a later lorry publish demo/cat@1.1.0."""
    subprocess.run([sys.executable, "-c", LATER, str(registry.home), str(schema)], check=True)
    return registry.resolve("demo/cat@1.1.0")


def test_what_a_later_lorry_wrote_is_read_kept_and_passed_on(registry: Registry, tmp_path: Path) -> None:
    found = later(registry)
    before = registry.store.blobs.read(found.digest)
    assert registry.verify("demo/cat@1.1.0").to_bytes() == before
    assert Manifest.from_bytes(before).model_extra == {"weather": {"sky": "blue"}}
    registry.push("demo/cat@1.1.0", (tmp_path / "shared").as_uri())
    elsewhere = Registry(tmp_path / "elsewhere")
    assert elsewhere.clone(f"{(tmp_path / 'shared').as_uri()}#demo/cat@1.1.0").digest == found.digest
    assert elsewhere.store.blobs.read(found.digest) == before
    registry.publish("demo/cat@1.2.0", [write_lora(tmp_path / "new.safetensors", seed=1)])
    registry.gc(grace=-60)
    assert (registry.home / "later" / "file").read_text() == "later"
    assert_sound(registry)


def test_a_manifest_of_a_later_schema_is_refused_and_left_as_it_is(registry: Registry, tmp_path: Path) -> None:
    found = later(registry, schema=99)
    for use in (lambda: registry.manifest("demo/cat@1.1.0"), lambda: registry.pull("demo/cat@1.1.0", tmp_path / "out")):
        with pytest.raises((Incompatible, InvalidFile), match="upgrade lorry"):
            use()
    assert json.loads(registry.store.blobs.read(found.digest))["schema_version"] == 99
    registry.pull("demo/cat@1.0.0", tmp_path / "out")
    assert len(registry.ls()) == 2


def test_an_index_of_another_schema_is_made_anew_by_each(registry: Registry) -> None:
    """Also while the other one makes its own, on and on."""
    other = subprocess.Popen([sys.executable, "-c", LISTING, str(registry.home)])
    answers = [len(registry.ls()) for _ in range(20)]
    assert other.wait() == 0
    assert answers == [1] * 20


def test_a_home_of_a_later_layout_is_refused_and_left_as_it_is(registry: Registry) -> None:
    mark = registry.home / "FORMAT"
    mark.chmod(0o644)
    mark.write_text("99\n")
    before = sorted(registry.home.rglob("*"))
    with pytest.raises(Incompatible, match="upgrade lorry"):
        Registry(registry.home)
    assert sorted(registry.home.rglob("*")) == before
