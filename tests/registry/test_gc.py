"""Collecting garbage takes what nobody needs, and nothing that anybody might."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from lorry.cli import cli
from lorry.errors import LorryWarning, VerificationFailed
from lorry_registry import Registry
from lorry_registry.home.blobs import Content, copy
from lorry_registry.home.view import adapter_files

from .helpers import publish_bytes

LONG_AGO = time.time() - 24 * 3600


def orphan(registry: Registry, data: bytes = b"nobody's", touched: float | None = LONG_AGO) -> Path:
    """Leave a blob as a publish does that dies before its commit point."""
    path = registry.store.blobs.path(registry.store.blobs.add_bytes(data))
    if touched is not None:
        os.utime(path, (touched, touched))
    return path


def test_what_a_crash_left_is_collected(published: Registry) -> None:
    blob = orphan(published)
    draft = published.store.layout.drafts / "host-1-abc"
    draft.write_bytes(b"half")
    os.utime(draft, (LONG_AGO, LONG_AGO))
    told = published.gc(dry_run=True)
    assert {(each.what, each.size) for each in told} == {("blob", 8), ("draft", 4)}
    assert blob.exists()
    assert draft.exists()
    assert published.gc() == told
    assert not blob.exists()
    assert not draft.exists()
    assert published.fsck() == ()
    assert published.gc() == ()


def test_what_was_touched_lately_stays(published: Registry) -> None:
    blob = orphan(published, touched=None)
    assert published.gc() == ()
    assert blob.exists()
    assert [each.path for each in published.gc(grace=-60)] == [blob]


def test_a_draft_stays_as_long_as_its_process_lives(published: Registry) -> None:
    """As when somebody publishes, and is asked whether to, and goes home."""
    code = "import sys; from pathlib import Path; from lorry_registry.disk import durable\n"
    code += "with durable.draft(Path(sys.argv[1])) as draft: draft.mkdir(); print(draft, flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(published.store.layout.drafts)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout
    draft = Path(process.stdout.readline().decode().strip())
    os.utime(draft, (LONG_AGO, LONG_AGO))
    assert published.gc() == ()
    process.kill()
    process.communicate()
    assert [each.path for each in published.gc()] == [draft]


def test_who_reads_a_version_is_never_disturbed(published: Registry, lora: Path) -> None:
    """Neither by collecting garbage nor by others who open it for the first time at the same moment."""
    expected, readers = lora.read_bytes(), 8
    barrier = threading.Barrier(readers + 1)

    def read() -> bool:
        barrier.wait()
        (path,) = adapter_files(published.store, published.resolve("demo/cat"))
        return all(path.read_bytes() == expected for _ in range(50))

    with ThreadPoolExecutor(readers) as pool:
        for _ in range(10):
            shutil.rmtree(published.store.layout.views, ignore_errors=True)
            started = [pool.submit(read) for _ in range(readers)]
            barrier.wait()
            published.gc(grace=-60)
            assert all(each.result() for each in started)


def test_a_version_keeps_its_blobs_however_old_and_yanked_too(published: Registry) -> None:
    for path in published.store.layout.blobs.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    published.yank("demo/cat@1.0.0")
    assert published.gc() == ()
    with pytest.warns(LorryWarning, match="yanked"):
        published.verify("demo/cat@1.0.0")


def test_a_publish_that_finds_an_orphan_keeps_it(registry: Registry) -> None:
    registry.store.layout.prepare()
    blob = orphan(registry, b"mine again")
    publish_bytes(registry.store, "demo/cat@1.0.0", b"mine again")
    assert blob.stat().st_mtime > LONG_AGO + 3600


def test_a_blob_taken_up_while_it_is_being_collected_stays(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a publish touches the blob after collecting has listed it and before it is deleted."""
    registry.store.layout.prepare()
    blob = orphan(registry)
    rename = Path.rename

    def touch_first(path: Path, target: Path) -> Path:
        if path == blob:
            path.touch()
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", touch_first)
    assert registry.gc() == ()
    assert blob.read_bytes() == b"nobody's"


def test_a_publish_whose_blob_is_collected_meanwhile_puts_its_own(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.store.layout.prepare()
    blob = orphan(registry)
    (tmp_path / "file").write_bytes(b"nobody's")
    intact = registry.store.blobs.intact

    def collected_after(content: Content) -> bool:
        found = intact(content)
        blob.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(registry.store.blobs, "intact", collected_after)
    draft = registry.store.layout.drafts / "draft"
    registry.store.blobs.add(draft, copy(tmp_path / "file", draft))
    assert blob.read_bytes() == b"nobody's"


def test_nothing_is_deleted_where_a_manifest_cannot_be_read(published: Registry) -> None:
    blob = orphan(published)
    manifest = published.store.blobs.path(published.resolve("demo/cat").digest)
    manifest.chmod(0o644)
    manifest.write_bytes(b"{}")
    with pytest.raises(VerificationFailed, match="nothing was deleted"):
        published.gc()
    assert blob.exists()


def test_the_command_tells_what_it_frees(published: Registry) -> None:
    orphan(published)
    run = CliRunner().invoke
    assert "would free 8 B in 1 place" in run(cli, ["gc", "--dry-run"]).stdout
    assert json.loads(run(cli, ["gc", "--json"]).stdout)["bytes"] == 8
    assert "freed 0 B in 0 places" in run(cli, ["gc"]).stdout
    assert run(cli, ["gc", "--grace", "-1"]).exit_code == 2


def test_a_home_that_is_not_there_has_no_garbage(tmp_path: Path) -> None:
    assert Registry(tmp_path / "none").gc() == ()
    assert not (tmp_path / "none").exists()
