"""Remotes: what is pushed arrives whole, what is cloned is checked, and one of many writers is first."""

from __future__ import annotations

import hashlib
import json
import re
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import obstore
import obstore.store
import pytest
from click.testing import CliRunner

import lorry
from lorry.cli import cli
from lorry.errors import (
    Conflict,
    InvalidArgument,
    LorryError,
    NotFound,
    UnknownName,
    UpstreamFailed,
    VerificationFailed,
)
from lorry.plugin.remote import Remote
from lorry_registry import Registry
from lorry_registry.references.reference import Reference
from lorry_registry.remotes import transfer
from lorry_registry.remotes.address import open_remote
from lorry_registry.remotes.folder import FolderRemote
from lorry_registry.version.notes import Note
from tests.support.s3 import environment, new_place, serving

from . import oci
from .helpers import data_manifest, write_lora

T = TypeVar("T")
CAT = Reference.parse("demo/cat")


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """A server that speaks S3."""
    with serving() as endpoint:
        yield endpoint


@pytest.fixture(params=["file", "s3", "oci_strict", pytest.param("oci_debian", marks=oci.INSTALLED)])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place of each kind."""
    if request.param == "file":
        return (tmp_path / "shared").as_uri()
    if request.param.startswith("oci"):
        if "sixteen" in request.node.name:
            monkeypatch.setattr("lorry_registry.remotes.oci.remote.SETTLE", 2)
        else:
            monkeypatch.setattr("lorry_registry.remotes.oci.remote.sleep", lambda _: None)  # nobody else is there
            monkeypatch.setattr("lorry_registry.remotes.oci.remote.SETTLE", 60)
        return f"oci://{request.getfixturevalue(request.param)}/test-{abs(hash(str(tmp_path)))}"
    endpoint = request.getfixturevalue("s3")
    for name, value in environment(endpoint).items():
        monkeypatch.setenv(name, value)
    return new_place(endpoint, f"bucket-{abs(hash(str(tmp_path)))}")


@pytest.fixture
def remote(place: str) -> Remote:
    return open_remote(place, CAT)


def blob(remote: Remote, tmp_path: Path, data: bytes) -> str:
    (tmp_path / "data").write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    remote.write(sha256, tmp_path / "data")
    return sha256


def version(remote: Remote, tmp_path: Path, number: int = 1) -> str:
    """Write everything that a version 1.0.0 with this number in its only file needs; return its manifest's digest."""
    blob(remote, tmp_path, data := str(number).encode())
    return blob(remote, tmp_path, data_manifest("demo/cat@1.0.0", data).to_bytes())


def race(write: Callable[[T], bool], values: Sequence[T]) -> list[bool]:
    """Write every value at once; return who was told to have done it."""
    barrier = threading.Barrier(len(values))

    def run(value: T) -> bool:
        barrier.wait()
        return write(value)

    with ThreadPoolExecutor(len(values)) as pool:
        return list(pool.map(run, values))


