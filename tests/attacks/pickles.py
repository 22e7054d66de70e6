"""Pickles that ask for calls, tensors that lie about their storage, and programs that only take time or memory."""

from __future__ import annotations

import copyreg
import os
import pickle
import runpy
import struct
import subprocess
import timeit
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch

from .attack import MARKER, TOUCH, Attack, Call, dumps, in_legacy, in_zip, refused, sound, unknown

CALLS: Mapping[str, Call] = {
    "system": Call(os.system, f"touch {MARKER}"),
    "eval": Call(eval, f"open({MARKER!r}, 'w').close()"),
    "exec": Call(exec, f"open({MARKER!r}, 'w').close()"),
    "open": Call(open, MARKER, "w"),
    "getattr": Call(getattr, Call(open, MARKER, "w"), "name"),
    "mkdir": Call(OrderedDict, [(1, Call(os.mkdir, MARKER))]),
    "subprocess": Call(subprocess.check_call, ["touch", MARKER]),
    "runpy": Call(runpy._run_code, f"open({MARKER!r}, 'w').close()", {}),  # type: ignore[attr-defined]  # private there
    "a pickle in a pickle": Call(pickle.loads, pickle.dumps(Call(os.system, f"touch {MARKER}"))),
    "timeit": Call(timeit.timeit, f"open({MARKER!r}, 'w').close()", "pass", timeit.default_timer, 1),
}

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
    "EXT2": b"\x80\x02\x83\xf0\0U\x0c" + TOUCH + b"\x85R.",
    "EXT4": b"\x80\x02\x84\xf0\0\0\0U\x0c" + TOUCH + b"\x85R.",
    "behind a frame": b"\x80\x04\x95" + struct.pack("<Q", 24) + b"cposix\nsystem\nU\x0c" + TOUCH + b"\x85R.",
    "in a table of tensors": b"\x80\x02}X\x01\0\0\0acposix\nsystem\nU\x0c" + TOUCH + b"\x85Rs.",
    "after a discarded value": b"\x80\x02cposix\nsystem\nU\x0c" + TOUCH + b"\x85R0}.",
}  # fmt: skip

EXTENSION = ("posix", "system", 0xF0)
"""What must be in Python's extension registry for the EXT programs to be live."""


def register(*, live: bool) -> None:
    (copyreg.add_extension if live else copyreg.remove_extension)(*EXTENSION)


PROGRAMS: Mapping[str, bytes] = {**OPCODES, **{name: pickle.dumps(call, 4) for name, call in CALLS.items()}}
"""All of these make MARKER when Python's own unpickler runs them."""

STORAGE = ("storage", torch.FloatStorage, "0", "cpu", 4)
REBUILD = torch._utils._rebuild_tensor_v2


def tensor(
    shape: Any = (4,), strides: Any = (1,), offset: Any = 0, storage: Any = STORAGE, rebuild: Any = REBUILD
) -> Call:
    return Call(rebuild, Call(None, persistent=storage), offset, shape, strides, False, OrderedDict())  # noqa: FBT003  torch's order


