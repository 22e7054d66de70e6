"""Torch files that attack: each is refused, nothing in it runs, and reading it takes little memory.

That the programs are live is tested too: Python's own unpickler does run them.
"""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import random
import runpy
import struct
import subprocess
import timeit
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from lorry.errors import InvalidFile
from lorry.ops.files import read_file
from lorry_plugins.formats.ckpt import read

MEMORY = 96 << 20
MARKER = "marker"


@contextmanager
def refused(path: Path, said: str = "") -> Iterator[None]:
    """Hold that what happens inside refuses a file for a reason, runs nothing of it and takes little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(InvalidFile, match=said) as error:
            yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(path) in str(error.value)
    assert not Path(MARKER).exists()
    assert peak < MEMORY


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Call:
    """An object whose pickle asks for a call."""

    def __init__(self, call: object, *given: object, persistent: object = None) -> None:
        self.reduced, self.persistent = (call, given), persistent

    def __reduce__(self) -> Any:
        return self.reduced

    def __str__(self) -> str:
        """Name the call for the test's id, the same in every process."""
        return f"call {getattr(self.reduced[0], '__name__', 'persistent')}"


class Pickler(pickle.Pickler):
    """Write `Call(persistent=…)` as a persistent id, as torch writes storages."""

    def persistent_id(self, thing: Any) -> Any:
        return thing.persistent if isinstance(thing, Call) else None


def dumps(thing: object, protocol: int = 2) -> bytes:
    file = io.BytesIO()
    Pickler(file, protocol).dump(thing)
    return file.getvalue()


