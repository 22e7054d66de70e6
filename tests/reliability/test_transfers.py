"""Versions on their way: what a killed clone fetched is not fetched again; liars and lost answers do no harm."""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lorry.errors import UpstreamFailed, VerificationFailed
from lorry.ir.tensor import from_bytes
from lorry.ir.tensor_map import TensorMap
from lorry.plugin.remote import Remote
from lorry_plugins.formats import safetensors
from lorry_registry import Registry
from lorry_registry.references.reference import Reference
from lorry_registry.references.semver import Version
from lorry_registry.remotes import transfer
from lorry_registry.remotes.address import open_remote
from tests.registry.helpers import STEM
from tests.reliability.faults import read_told
from tests.reliability.jobs import assert_sound
from tests.support.s3 import environment, new_place, serving

ROOT = Path(__file__).parents[2]
CAT = Reference.parse("demo/cat")
RANK, WIDTH = 64, 8192


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A server that speaks S3."""
    with serving() as endpoint:
        yield endpoint


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place of each kind."""
    if request.param == "file":
        return (tmp_path / "shared").as_uri()
    endpoint = request.getfixturevalue("s3")
    for name, value in environment(endpoint).items():
        monkeypatch.setenv(name, value)
    return new_place(endpoint, f"bucket-{abs(hash(str(tmp_path)))}")


@pytest.fixture
def published(tmp_path: Path) -> Registry:
    """A registry with demo/cat@1.0.0, of some megabytes."""
    ones = struct.pack("<f", 1.0) * RANK * WIDTH
    tensors = {
        f"{STEM}.alpha": from_bytes("F32", (), struct.pack("<f", RANK)),
        f"{STEM}.lora_down.weight": from_bytes("F32", (RANK, WIDTH), ones),
        f"{STEM}.lora_up.weight": from_bytes("F32", (WIDTH, RANK), ones),
    }
    safetensors.write(TensorMap(tensors=tensors, metadata={}), tmp_path / "cat.safetensors")
    registry = Registry(tmp_path / "here")
    registry.publish("demo/cat@1.0.0", [tmp_path / "cat.safetensors"])
    return registry


class Counted:
    """A remote that counts the bytes that are read, by blob."""

    def __init__(self, remote: Remote) -> None:
        self._remote, self.read_of = remote, dict[str, int]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._remote, name)

    def read(self, sha256: str, start: int = 0) -> Iterator[bytes]:
        for chunk in self._remote.read(sha256, start):
            self.read_of[sha256] = self.read_of.get(sha256, 0) + len(chunk)
            yield chunk


@pytest.mark.skipif(sys.platform != "linux", reason="needs SIGKILL and /proc/self/fd")
def test_what_a_killed_clone_has_fetched_is_not_fetched_again(published: Registry, place: str, tmp_path: Path) -> None:
    published.push("demo/cat", place)
    (file,) = published.manifest("demo/cat").files
    kept = set()
    for at in (6, 8, 9, 12):
        told, elsewhere = tmp_path / f"told-{at}", Registry(tmp_path / f"home-{at}")
        arguments = map(str, (elsewhere.home, f"{place}#demo/cat", at, told))
        command = [sys.executable, "-m", "tests.reliability.fetch", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, read_told(told).harmed) == (-signal.SIGKILL, True), done.stderr
        assert elsewhere.ls() == []
        held = sum(part.stat().st_size for part in elsewhere.store.layout.drafts.glob(f"*part-{file.sha256}"))
        kept.add(held)
        remote: Any = Counted(open_remote(place, CAT))
        transfer.clone(elsewhere.store, remote, CAT)
        assert remote.read_of.get(file.sha256, 0) == file.size - held
        assert_sound(elsewhere)
    assert len([held for held in kept if 0 < held < file.size]) >= 2, "it was killed in the middle of fetching"


class Lying(Counted):
    """A remote whose blobs, but for manifests, are zeros."""

    def read(self, sha256: str, start: int = 0) -> Iterator[bytes]:
        data = b"".join(super().read(sha256, start))
        yield data if data.startswith(b"{") else bytes(len(data))


class Interrupted(Counted):
    """A remote that does something after each chunk that is read."""

    def __init__(self, remote: Remote, act: Callable[[], object]) -> None:
        super().__init__(remote)
        self._act = act

    def read(self, sha256: str, start: int = 0) -> Iterator[bytes]:
        for chunk in super().read(sha256, start):
            yield chunk
            self._act()


def test_who_fetches_the_same_from_a_liar_meanwhile_spoils_nothing(published: Registry, tmp_path: Path) -> None:
    place, elsewhere = (tmp_path / "shared").as_uri(), Registry(tmp_path / "elsewhere")
    published.push("demo/cat", place)
    lied = []

    def fetch_lies() -> None:
        liar: Any = Lying(open_remote(place, CAT))
        with pytest.raises(VerificationFailed, match="the bytes there are not"):
            transfer.clone(elsewhere.store, liar, CAT)
        lied.append(liar)

    honest: Any = Interrupted(open_remote(place, CAT), fetch_lies)
    transfer.clone(elsewhere.store, honest, CAT)
    assert len(lied) > 2
    assert_sound(elsewhere)
    assert [*elsewhere.store.layout.drafts.iterdir()] == []


class Unanswered:
    """A remote of which one call does its part, and then the answer is lost."""

    def __init__(self, remote: Remote, at: int) -> None:
        self._remote, self._left = remote, at
        self.lost = ""
        self.written: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._remote, name)
        return self._unanswered(name, found) if name in ("write", "publish", "move", "say") else found

    def _unanswered(self, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            answer = act(*arguments)
            self._left -= 1
            if name == "write":
                self.written.append(arguments[0])
            if not self._left:
                self.lost = name
                raise UpstreamFailed("the connection was cut before an answer came")
            return answer

        return call


def test_a_lost_answer_does_no_harm(published: Registry, place: str, tmp_path: Path) -> None:
    found = published.resolve("demo/cat@1.0.0")
    (file,) = published.manifest("demo/cat").files
    published.yank("demo/cat@1.0.0", "for its note to be carried along")
    lost = []
    for at in range(1, 9):
        remote: Any = Unanswered(open_remote(f"{place}-{at}", CAT), at)
        try:
            transfer.push(published.store, found, remote, [])
        except UpstreamFailed:
            lost.append(remote.lost)
        else:
            break
        again: Any = Unanswered(open_remote(f"{place}-{at}", CAT), 0)
        assert transfer.push(published.store, found, again, []) is (remote.lost == "write"), "whether it is new"
        assert file.sha256 not in again.written, "what is there is not sent again"
        assert transfer.push(published.store, found, again, []) is False
        elsewhere = Registry(tmp_path / f"home-{at}")
        with pytest.warns(UserWarning, match="yanked"):
            elsewhere.clone(f"{place}-{at}#demo/cat@1.0.0")
        assert_sound(elsewhere)
        assert elsewhere.versions("demo/cat") == (Version(1, 0, 0),)
    assert lost == ["write", "write", "publish", "say"]
