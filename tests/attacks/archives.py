"""Zip files and files of torch's old form that lie about what is in them."""

from __future__ import annotations

import io
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping

import torch

from .attack import Attack, Call, dumps, in_legacy, in_zip, opened, patched, refused, sound, unknown, zipped
from .pickles import OPCODES, STORAGE, tensor

GOOD = dumps({"a": tensor()})
ZIP = in_zip(GOOD, _0=bytes(16))
LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
ZIPS: Mapping[str, tuple[bytes, str]] = {
    "a compressed bomb": (
        zipped({"x/data.pkl": GOOD, "x/data/0": bytes(64 << 20)}, zipfile.ZIP_DEFLATED), "compressed"),
    "a hidden second pickle": (
        zipped({"x/data.pkl": GOOD, "x/data/0": bytes(16), "x/evil.pkl": OPCODES["text"]}), "torch does not write"),
    "code of TorchScript": (zipped({"x/data.pkl": GOOD, "x/code/__torch__.py": b""}), "torch does not write"),
    "a path upwards": (zipped({"x/data.pkl": GOOD, "x/../../etc/passwd": b""}), "torch does not write"),
    "a folder upwards": (zipped({"../data.pkl": GOOD}), "torch does not write"),
    "an absolute path": (zipped({"/data.pkl": GOOD}), "torch does not write"),
    "a path of Windows": (zipped({"x\\..\\y/data.pkl": GOOD}), "torch does not write"),
    "two folders": (zipped({"x/data.pkl": GOOD, "y/data.pkl": OPCODES["text"], "x/data/0": b""}), "two members"),
    "parts in two folders": (zipped({"x/data.pkl": GOOD, "y/data/0": bytes(16)}), "2 folders"),
    "no pickle": (zipped({"x/data/0": bytes(16)}), "without data.pkl"),
    "a big-endian machine": (zipped({"x/data.pkl": GOOD, "x/data/0": bytes(16), "x/byteorder": b"big"}), "big-endian"),
    "a second pickle behind the first": (in_zip(GOOD + OPCODES["text"], _0=bytes(16)), "follows the end"),
    "something after the archive": (ZIP + OPCODES["text"], "followed by something"),
    "a comment": (patched(ZIP, END, 20, b"\x03\0") + b"abc", "followed by something"),
    "an encrypted member": (patched(ZIP, CENTRAL, 8, b"\x01\0"), "encrypted"),
    "a method in the directory": (patched(ZIP, CENTRAL, 10, b"\x08\0"), "compressed"),
    "two sizes": (patched(ZIP, CENTRAL, 20, b"\x01\0\0\0"), "compressed"),
    "a member of four gigabytes": (patched(ZIP, CENTRAL, 20, b"\xfe\xff\xff\xff" * 2), "larger than itself"),
    "a member of exabytes": (patched(ZIP, CENTRAL, 20, b"\xff\xff\xff\xff" * 2), "larger than itself"),
    "a member past the end": (patched(ZIP, CENTRAL, 42, b"\xf0\xff\xff\xff", last=True), "beyond its end"),
    "a member at another place": (patched(ZIP, CENTRAL, 42, b"\0\0\0\0", last=True), "not where the directory says"),
    "a member of another name": (patched(ZIP, LOCAL, 30, b"y"), "not where the directory says"),
    "a local header without mark": (patched(ZIP, LOCAL, 2, b"\x07", last=True), "not where the directory says"),
    "a directory of millions": (patched(ZIP, END, 10, b"\xfe\xff"), "65,534 members"),
    "a directory past the end": (patched(ZIP, END, 16, b"\xff\xff\xff\x7f"), "cut off"),
    "a directory without mark": (patched(ZIP, CENTRAL, 2, b"\x07"), "damaged"),
    "a locator into nowhere": (
        patched(ZIP, END, 0, struct.pack("<4sIQI", b"PK\x06\x07", 0, 1 << 60, 1) + ZIP[ZIP.rindex(END) :]), "cut off"),
    "a locator to something else": (
        patched(ZIP, END, 0, struct.pack("<4sIQI", b"PK\x06\x07", 0, 0, 1) + ZIP[ZIP.rindex(END) :]), "damaged"),
}  # fmt: skip


def legacy(thing: object, keys: object, *storages: bytes, numel: int = 4) -> bytes:
    parts = [struct.pack("<q", numel) + storage for storage in storages]
    return in_legacy(dumps(thing)) + pickle.dumps(keys, 2) + b"".join(parts)


