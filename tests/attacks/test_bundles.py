"""Bundles that lie: whatever is wrong with one, it is told and nothing of it is in, nor anywhere else."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorry.errors import InvalidFile, LorryError, VerificationFailed
from lorry_registry import Registry
from lorry_registry.bundle.carry import Import
from tests.registry.helpers import write_lora

Members = dict[str, bytes]


def unpack(path: Path) -> Members:
    with tarfile.open(path, "r:") as archive:
        return {each.name: (archive.extractfile(each) or pytest.fail(each.name)).read() for each in archive}


def pack(members: Members, *extra: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in extra:
            archive.addfile(info)
    return out.getvalue()


def special(kind: bytes, name: str = "blobs/x", link: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def sized(name: str, size: int) -> bytes:
    """Return the header of a member that claims a size."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def sparse() -> bytes:
    """Return a member of one byte that claims to be a terabyte of holes."""
    info = tarfile.TarInfo(f"blobs/sha256/{'0' * 64}")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"00000000000\x00" + b"00000001000\x00"
    header[483:495] = tarfile.itn(1 << 40, 12, tarfile.GNU_FORMAT)  # type: ignore[attr-defined]  # not in its stubs
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(512)


def pax(records: bytes, data: bytes = b"x") -> bytes:
    """Return a member with an extended header before it."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, len(records)
    return (
        info.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % 512) + sized("blobs/x", 1) + data.ljust(512)
    )


def renamed(members: Members, change: Callable[[Any], None]) -> Members:
    """Change the index."""
    index = json.loads(members["index.json"])
    change(index)
    text = json.dumps(index, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return members | {"index.json": text.encode()}


def blob(members: Members, *, largest: bool) -> str:
    names = sorted((name for name in members if name.startswith("blobs/")), key=lambda name: len(members[name]))
    return names[-1 if largest else 0]


def without(members: Members, name: str) -> Members:
    return {each: data for each, data in members.items() if each != name}


def weights(members: Members) -> str:
    """Return the blob that begins as safetensors do."""
    return next(name for name, data in members.items() if name.startswith("blobs/") and data[8:9] == b"{")


def second(members: Members) -> Any:
    """Return the first name of the index."""
    return json.loads(members["index.json"])["manifests"][0]


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def foreign(members: Members) -> Members:
    """Return a bundle whose version is that of another adapter."""
    return renamed(members, lambda index: index["manifests"][0]["annotations"].update(
        {"org.opencontainers.image.ref.name": "demo/dog:1.0.0"}))  # fmt: skip


def added(members: Members, name: str, digest: str) -> Members:
    """Return a bundle whose index names something more."""
    entry = {"digest": digest, "annotations": {"org.opencontainers.image.ref.name": name}}
    return renamed(members, lambda index: index["manifests"].append(entry))


def astray(members: Members) -> Members:
    """Return a bundle with an alias of a version that is not in it."""
    data = members["blobs/" + second(members)["digest"].replace(":", "/")]
    data = data.replace(b'image.version":"1.0.0"', b'image.version":"7.0.0"')
    sha256 = hashlib.sha256(data).hexdigest()
    return added(members | {f"blobs/sha256/{sha256}": data}, "demo/cat:best", f"sha256:{sha256}")


def named(name: str) -> Callable[[Members], bytes]:
    return lambda members: pack(
        renamed(members, lambda index: index["manifests"][0]["annotations"].update(
            {"org.opencontainers.image.ref.name": name})))  # fmt: skip


ATTACKS: dict[str, tuple[Callable[[Members], bytes], type[LorryError]]] = {
    "traversal": (lambda m: pack(m | {"../../escaped": b"x"}), InvalidFile),
    "absolute": (lambda m: pack(m | {"/escaped": b"x"}), InvalidFile),
    "traversal in a blob's name": (lambda m: pack(m | {"blobs/sha256/../../escaped": b"x"}), InvalidFile),
    "another file": (lambda m: pack(m | {"README": b"x"}), InvalidFile),
    "symbolic link": (lambda m: pack(m, special(tarfile.SYMTYPE)), InvalidFile),
    "symbolic link for a blob": (
        lambda m: pack(without(m, weights(m)), special(tarfile.SYMTYPE, weights(m))), InvalidFile,
    ),
    "hard link": (lambda m: pack(m, special(tarfile.LNKTYPE)), InvalidFile),
    "character device": (lambda m: pack(m, special(tarfile.CHRTYPE)), InvalidFile),
    "block device": (lambda m: pack(m, special(tarfile.BLKTYPE)), InvalidFile),
    "pipe": (lambda m: pack(m, special(tarfile.FIFOTYPE)), InvalidFile),
    "folder": (lambda m: pack(m, special(tarfile.DIRTYPE)), InvalidFile),
    "unknown kind": (lambda m: pack(m, special(b"Z")), InvalidFile),
    "terabyte of holes": (lambda m: sparse() + pack(m), InvalidFile),
    "size over the file": (lambda m: sized("oci-layout", 1 << 40) + pack(m), InvalidFile),
    "size below nothing": (lambda m: sized("oci-layout", -512) + pack(m), InvalidFile),
    "extended header of another size": (lambda m: pax(b"16 size=99999999\n") + pack(m), InvalidFile),
    "extended header of another name": (lambda m: pax(b"16 path=../../x\n") + pack(m), InvalidFile),
    "long name": (lambda m: pack(m | {"blobs/sha256/" + "0" * 300: b"x"}), InvalidFile),
    "twice": (lambda m: pack(m)[:-10240] + pack({weights(m): b"other"}), InvalidFile),
    "wrong checksum": (lambda m: b"O" + pack(m)[1:], InvalidFile),
    "no end": (lambda m: pack(m).rstrip(b"\0"), InvalidFile),
    "cut in a blob": (lambda m: pack(m)[:3000], InvalidFile),
    "behind the end": (lambda m: pack(m) + pack(m), InvalidFile),
    "megabytes of nothing behind": (lambda m: pack(m) + bytes(2 << 20), InvalidFile),
    "compressed": (lambda m: gzip.compress(pack(m)), InvalidFile),
    "nothing": (lambda _: b"", InvalidFile),
    "not even tar": (lambda _: b"PK\3\4" * 1000, InvalidFile),
    "no index": (lambda m: pack(without(m, "index.json")), InvalidFile),
    "no mark": (lambda m: pack(without(m, "oci-layout")), InvalidFile),
    "another mark": (lambda m: pack(m | {"oci-layout": b'{"imageLayoutVersion":"9"}'}), InvalidFile),
    "index that is no JSON": (lambda m: pack(m | {"index.json": b"{"}), InvalidFile),
    "index without end": (lambda m: pack(m | {"index.json": b"[" * 1_000_000}), InvalidFile),
    "index of other things": (lambda m: pack(m | {"index.json": b'{"manifests":[1]}'}), InvalidFile),
    "index of numbers": (lambda m: pack(renamed(m, lambda i: i["manifests"][0].update(digest=1))), InvalidFile),
    "index names a path": (named("../x:1.0.0"), InvalidFile),
    "index names no tag": (named("demo/cat:a b"), InvalidFile),
    "index names one twice": (lambda m: pack(renamed(m, lambda i: i["manifests"].append(second(m)))), InvalidFile),
    "missing blob": (lambda m: pack(without(m, weights(m))), InvalidFile),
    "missing manifest": (
        lambda m: pack(without(m, "blobs/" + second(m)["digest"].replace(":", "/"))), InvalidFile,
    ),
    "other bytes": (lambda m: pack(m | {weights(m): flipped(m[weights(m)])}), VerificationFailed),
    "shorter bytes": (lambda m: pack(m | {weights(m): m[weights(m)][:-1]}), VerificationFailed),
    "a version that is another": (lambda m: pack(added(m, "demo/cat:2.0.0", second(m)["digest"])), VerificationFailed),
    "an alias of nothing": (lambda m: pack(astray(m)), InvalidFile),
    "another version's manifest": (lambda m: pack(foreign(m)), VerificationFailed),
}  # fmt: skip


@pytest.fixture
def bundle(tmp_path: Path) -> Members:
    """The members of a good bundle."""
    home = Registry(tmp_path / "source")
    home.publish("demo/cat@1.0.0", [write_lora(tmp_path / "cat.safetensors")])
    home.export(["demo/cat"], tmp_path / "good.tar")
    return unpack(tmp_path / "good.tar")


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_bundle_that_lies_is_refused_and_leaves_nothing(attack: str, bundle: Members, tmp_path: Path) -> None:
    make, error = ATTACKS[attack]
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "bad.tar"
    path.write_bytes(make(bundle))
    home = Registry(tmp_path / "in" / "home")
    before = outside(tmp_path)
    with pytest.raises(error):
        home.import_(path)
    assert home.ls() == []
    assert outside(tmp_path) == before


def outside(folder: Path) -> set[Path]:
    """List everything but what a registry makes for itself."""
    return {each for each in folder.rglob("*") if "home" not in each.parts} | set(Path("/").glob("escaped*"))


def test_the_attacks_are_on_a_bundle_that_is_good(bundle: Members, tmp_path: Path) -> None:
    (tmp_path / "again.tar").write_bytes(pack(bundle))
    home = Registry(tmp_path / "home")
    home.import_(tmp_path / "again.tar")
    assert home.verify("demo/cat")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders here")
def test_a_pipe_is_no_bundle(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidFile, match="no regular file"):
        Registry(tmp_path / "home").import_(tmp_path / "pipe")


def test_a_blob_that_changes_after_the_check_is_not_let_in(
    bundle: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "changing.tar"
    path.write_bytes(pack(bundle))
    work = Import(Registry(tmp_path / "home").store, path)
    name = weights(bundle)
    check = work._bundle.verify

    def swap() -> None:
        check()
        path.write_bytes(path.read_bytes().replace(bundle[name], flipped(bundle[name])))

    monkeypatch.setattr(work._bundle, "verify", swap)
    with pytest.raises(VerificationFailed):
        list(work.run())
    assert Registry(tmp_path / "home").ls() == []