def zipped(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def in_zip(program: bytes, **members: bytes) -> bytes:
    return zipped({"x/data.pkl": program, **{f"x/data/{key[1:]}": data for key, data in members.items()}})


def in_legacy(program: bytes) -> bytes:
    return pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + program


WRAPPED = pytest.mark.parametrize("wrap", [bytes, in_zip, in_legacy], ids=["bare", "zip", "legacy"])

CALLS: Mapping[str, Call] = {
    "system": Call(os.system, f"touch {MARKER}"),
    "eval": Call(eval, f"open({MARKER!r}, 'w').close()"),
    "exec": Call(exec, f"open({MARKER!r}, 'w').close()"),
    "open": Call(open, MARKER, "w"),
    "getattr": Call(getattr, Call(open, MARKER, "w"), "name"),
    "mkdir": Call(OrderedDict, [(1, Call(os.mkdir, MARKER))]),
    "subprocess": Call(subprocess.check_call, ["touch", MARKER]),
    "runpy": Call(runpy._run_code, f"open({MARKER!r}, 'w').close()", {}),  # type: ignore[attr-defined]
    "timeit": Call(timeit.timeit, f"open({MARKER!r}, 'w').close()", "pass", timeit.default_timer, 1),
}

TOUCH = f"touch {MARKER}".encode()
OPCODES: Mapping[str, bytes] = {
    "text": b"cposix\nsystem\n(S'" + TOUCH + b"'\ntR.",
    "INST": b"(S'" + TOUCH + b"'\niposix\nsystem\n.",
    "OBJ": b"(cposix\nsystem\nS'" + TOUCH + b"'\no.",
    "NEWOBJ of map": b"\x80\x02cbuiltins\nbytes\ncbuiltins\nmap\n(cposix\nsystem\n(S'" + TOUCH + b"'\nlt\x81\x85\x81.",
    "NEWOBJ_EX": b"\x80\x04cbuiltins\nbytes\ncbuiltins\nmap\n(cposix\nsystem\n](U\x0c" + TOUCH + b"et}\x92\x85\x81.",
    "BUILD sets __setstate__": (
        b"\x80\x02ctypes\nSimpleNamespace\n)R}X\x0c\0\0\0__setstate__cposix\nsystem\nsbU\x0c" + TOUCH + b"b."
    ),
    "STACK_GLOBAL": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0c" + TOUCH + b"\x85R.",
    "STACK_GLOBAL from memo": (
        b"\x80\x04]\x8c\x06system\x94a\x8c\x05posix\x94ah\x01h\x00\x93\x8c\x0c" + TOUCH + b"\x85R."
    ),
    "STACK_GLOBAL with dots": (
        b"\x80\x04\x8c\x05torch\x8c\x17serialization.os.system\x93\x8c\x0c" + TOUCH + b"\x85R."
    ),
    "EXT1": b"\x80\x02\x82\xf0U\x0c" + TOUCH + b"\x85R.",
    "in a table of tensors": b"\x80\x02}X\x01\0\0\0acposix\nsystem\nU\x0c" + TOUCH + b"\x85Rs.",
    "after a discarded value": b"\x80\x02cposix\nsystem\nU\x0c" + TOUCH + b"\x85R0}.",
}  # fmt: skip


@pytest.fixture
def _extension() -> Iterator[None]:
    copyreg.add_extension("posix", "system", 0xF0)
    yield
    copyreg.remove_extension("posix", "system", 0xF0)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("_extension")
@pytest.mark.parametrize("program", [*OPCODES.values(), *map(pickle.dumps, CALLS.values())], ids=[*OPCODES, *CALLS])
def test_the_programs_are_live(program: bytes) -> None:
    with suppress(Exception):
        pickle.loads(program)  # noqa: S301  the point of this test
    assert Path(MARKER).exists()


@WRAPPED
@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", CALLS)
def test_calls_are_refused(tmp_path: Path, name: str, protocol: int, wrap: Callable[[bytes], bytes]) -> None:
    file = tmp_path / "a.pt"
    file.write_bytes(wrap(pickle.dumps(CALLS[name], protocol)))
    with refused(file, "asks to call|pickle opcode"):
        read(file)


@WRAPPED
@pytest.mark.usefixtures("_extension")
@pytest.mark.parametrize("name", OPCODES)
def test_tricks_with_opcodes_are_refused(tmp_path: Path, name: str, wrap: Callable[[bytes], bytes]) -> None:
    file = tmp_path / "a.pt"
    file.write_bytes(wrap(OPCODES[name]))
    with refused(file, "asks to call|pickle opcode"):
        read(file)


@pytest.mark.parametrize("zipped_form", [True, False])
def test_a_call_beside_tensors_is_named(tmp_path: Path, *, zipped_form: bool) -> None:
    file = tmp_path / "lora.safetensors"
    torch.save({"a": torch.ones(2), "b": CALLS["system"]}, file, _use_new_zipfile_serialization=zipped_form)
    with refused(file, r"refused: it asks to call posix\.system"):
        read_file(file)


@pytest.mark.parametrize(
    "name",
    ["torch._inductor.codecache.DLLWrapper", "torch.load", "torch.hub.load", "torch.storage._load_from_bytes",
     "torch.jit.unsupported_tensor_ops.execWrapper", "torch.utils.bottleneck.__main__.run_cprofile",
     "torch.utils._config_module.load_config", "torch.utils.collect_env.run", "torch._utils._rebuild_wrapper_subclass",
     "torch._tensor._rebuild_from_type_v2", "numpy.core.multiarray._reconstruct", "builtins.bytearray",
     "builtins.__import__", "pydoc.locate", "cProfile.run", "copyreg._reconstructor", "functools.partial",
     "operator.attrgetter", "collections.defaultdict", "torch.FloatStorage.__init__", "torch._utils.os.system"],
)  # fmt: skip
def test_functions_that_scanners_have_missed_are_refused(tmp_path: Path, name: str) -> None:
    module, _, function = name.rpartition(".")
    file = tmp_path / "a.pt"
    for protocol in (
        f"c{module}\n{function}\n",
        f"\x8c{chr(len(module))}{module}\x8c{chr(len(function))}{function}\x93",
    ):
        file.write_bytes(in_zip(b"\x80\x04" + protocol.encode("latin-1") + b"X\x01\0\0\0x\x85R."))
        with refused(file, f"asks to call {name}"):
            read(file)


STORAGE = ("storage", torch.FloatStorage, "0", "cpu", 4)
REBUILD = torch._utils._rebuild_tensor_v2


def tensor(
    shape: Any = (4,), strides: Any = (1,), offset: Any = 0, storage: Any = STORAGE, rebuild: Any = REBUILD
) -> Call:
    return Call(rebuild, Call(None, persistent=storage), offset, shape, strides, False, OrderedDict())  # noqa: FBT003


def test_the_tensor_the_lies_are_made_from_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(in_zip(dumps({"a": tensor()}), _0=bytes(16)))
    assert read(tmp_path / "a.pt").tensors["a"].torch().tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (tensor((1 << 40,), (0,)), "from a storage that has 4"),
        (tensor((1 << 20, 1 << 20), (0, 0)), "from a storage that has 4"),
        (tensor((4,), (0,)), "repeats"),
        (tensor((3, 2), (1, 1)), "6 elements from a storage that has 4"),
        (tensor((2, 2), (3, 1)), "5 elements from a storage that has 4"),
        (tensor((4,), (1,), 1), "5 elements from a storage that has 4"),
        (tensor((4,), (1,), 1 << 62), "from a storage that has 4"),
        (tensor((4,), (1,), -1), "plain counts"),
        (tensor((-4,), (1,)), "plain counts"),
        (tensor((4,), (-1,)), "plain counts"),
        (tensor((True, 4), (1, 1)), "plain counts"),
        (tensor((4.0,), (1,)), "plain counts"),
        (tensor((1 << 80, 0), (1, 1)), "plain counts"),
        (tensor((1,) * 65, (1,) * 65), "plain counts"),
        (tensor((4,), ()), "equal length"),
        (tensor(4, 1), "equal length"),
        (tensor("aaaa", "aaaa"), "equal length"),
        (tensor(storage=("storage", torch.FloatStorage, "1", "cpu", 4)), "storage 1 should have 16 bytes and is m"),
        (tensor(storage=("storage", torch.FloatStorage, "0", "cpu", 1 << 40)), "should have .* and has 16"),
        (tensor(storage=("storage", torch.HalfStorage, "0", "cpu", 4)), "should have 8 bytes and has 16"),
        (tensor(storage=("storage", torch.FloatStorage, "../data.pkl", "cpu", 4)), "is missing"),
        (tensor(storage=("storage", torch.FloatStorage, 0, "cpu", 4)), "without a plain key"),
        (tensor(storage=("storage", torch.FloatStorage, "0", "cpu", -4)), "without a plain key"),
        (tensor(storage=("storage", torch.FloatStorage, "0", "cpu")), "no storage of a tensor"),
        (tensor(storage=("storage", torch.FloatStorage, "0", "cpu", 4, ("0", 0, 4))), "no storage of a tensor"),
        (tensor(storage=("module", torch.Size, "file", "source")), "no storage of a tensor"),
        (tensor(storage=("storage", torch.Size, "0", "cpu", 4)), r"bytes in torch\.Size"),
        (tensor(storage=("storage", "FloatStorage", "0", "cpu", 4)), "bytes in a value of type str"),
        (tensor(storage=("storage", torch.ComplexDoubleStorage, "0", "cpu", 1)), "ComplexDoubleStorage"),
        (Call(REBUILD, 1, 0, (), (), False, {}), "makes a tensor of a value of type int"),  # noqa: FBT003
        (Call(REBUILD, 1), "values that it does not take"),
        (Call(torch._utils._rebuild_parameter, 1, True, {}), "more than a tensor"),  # noqa: FBT003
        (Call(OrderedDict, "ab"), "no list of pairs"),
        (Call(OrderedDict, [(1, 2, 3)]), "no list of pairs"),
        (Call(OrderedDict, {"a": 1}), "no list of pairs"),
        (Call(torch.device, "cpu", "1"), "device that is none"),
    ],
)  # fmt: skip
def test_tensors_that_lie_are_refused(tmp_path: Path, thing: Call, said: str) -> None:
    file = tmp_path / "a.pt"
    file.write_bytes(in_zip(dumps({"a": thing}), _0=bytes(16)))
    with refused(file, said):
        read(file)