TENSORS: Mapping[str, tuple[Call, str]] = {
    "a stride of 0 over a terabyte": (tensor((1 << 40,), (0,)), "from a storage that has 4"),
    "two strides of 0": (tensor((1 << 20, 1 << 20), (0, 0)), "from a storage that has 4"),
    "a stride of 0": (tensor((4,), (0,)), "repeats"),
    "rows that overlap past the end": (tensor((3, 2), (1, 1)), "6 elements from a storage that has 4"),
    "rows past the end": (tensor((2, 2), (3, 1)), "5 elements from a storage that has 4"),
    "an offset past the end": (tensor((4,), (1,), 1), "5 elements from a storage that has 4"),
    "an offset of exabytes": (tensor((4,), (1,), 1 << 62), "from a storage that has 4"),
    "a negative offset": (tensor((4,), (1,), -1), "plain counts"),
    "a negative size": (tensor((-4,), (1,)), "plain counts"),
    "a negative stride": (tensor((4,), (-1,)), "plain counts"),
    "a size of true": (tensor((True, 4), (1, 1)), "plain counts"),
    "a size of 4.0": (tensor((4.0,), (1,)), "plain counts"),
    "a size of 80 bits": (tensor((1 << 80, 0), (1, 1)), "plain counts"),
    "65 axes": (tensor((1,) * 65, (1,) * 65), "plain counts"),
    "no strides": (tensor((4,), ()), "equal length"),
    "numbers for shape and strides": (tensor(4, 1), "equal length"),
    "text for shape and strides": (tensor("aaaa", "aaaa"), "equal length"),
    "a storage that is missing": (
        tensor(storage=("storage", torch.FloatStorage, "1", "cpu", 4)), "storage 1 should have 16 bytes and is m"),
    "a storage that is too large": (
        tensor(storage=("storage", torch.FloatStorage, "0", "cpu", 1 << 40)), "should have .* and has 16"),
    "a storage of another dtype": (
        tensor(storage=("storage", torch.HalfStorage, "0", "cpu", 4)), "should have 8 bytes and has 16"),
    "a storage of another name": (
        tensor(storage=("storage", torch.FloatStorage, "../data.pkl", "cpu", 4)), "is missing"),
    "a storage with a number for a name": (
        tensor(storage=("storage", torch.FloatStorage, 0, "cpu", 4)), "without a plain key"),
    "a storage of negative size": (
        tensor(storage=("storage", torch.FloatStorage, "0", "cpu", -4)), "without a plain key"),
    "a storage of no size": (tensor(storage=("storage", torch.FloatStorage, "0", "cpu")), "no storage of a tensor"),
    "a view of a storage": (
        tensor(storage=("storage", torch.FloatStorage, "0", "cpu", 4, ("0", 0, 4))), "no storage of a tensor"),
    "a class for a storage": (tensor(storage=("module", torch.Size, "file", "source")), "no storage of a tensor"),
    "a storage that is a shape": (tensor(storage=("storage", torch.Size, "0", "cpu", 4)), r"bytes in torch\.Size"),
    "a storage that is text": (
        tensor(storage=("storage", "FloatStorage", "0", "cpu", 4)), "bytes in a value of type str"),
    "a storage of complex numbers": (
        tensor(storage=("storage", torch.ComplexDoubleStorage, "0", "cpu", 1)), "ComplexDoubleStorage"),
    "a tensor of a number": (
        Call(REBUILD, 1, 0, (), (), False, {}), "makes a tensor of a value of type int"),  # noqa: FBT003  as above
    "a tensor of too few values": (Call(REBUILD, 1), "values that it does not take"),
    "a parameter of a number": (
        Call(torch._utils._rebuild_parameter, 1, True, {}), "more than a tensor"),  # noqa: FBT003  as above
    "a table of text": (Call(OrderedDict, "ab"), "no list of pairs"),
    "a table of triples": (Call(OrderedDict, [(1, 2, 3)]), "no list of pairs"),
    "a table of a table": (Call(OrderedDict, {"a": 1}), "no list of pairs"),
    "a device that is none": (Call(torch.device, "cpu", "1"), "device that is none"),
}  # fmt: skip

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
    "a frame that claims exabytes": (b"\x80\x04\x95" + b"\xff" * 8 + b"}.", "cut off"),
    "bytes that claim exabytes": (b"\x80\x04\x8e" + b"\xff" * 8 + b"a.", "opcode BINBYTES8"),
    "a number that claims gigabytes": (b"\x80\x02\x8b\xff\xff\xff\x7fa.", "opcode LONG4"),
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

_WRAPS = (in_zip, in_legacy, bytes)

TEXT = "asks to call|pickle opcode"


def _wrapped(at: int, program: bytes) -> bytes:
    """Put the programs into torch's forms by turns; what does not begin like a pickle of torch's stands in a zip."""
    wrap = _WRAPS[at % len(_WRAPS)]
    return wrap(program) if program.startswith(b"\x80") else in_zip(program)


PICKLES: Mapping[str, Attack] = {
    "a tensor": sound(in_zip(dumps({"a": tensor()}), _0=bytes(16)), "a.pt"),
    **refused({name: (_wrapped(at, each), TEXT) for at, (name, each) in enumerate(PROGRAMS.items())}, "a.pt"),
    **refused({"a call under another name": (in_zip(OPCODES["text"]), TEXT)}),
    **refused(
        {name: (in_zip(dumps({"a": call}), _0=bytes(16)), said) for name, (call, said) in TENSORS.items()}, "a.pt"
    ),
    **refused({name: (in_zip(program), said) for name, (program, said) in BOMBS.items()}, "a.pt"),
    "a memo at the end of the world": unknown(in_zip(b"\x80\x02]r\xff\xff\xff\xff."), "holds no tensors", "a.pt"),
    "a memo of a million": unknown(in_zip(b"\x80\x02]" + b"\x94" * 999_990 + b"."), "holds no tensors", "a.pt"),
}
