"""A source of a stranger's plugin, written in the lines that the built-in ones are; and one that keeps to no rule."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lorry_registry import Registry

from .helpers import write_lora

PLUGIN = """
from lorry.plugin import Facts, Fetched, Store, hookimpl

LORRY_API = 1


@hookimpl
def lorry_stores():
    return [Store(name="shop", title="A shop", schemes=("shop",), fetch="lorry_shop:fetch", look_up="lorry_shop:known")]


def fetch(address, into, limits):
    assert limits.nbytes == 5_000_000
    name = address.removeprefix("shop:")
    file = into / name
    file.write_bytes(open(SOURCE, "rb").read())
    return Fetched((file,), Facts(address, title="From the shop", trigger_words=("shopcat",)))


def known(hashes, limits):
    return Facts("shop:known", title="Known there", hashes={"": {"SHA256": hashes.sha256}})
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with an installed distribution in it."""
    folder = tmp_path / "site"
    info = folder / "lorry_shop-1.0.dist-info"
    info.mkdir(parents=True)
    lora = write_lora(tmp_path / "cat.safetensors")
    (folder / "lorry_shop.py").write_text(PLUGIN.replace("SOURCE", repr(str(lora))))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lorry-shop\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lorry.stores]\nshop = lorry_shop\n")
    return folder


def add(shop: Path, *arguments: str) -> tuple[int, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "lorry", "add", *arguments, "--max-size", "5MB", "--json"],
        env={**os.environ, "PYTHONPATH": str(shop), "CIVITAI_ENDPOINT": "http://nobody.invalid"},  # not asked
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def test_its_addresses_and_its_knowledge_are_used(registry: Registry, shop: Path, tmp_path: Path) -> None:
    code, told = add(shop, "shop:cat.safetensors", "demo/cat@1.0.0")
    assert (code, told[0]["outcome"]) == (0, "added"), told
    manifest = registry.manifest("demo/cat@1.0.0")
    assert (manifest.id.title, manifest.adapter.trigger_words) == ("From the shop", ("shopcat",))
    code, told = add(shop, str(tmp_path / "cat.safetensors"), "--look-up", "demo/known@1.0.0")
    assert (code, registry.manifest("demo/known@1.0.0").id.title) == (0, "Known there"), told


def test_a_file_that_it_puts_elsewhere_is_refused(registry: Registry, shop: Path) -> None:
    code, told = add(shop, "shop:../outside.safetensors")
    assert (code, told[0]["outcome"]) == (1, "refused")
    assert "where it must not" in told[0]["why"]
    assert not registry.ls()