def test_blobs_are_read_from_anywhere_in_them(remote: Remote, tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    assert remote.size("0" * 64) is None
    sha256 = blob(remote, tmp_path, data)
    assert remote.size(sha256) == len(data)
    for start in (0, 1, len(data) - 1):
        assert b"".join(remote.read(sha256, start)) == data[start:]
    with pytest.raises(NotFound):
        list(remote.read("0" * 64))


def test_a_version_is_made_once(remote: Remote, tmp_path: Path) -> None:
    assert list(remote.versions()) == []
    assert remote.manifest("1.0.0") is None
    first, second = (version(remote, tmp_path, number) for number in (1, 2))
    assert remote.publish("1.0.0", first) is True
    assert remote.publish("1.0.0", second) is False
    assert remote.manifest("1.0.0") == first
    assert list(remote.versions()) == ["1.0.0"]


def test_of_sixteen_writers_one_is_first(remote: Remote, tmp_path: Path) -> None:
    digests = [version(remote, tmp_path, number) for number in range(16)]
    won = race(lambda digest: remote.publish("1.0.0", digest), digests)
    assert won.count(True) == 1
    assert remote.manifest("1.0.0") == digests[won.index(True)]


def test_an_alias_moves_only_from_where_it_was_seen(remote: Remote, tmp_path: Path) -> None:
    for number in ("1.0.0", "2.0.0"):
        blob(remote, tmp_path, b"1")
        remote.publish(number, blob(remote, tmp_path, data_manifest(f"demo/cat@{number}", b"1").to_bytes()))
    assert dict(remote.aliases()) == {}
    assert remote.move("best", None, "1.0.0")
    assert not remote.move("best", None, "2.0.0")
    assert not remote.move("best", "3.0.0", "2.0.0")
    assert remote.move("best", "1.0.0", "2.0.0")
    assert dict(remote.aliases()) == {"best": "2.0.0"}


def note(reason: str) -> bytes:
    return Note(yanked=reason).to_bytes()


def test_a_note_changes_only_from_what_was_seen(remote: Remote, tmp_path: Path) -> None:
    remote.publish("1.0.0", version(remote, tmp_path))
    assert dict(remote.notes()) == {}
    assert not remote.say("1.0.0", note("dogs"), note("cats"))
    assert remote.say("1.0.0", None, note("dogs"))
    assert not remote.say("1.0.0", None, note("cats"))
    assert dict(remote.notes()) == {"1.0.0": note("dogs")}
    assert remote.say("1.0.0", note("dogs"), note("cats"))
    assert dict(remote.notes()) == {"1.0.0": note("cats")}


def test_of_sixteen_who_note_something_first_one_is(remote: Remote, tmp_path: Path) -> None:
    remote.publish("1.0.0", version(remote, tmp_path))
    notes = [note(str(number)) for number in range(16)]
    won = race(lambda each: remote.say("1.0.0", None, each), notes)
    assert won.count(True) == 1
    assert remote.notes()["1.0.0"] == notes[won.index(True)]


def test_of_many_who_push_at_once_the_highest_is_the_latest(
    published: Registry, place: str, remote: Remote, tmp_path: Path
) -> None:
    for minor in range(1, 6):
        published.publish(f"demo/cat@1.{minor}.0", [write_lora(tmp_path / f"{minor}.safetensors", seed=minor)])

    def push(minor: int) -> bool:
        return published.push(f"demo/cat@1.{minor}.0", place)

    assert race(push, range(6)) == [True] * 6
    assert remote.aliases()["latest"] == "1.5.0"


def test_there_and_back_is_the_same_version(published: Registry, elsewhere: Registry, place: str) -> None:
    assert published.push("demo/cat", place, aliases=["best"]) is True
    assert published.push("demo/cat", place) is False
    for reference in ("demo/cat", "demo/cat@1.0.0", "demo/cat@^1", "demo/cat@best", "demo/cat@latest"):
        found = elsewhere.clone(f"{place}#{reference}")
        assert (found.reference, found.digest) == published.resolve("demo/cat")
    assert elsewhere.verify("demo/cat") == published.verify("demo/cat")
    assert elsewhere.fsck() == ()
    assert lorry.open(elsewhere.pull("demo/cat", elsewhere.home.parent / "out")).layers


def test_an_empty_file_travels_too(published: Registry, elsewhere: Registry, place: str, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    published.publish("demo/cat@1.1.0", [tmp_path / "cat.safetensors", tmp_path / "empty.txt"])
    published.push("demo/cat@1.1.0", place)
    elsewhere.clone(f"{place}#demo/cat@1.1.0")
    assert elsewhere.verify("demo/cat").files == published.manifest("demo/cat").files


def test_the_commands_do_the_same(published: Registry, elsewhere: Registry, place: str) -> None:
    def run(*arguments: str, home: Path) -> str:
        result = CliRunner(env={"LORRY_HOME": str(home)}).invoke(cli, arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    assert json.loads(run("push", "demo/cat", place, "--json", home=published.home))["new"] is True
    assert f"was already at {place}#demo/cat@1.0.0" in run("push", "demo/cat", place, home=published.home)
    assert "demo/cat@1.0.0 is here now" in run("clone", f"{place}#demo/cat", home=elsewhere.home)
    assert "demo/cat@1.0.0 was already here" in run("clone", f"{place}#demo/cat", home=elsewhere.home)


def test_a_version_that_is_another_there_or_here_is_refused(
    published: Registry, elsewhere: Registry, place: str, tmp_path: Path
) -> None:
    elsewhere.publish("demo/cat@1.0.0", [write_lora(tmp_path / "other.safetensors", seed=5)])
    published.push("demo/cat", place)
    with pytest.raises(Conflict, match="with other content"):
        elsewhere.push("demo/cat", place)
    with pytest.raises(Conflict, match="other content"):
        elsewhere.clone(f"{place}#demo/cat")


def test_what_is_not_there_is_told_with_what_is(published: Registry, elsewhere: Registry, place: str) -> None:
    with pytest.raises(NotFound, match=f"no demo/cat at {re.escape(place)}; nothing of that name"):
        elsewhere.clone(f"{place}#demo/cat")
    published.push("demo/cat", place)
    with pytest.raises(NotFound, match=r"no demo/cat@\^2 at .*; versions: 1\.0\.0"):
        elsewhere.clone(f"{place}#demo/cat@^2")


def test_latest_only_moves_up(published: Registry, place: str, tmp_path: Path, remote: Remote) -> None:
    published.publish("demo/cat@2.0.0", [write_lora(tmp_path / "new.safetensors", seed=2)])
    published.push("demo/cat@2.0.0", place)
    published.push("demo/cat@1.0.0", place)
    assert remote.aliases()["latest"] == "2.0.0"


class Lying(FolderRemote):
    """A remote that serves something else than what it holds."""

    def __init__(self, home: Path, lie: Callable[[bytes], bytes]) -> None:
        super().__init__(home, "demo/cat")
        self._lie = lie
        self.starts: list[int] = []

    def read(self, sha256: str, start: int = 0) -> Iterator[bytes]:
        self.starts.append(start)
        data = b"".join(super().read(sha256))
        yield (self._lie(data) if len(data) % 8 != 1 else data)[start:]


@pytest.fixture
def shared(published: Registry, tmp_path: Path) -> Path:
    """A shared folder with demo/cat@1.0.0."""
    published.push("demo/cat", (tmp_path / "shared").as_uri())
    return tmp_path / "shared"


@pytest.mark.parametrize(
    ("lie", "error"),
    [
        (lambda data: bytes([data[0] ^ 1]) + data[1:], VerificationFailed),
        (lambda data: data + b"more", VerificationFailed),
        (lambda data: data * 1000, VerificationFailed),
        (lambda _: b"", LorryError),
    ],
    ids=["flipped", "longer", "endless", "empty"],
)
def test_a_remote_that_lies_is_found_out(
    lie: Callable[[bytes], bytes], error: type[LorryError], shared: Path, elsewhere: Registry
) -> None:
    with pytest.raises(error):
        transfer.clone(elsewhere.store, Lying(shared, lie), CAT)
    assert elsewhere.ls() == []
    assert transfer.clone(
        elsewhere.store, FolderRemote(shared, "demo/cat"), CAT
    )  # and nothing of the lie stays to spoil the next try


def test_a_clone_that_was_cut_goes_on_where_it_was(published: Registry, shared: Path, elsewhere: Registry) -> None:
    (file,) = published.manifest("demo/cat").files
    half = file.size // 2

    class Cut(Lying):
        def read(self, sha256: str, start: int = 0) -> Iterator[bytes]:
            data = b"".join(FolderRemote.read(self, sha256, start))
            if sha256 != file.sha256:
                yield data
                return
            self.starts.append(start)
            yield data[:half]
            raise ConnectionResetError

    cut = Cut(shared, bytes)
    with pytest.raises(ConnectionResetError):
        transfer.clone(elsewhere.store, cut, CAT)
    assert elsewhere.ls() == []
    whole = Lying(shared, bytes)
    transfer.clone(elsewhere.store, whole, CAT)
    assert (cut.starts, whole.starts[-1]) == ([0], half)
    assert elsewhere.verify("demo/cat")


def test_a_file_that_validate_rejects_is_let_neither_out_nor_in(
    registry: Registry, elsewhere: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_lora(tmp_path / "bad.safetensors")
    data = bytearray(source.read_bytes())
    data[-4:] = struct.pack("<f", float("nan"))
    source.write_bytes(data)
    monkeypatch.setattr(
        "lorry_registry.publishing.publish.admit", lambda *_: None
    )  # as a lorry that looked less closely
    registry.publish("demo/cat@1.0.0", [source])
    with pytest.raises(VerificationFailed, match="not let in"):
        registry.push("demo/cat", (tmp_path / "shared").as_uri())
    assert not (tmp_path / "shared").exists()
    with pytest.raises(VerificationFailed, match="not let in"):  # a careless remote, which is a home itself
        elsewhere.clone(f"{registry.home.as_uri()}#demo/cat")
    assert elsewhere.ls() == []


def test_options_a_place_does_not_take_are_refused_by_name(published: Registry, place: str) -> None:
    with pytest.raises(InvalidArgument, match="has no option 'public'; it has"):
        published.push("demo/cat", place, options={"public": "true"})


@pytest.mark.parametrize("place", ["s3"], indirect=True)
def test_a_record_without_end_is_not_read(place: str, remote: Remote) -> None:
    store = obstore.store.from_url(place, client_options={"allow_http": True})
    obstore.put(store, "names/demo/cat/notes/1.0.0", b" " * (17 << 20))
    with pytest.raises(UpstreamFailed, match="no record"):
        remote.notes()


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("demo/cat", InvalidArgument),
        ("file:///tmp/x", InvalidArgument),
        ("file:///#demo/cat", InvalidArgument),
        ("file://server/share#demo/cat", InvalidArgument),
        ("gopher://x#demo/cat", UnknownName),
    ],
)
def test_what_is_no_address_is_refused(address: str, error: type[LorryError], registry: Registry) -> None:
    with pytest.raises(error):
        registry.clone(address)


def test_a_place_of_many_names_some_of_them(published: Registry, lora: Path) -> None:
    published.publish("demo/dog@1.0.0", [lora])
    place = published.home.as_uri()
    with pytest.raises(InvalidArgument, match=f"many adapters: demo/cat, demo/dog; write {place}#demo/cat, say"):
        published.clone(place)
    with pytest.raises(InvalidArgument, match=f"many adapters; write {place}/no#namespace/name"):
        published.clone(f"{place}/no")
