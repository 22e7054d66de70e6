"""Run a pickle's opcodes on a machine that can build tables of tensors and nothing else.

Python's own unpickler imports whatever a file names and calls it. This one imports nothing: a name is looked up
in a fixed table (`allowed.py`) whose functions only put records together; a name that is not there, and an
opcode that torch never writes, end the reading. What each opcode means: the standard library's pickletools.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

STEP_LIMIT = 1_000_000
"""Opcodes and copied items in one pickle: several times what a large checkpoint with its optimizer takes."""

Known = Mapping[tuple[str, str], "Global"]


class Refused(Exception):
    """Why a pickle is not read; turned into InvalidFile where the file's path is known."""


@dataclass(frozen=True, slots=True)
class Global:
    """What a name in a pickle stands for: the name itself and, for a function, what is done in its place."""

    name: str
    call: Callable[..., Any] | None = None


class Instance(ABC):
    """An object that takes its state after it was made (BUILD)."""

    @abstractmethod
    def set_state(self, state: object) -> None:
        """Take the state, or raise Refused."""


class Machine:
    """Stack, marks and memo of one run.

    `storage` turns a persistent id, torch's way of pointing to a tensor's bytes, into a value.
    """

    def __init__(self, data: bytes, at: int, known: Known, storage: Callable[[object], object]) -> None:
        self.data, self.at, self.known, self.storage = data, at, known, storage
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.steps = 0

    def run(self) -> object:
        """Step through the opcodes until STOP; `at` is then where the pickle ends. Raises Refused."""
        while (code := self.take(1)) != b".":
            self.spend(1)
            step = OPCODES.get(code)
            if step is None:
                raise Refused(f"it uses the pickle opcode {_opcode_name(code)}, which no file of tensors needs")
            step(self)
        if len(self.stack) != 1 or self.marks:
            raise Refused("its pickle ends in the middle of something")
        return self.stack.pop()

    def spend(self, steps: int) -> None:
        """Count work, so that a small file cannot ask for a great deal of it."""
        self.steps += steps
        if self.steps > STEP_LIMIT:
            raise Refused(f"its pickle takes more than {STEP_LIMIT:,} steps")

    def take(self, length: int) -> bytes:
        """Take the next bytes."""
        self.room(length)
        self.at += length
        return self.data[self.at - length : self.at]

    def room(self, length: int) -> None:
        """Make sure that so many bytes follow."""
        if length > len(self.data) - self.at:
            raise Refused("its pickle is cut off")

    def number(self, code: str) -> Any:  # noqa: ANN401  int or float, as the struct code says
        """Take a number."""
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def text(self, length: int) -> str:
        """Take UTF-8 text."""
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            raise Refused("its pickle holds text that is not UTF-8") from None

    def line(self) -> str:
        """Take text up to the end of its line."""
        end = self.data.find(b"\n", self.at, self.at + 1024)
        if end < 0:
            raise Refused("its pickle is cut off")
        text = self.text(end - self.at)
        self.at += 1
        return text

    def push(self, value: object) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:  # noqa: ANN401  a stack holds everything
        """Take the top of the stack, never from below the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Refused("its pickle takes from an empty stack")
        return self.stack.pop()

    def last(self, count: int) -> tuple[Any, ...]:
        """Take the `count` values on top of the stack, in the order they were put there."""
        return tuple(reversed([self.pop() for _ in range(count)]))

    def since_mark(self) -> list[Any]:
        """Take all that was put on the stack since the last mark."""
        if not self.marks:
            raise Refused("its pickle misses a mark")
        at = self.marks.pop()
        items = self.stack[at:]
        del self.stack[at:]
        return items

    def remember(self, at: int) -> None:
        """Note the top of the stack in the memo."""
        value = self.pop()
        self.memo[at] = value
        self.push(value)

    def recall(self, at: int) -> None:
        """Put a noted value on the stack."""
        if at not in self.memo:
            raise Refused("its pickle recalls what it never noted")
        self.push(self.memo[at])

    def look_up(self, module: object, name: object) -> None:
        """Put what a name stands for on the stack."""
        if type(module) is not str or type(name) is not str:
            raise Refused(f"it uses {describe(name)} of {describe(module)} as the name of a function")
        found = self.known.get((module, name))
        if found is None:
            raise Refused(f"it asks to call {shown(f'{module}.{name}')}, which no file of tensors needs")
        self.push(found)

    def call(self) -> None:
        """Call a function of the table."""
        function, given = self.last(2)
        if not isinstance(function, Global) or function.call is None or type(given) is not tuple:
            raise Refused(f"it asks to call {describe(function)}")
        self.spend(_weight(given))
        try:
            self.push(function.call(*given))
        except TypeError:
            raise Refused(f"it calls {function.name} with values that it does not take") from None

    def point(self) -> None:
        """Turn a persistent id into a storage."""
        pointer = self.pop()
        self.spend(_weight(pointer) if isinstance(pointer, tuple) else 1)
        self.push(self.storage(pointer))

    def build(self) -> None:
        """Give an object its state; what a state dict keeps beside its entries, module versions, is no content."""
        target, state = self.last(2)
        if isinstance(target, Instance):
            target.set_state(state)
        elif type(target) is not dict or type(state) is not dict or any(key != "_metadata" for key in state):
            raise Refused(f"it sets the state of {describe(target)}")
        self.push(target)

    def extend(self, items: list[Any]) -> None:
        """Add items to the list on top of the stack."""
        target = self.pop()
        if type(target) is not list:
            raise Refused(f"it adds items to {describe(target)}")
        target.extend(items)
        self.push(target)

    def update(self, items: list[Any]) -> None:
        """Add keys and values, one after the other, to the table on top of the stack."""
        target = self.pop()
        if type(target) is not dict or len(items) % 2:
            raise Refused(f"it sets items of {describe(target)}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[check_key(key)] = value
        self.push(target)

    def mark(self) -> None:
        """Mark the top of the stack."""
        self.marks.append(len(self.stack))


def check_key(key: object) -> str | int:
    """Return a table's key: text, a name, or a number too small for hashes to collide; else raise Refused."""
    if isinstance(key, Global) and key.call is None:
        return key.name
    if type(key) is str or (type(key) is int and abs(key) < 1 << 60):
        return key
    raise Refused(f"it uses {describe(key)} as the key of a table")