OLD = {"a": tensor(storage=(*STORAGE, None))}
LEGACY: Mapping[str, tuple[bytes, str]] = {
    "a pickle behind the storages": (legacy(OLD, ["0"], bytes(16)) + OPCODES["text"], "follows its last storage"),
    "a storage of another size": (legacy(OLD, ["0"], bytes(16), numel=1 << 40), "cut off or not of the size"),
    "a negative storage": (legacy(OLD, ["0"], bytes(16), numel=-1), "cut off or not of the size"),
    "a storage that is missing": (legacy(OLD, []), "does not name those"),
    "a storage of nobody": (legacy(OLD, ["0", "1"], bytes(16), bytes(16)), "does not name those"),
    "a storage twice": (legacy(OLD, ["0", "0"], bytes(16), bytes(16)), "does not name those"),
    "keys that are no list": (legacy(OLD, 1), "does not name those"),
    "a storage with two faces": (
        legacy([OLD, tensor(storage=("storage", torch.IntStorage, "0", "cpu", 4))], ["0"], bytes(16)), "in two ways"),
    "a storage among the keys": (
        in_legacy(dumps(OLD)) + dumps([Call(None, persistent=STORAGE)]) + bytes(24), "where none"),
    "another magic number": (pickle.dumps(1, 2) * 5, "not one that torch wrote"),
    "only a magic number": (pickle.dumps(0x1950A86A20F9469CFC6C, 2), "cut off"),
}  # fmt: skip


def twice() -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("x/data.pkl", GOOD)
        archive.writestr("x/data.pkl", OPCODES["text"])
    return file.getvalue()


def ending64(count: int, length: int, start: int) -> bytes:
    """Give the sound archive a second end of its directory, of zip64, that says otherwise."""
    at = ZIP.rindex(END)
    wide = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, start)
    return ZIP[:at] + wide + struct.pack("<4sIQI", b"PK\x06\x07", 0, at, 1) + ZIP[at:]


def overlapping() -> bytes:
    """Let the storage lie in the pickle's own bytes, behind a header of its own."""
    storage = zipped({"x/data/0": bytes(16)})
    hidden = storage[: storage.index(CENTRAL)]
    whole = in_zip(b"\x80\x02C" + bytes([len(hidden)]) + hidden + b"0.", _0=bytes(16))
    return patched(whole, CENTRAL, 42, struct.pack("<I", whole.index(hidden)), last=True)


_LENGTH, _START = struct.unpack_from("<2I", ZIP, ZIP.rindex(END) + 12)

DIRECTORIES: Mapping[str, tuple[bytes, str]] = {
    "a name twice": (twice(), "two members"),
    "a wrong checksum of the pickle": (patched(ZIP, CENTRAL, 16, b"abcd"), "described in two ways"),
    "a wrong checksum in both places": (
        patched(patched(ZIP, CENTRAL, 16, b"abcd"), LOCAL, 14, b"abcd"), "not what its CRC-32 says"),
    "a call with a wrong checksum": (
        patched(patched(in_zip(OPCODES["text"]), CENTRAL, 16, b"abcd"), LOCAL, 14, b"abcd"), "not what its CRC-32"),
    "a method only in front of the member": (patched(ZIP, LOCAL, 8, b"\x08\0"), "described in two ways"),
    "a lock only in front of the member": (patched(ZIP, LOCAL, 6, b"\x01\0"), "described in two ways"),
    "a size only in front of the member": (patched(ZIP, LOCAL, 18, b"\x01\0\0\0"), "described in two ways"),
    "members one in the other": (overlapping(), "overlaps"),
    "two directories": (ending64(1, _LENGTH, _START), "two directories"),
    "a directory of zip64 somewhere else": (ending64(2, _LENGTH, _START - 1), "two directories"),
    "more in the directory than it counts": (patched(ZIP, END, 8, b"\1\0\1\0"), "more in its directory"),
    "something between directory and end": (
        ZIP[: ZIP.rindex(END)] + OPCODES["text"] + ZIP[ZIP.rindex(END) :], "between its directory"),
}  # fmt: skip

STRANGE = ("an absolute path", "a path of Windows")
"""Their first member is none of torch's, so nothing takes them for its own."""

ARCHIVES: Mapping[str, Attack] = {
    "an archive": sound(ZIP, "a.pt"),
    "an archive with two equal directories": sound(ending64(2, _LENGTH, _START), "a.pt"),
    "an old file": sound(legacy(OLD, ["0"], bytes(16)), "a.pt"),
    "an archive without checksums": sound(patched(patched(ZIP, CENTRAL, 16, bytes(4)), LOCAL, 14, bytes(4)), "a.pt"),
    "a damaged storage": opened(patched(ZIP, b"x/data/0", 8, b"\1"), "not what its CRC-32 says", name="a.pt"),
    **refused({name: each for name, each in ZIPS.items() if name not in STRANGE}, "a.pt"),
    **{name: unknown(ZIPS[name][0], "is a zip archive, but not one that torch wrote", "a.pt") for name in STRANGE},
    **refused(DIRECTORIES, "a.pt"),
    **refused(LEGACY, "a.pt"),
}