def test_keys_that_share_a_storage_cannot_outgrow_the_file(tmp_path: Path) -> None:
    file, shared = tmp_path / "a.pt", torch.zeros(100_000)
    torch.save({str(at): shared for at in range(20)}, file)
    with refused(file, "share storages"):
        read(file)


BOMBS: Mapping[str, tuple[bytes, str]] = {
    "a million values": (b"\x80\x02](" + b"N" * 1_000_000 + b"e.", "steps"),
    "a hundred thousand lists": (b"\x80\x02](" + b"]" * 100_001 + b"e.", "holds more"),
    "a list of itself": (b"\x80\x02]q\x00h\x00a.", "nested"),
    "lists that double": (
        b"\x80\x02](]q\x00" + b"".join(b"](h%ch%ceq%c" % (at, at, at + 1) for at in range(30)) + b"e.", "holds more",
    ),
    "tuples a hundred thousand deep": (b"\x80\x02" + b"(" * 100_000 + b"N" + b"t" * 100_000 + b".", "nested"),
    "lists a hundred thousand deep": (b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", "nested"),
    "a deep key": (b"\x80\x02}" + b"(" * 100_000 + b"N" + b"t" * 100_000 + b"Ns.", "as the key"),
    "a deep name": (b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"X\x01\0\0\0a\x93.", "as the name"),
    "sets made again and again": (
        b"\x80\x02](" + b"N" * 50_000 + b"eq\x00c__builtin__\nset\nq\x01" + b"(" + b"h\x01h\x00\x85R" * 50_000 + b"e.",
        "steps",
    ),
    "numbers that collide": (
        b"\x80\x02}(" + b"".join(b"\x8a\x0a" + struct.pack("<QH", (at * ((1 << 61) - 1)) % (1 << 64), at >> 3) + b"N"
                                 for at in range(1, 50_000)) + b"u.",
        "type int as the key",
    ),
    "a key of a megabyte": (b"\x80\x02}X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"Ns.", "512 characters"),
    "a text that claims four gigabytes": (b"\x80\x02X\xff\xff\xff\xffa.", "cut off"),
    "a text that claims exabytes": (b"\x80\x04\x8d" + b"\xff" * 8 + b"a.", "cut off"),
    "a name without end": (b"\x80\x02c" + b"a" * 100_000, "cut off"),
    "values under the last mark": (b"\x80\x02N(0t.", "opcode POP"),
    "an empty stack": (b"\x80\x02R.", "empty stack"),
    "no mark": (b"\x80\x02t.", "misses a mark"),
    "a memo of nothing": (b"\x80\x02h\x07.", "never noted"),
    "an odd number of items": (b"\x80\x02}(Nu.", "sets items"),
    "items of a function": (b"\x80\x02ctorch\nSize\nX\x01\0\0\0aNs.", "sets items of torch.Size"),
    "the state of a function": (b"\x80\x02ctorch\nSize\n}b.", "sets the state of torch.Size"),
    "the state of a table": (b"\x80\x02}}X\x08\0\0\0__dict__}sb.", "sets the state"),
    "a call of a dtype": (b"\x80\x02ctorch\nfloat16\n)R.", "asks to call torch.float16"),
    "attributes of a parameter dict": (
        b"\x80\x02ctorch.nn.modules.container\nParameterDict\n)\x81}X\x01\0\0\0aNsb.", "no parameters"),
    "a numpy object": (b"\x80\x02cnumpy\ndtype\nX\x02\0\0\0O8\x85R.", "no plain number"),
    "text that is not UTF-8": (b"\x80\x02U\x01\xff.", "not UTF-8"),
    "an opcode that is none": (b"\x80\x02\xff.", "opcode 0xff"),
    "a persistent id of text": (b"\x80\x02X\x01\0\0\0aQ.", "no storage"),
    "a persistent id of protocol 0": (b"P0\n.", "opcode PERSID"),
    "a buffer out of band": (b"\x80\x05\x97.", "opcode NEXT_BUFFER"),
    "nothing": (b"\x80\x02.", "middle"),
    "a number": (b"\x80\x02K\x01.", "instead of a table"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_and_broken_pickles_are_refused(tmp_path: Path, name: str) -> None:
    program, said = BOMBS[name]
    file = tmp_path / "a.pt"
    file.write_bytes(in_zip(program))
    with refused(file, said):
        read(file)


GOOD = dumps({"a": tensor()})


def patched(data: bytes, at: bytes, offset: int, new: bytes, *, last: bool = False) -> bytes:
    """Replace bytes of a zip, `offset` after the first (or last) record that begins with `at`."""
    place = (data.rindex(at) if last else data.index(at)) + offset
    return data[:place] + new + data[place + len(new) :]


ZIP = in_zip(GOOD, _0=bytes(16))
LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
ARCHIVES: Mapping[str, tuple[bytes, str]] = {
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
    "a directory of millions": (patched(ZIP, END, 10, b"\xff\xff"), "cut off"),
    "a directory past the end": (patched(ZIP, END, 16, b"\xff\xff\xff\x7f"), "cut off"),
    "a directory without mark": (patched(ZIP, CENTRAL, 2, b"\x07"), "damaged"),
    "a locator into nowhere": (
        patched(ZIP, END, 0, struct.pack("<4sIQI", b"PK\x06\x07", 0, 1 << 60, 1) + ZIP[ZIP.rindex(END) :]), "cut off"),
    "a locator to something else": (
        patched(ZIP, END, 0, struct.pack("<4sIQI", b"PK\x06\x07", 0, 0, 1) + ZIP[ZIP.rindex(END) :]), "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_that_attack_are_refused(tmp_path: Path, name: str) -> None:
    data, said = ARCHIVES[name]
    file = tmp_path / "a.pt"
    file.write_bytes(data)
    with refused(file, said):
        read(file)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", GOOD)
        archive.writestr("x/data.pkl", OPCODES["text"])
    with refused(file, "two members"):
        read(file)


def test_the_archive_the_attacks_are_made_from_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(ZIP)
    assert list(read(tmp_path / "a.pt").tensors) == ["a"]


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


@pytest.mark.parametrize("name", LEGACY)
def test_legacy_files_that_attack_are_refused(tmp_path: Path, name: str) -> None:
    data, said = LEGACY[name]
    file = tmp_path / "a.pt"
    file.write_bytes(data)
    with refused(file, said):
        read(file)


def test_the_legacy_file_the_attacks_are_made_from_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(legacy(OLD, ["0"], bytes(16)))
    assert list(read(tmp_path / "a.pt").tensors) == ["a"]


@pytest.mark.parametrize("zipped_form", [True, False])
def test_whatever_bytes_are_changed_it_is_read_or_refused(tmp_path: Path, *, zipped_form: bool) -> None:
    file, chance = tmp_path / "a.pt", random.Random(0)  # noqa: S311  chance, no secret
    torch.save({"a": torch.ones(2, 3).t(), "b": [1, "x"]}, file, _use_new_zipfile_serialization=zipped_form)
    whole = file.read_bytes()
    outcomes = set()
    for _ in range(600):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 0x28, 0x52, 0x7F, 0xFF, chance.randrange(256)))
        file.write_bytes(data)
        try:
            outcomes.add(sum(len(ref.tobytes()) == ref.nbytes for ref in read(file).tensors.values()))
        except InvalidFile:
            outcomes.add(-1)
    assert outcomes >= {-1, 1}