def describe(value: object) -> str:
    """Say what a value is, for a message; never what it holds, which may be anything."""
    return value.name if isinstance(value, Global) else f"a value of type {type(value).__name__}"


def shown(name: str) -> str:
    """Make a name from a file fit to print."""
    return name[:100] if name[:100].isprintable() else ascii(name[:100])


def _weight(values: Iterable[object]) -> int:
    return sum(len(each) for each in values if isinstance(each, (str, bytes, tuple, list, dict)))


def _opcode_name(code: bytes) -> str:
    import pickletools

    names = {each.code: each.name for each in pickletools.opcodes}
    return names.get(code.decode("latin-1"), f"0x{code.hex()}")


OPCODES: Mapping[bytes, Callable[[Machine], object]] = {
    b"\x80": lambda m: m.take(1),  # PROTO
    b"\x95": lambda m: m.room(m.number("<Q")),  # FRAME
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(value=True),
    b"\x89": lambda m: m.push(value=False),
    b"K": lambda m: m.push(m.number("<B")),  # BININT1
    b"M": lambda m: m.push(m.number("<H")),  # BININT2
    b"J": lambda m: m.push(m.number("<i")),  # BININT
    b"\x8a": lambda m: m.push(int.from_bytes(m.take(m.number("B")), "little", signed=True)),  # LONG1
    b"G": lambda m: m.push(m.number(">d")),  # BINFLOAT
    b"X": lambda m: m.push(m.text(m.number("<I"))),  # BINUNICODE
    b"\x8c": lambda m: m.push(m.text(m.number("B"))),  # SHORT_BINUNICODE
    b"\x8d": lambda m: m.push(m.text(m.number("<Q"))),  # BINUNICODE8
    b"T": lambda m: m.push(m.text(m.number("<I"))),  # BINSTRING, text of Python 2
    b"U": lambda m: m.push(m.text(m.number("B"))),  # SHORT_BINSTRING
    b"B": lambda m: m.push(m.take(m.number("<I"))),  # BINBYTES
    b"C": lambda m: m.push(m.take(m.number("B"))),  # SHORT_BINBYTES
    b")": lambda m: m.push(()),
    b"\x85": lambda m: m.push(m.last(1)),  # TUPLE1
    b"\x86": lambda m: m.push(m.last(2)),  # TUPLE2
    b"\x87": lambda m: m.push(m.last(3)),  # TUPLE3
    b"(": Machine.mark,
    b"t": lambda m: m.push(tuple(m.since_mark())),  # TUPLE
    b"]": lambda m: m.push([]),
    b"\x8f": lambda m: m.push([]),  # EMPTY_SET: kept as a list, in the file's order
    b"a": lambda m: m.extend(list(m.last(1))),  # APPEND
    b"e": lambda m: m.extend(m.since_mark()),  # APPENDS
    b"\x90": lambda m: m.extend(m.since_mark()),  # ADDITEMS
    b"}": lambda m: m.push({}),
    b"s": lambda m: m.update(list(m.last(2))),  # SETITEM
    b"u": lambda m: m.update(m.since_mark()),  # SETITEMS
    b"q": lambda m: m.remember(m.number("B")),  # BINPUT
    b"r": lambda m: m.remember(m.number("<I")),  # LONG_BINPUT
    b"\x94": lambda m: m.remember(len(m.memo)),  # MEMOIZE
    b"h": lambda m: m.recall(m.number("B")),  # BINGET
    b"j": lambda m: m.recall(m.number("<I")),  # LONG_BINGET
    b"c": lambda m: m.look_up(m.line(), m.line()),  # GLOBAL
    b"\x93": lambda m: m.look_up(*m.last(2)),  # STACK_GLOBAL
    b"R": Machine.call,  # REDUCE
    b"\x81": Machine.call,  # NEWOBJ
    b"b": Machine.build,
    b"Q": Machine.point,  # BINPERSID
}
"""What torch writes, in protocols 2 to 5 and from Python 2 and 3."""
