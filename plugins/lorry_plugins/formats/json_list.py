"""The json container: a list of matrices as nested lists of numbers, as cloneofsimo/lora's `save_lora_as_json` writes.

Numbers are read as F32. Everything is in memory, so larger files than these small LoRAs are refused.
"""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lorry.errors import InvalidFile, NotRepresentable
from lorry.ir.tensor import TensorRef, from_bytes
from lorry.ir.tensor_map import TensorMap
from lorry.plugin import Container, hookimpl

LORRY_API = 1

_LARGEST = 128 << 20
_MOST_ROWS = 1 << 20
_MOST_NUMBERS = 6 << 20
"""As many as 128 MiB hold at full length; shorter ones would take many times the memory of their text."""
_DEEPEST = 4


@hookimpl
def lorry_containers() -> Iterable[Container]:
    """Provide the container."""
    return [
        Container(
            name="json",
            title="JSON lists of numbers",
            suffixes=(".json",),
            sniff=sniff,
            read=read,
            write=write,
            metadata=False,
        )
    ]


def sniff(path: Path) -> bool:
    """Tell from the first bytes: a list of lists of lists."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return b"".join(file.read(64).split()).startswith(b"[[[")


def read(path: Path) -> TensorMap:
    """Read every item of the outer list as a tensor by its number; raise InvalidFile for what is none."""
    if path.stat().st_size > _LARGEST:
        raise InvalidFile(f"{path} has more than {_LARGEST:,} bytes of JSON, which no adapter in this form has")
    data = path.read_bytes()
    if data.count(b"[") > _MOST_ROWS or data.count(b"{") or data.count(b",") > _MOST_NUMBERS:
        raise InvalidFile(f"{path} has more lists and numbers than an adapter in this form; it is refused")
    try:
        items = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidFile(f"{path} is not JSON: {error}") from error
    return TensorMap(
        tensors={str(at): _tensor(item, f"{path}: item {at}") for at, item in enumerate(items)}, paths=(path,)
    )


def write(source: TensorMap, path: Path) -> None:
    """Write tensors of a list; numbers of every dtype are written in full.

    Raises NotRepresentable for what no list of numbers can say: names, empty tensors, numbers alone, side files.
    """
    order = (str(at) for at in itertools.count())
    strange = {key: "is named, not numbered" for key, at in zip(source.tensors, order, strict=False) if key != at}
    strange |= {key: "is no matrix" for key, ref in source.tensors.items() if len(ref.shape) < 2 or not ref.numel}  # noqa: PLR2004  rows and columns
    strange |= dict.fromkeys([*source.values, *source.sides], "is no tensor")
    if strange:
        raise NotRepresentable("a JSON list", strange)
    items = [_nested(ref.torch().double().flatten().tolist(), ref.shape) for ref in source.tensors.values()]
    path.write_text(json.dumps(items), encoding="utf-8")


def _tensor(item: object, where: str) -> TensorRef:
    shape: list[int] = []
    level = [item]
    while any(isinstance(each, list) for each in level):
        rows = [each for each in level if isinstance(each, list)]
        if len(rows) != len(level) or len({len(row) for row in rows}) != 1 or len(shape) == _DEEPEST:
            raise InvalidFile(f"{where} is no tensor: its rows differ in length or depth")
        shape.append(len(rows[0]))
        level = list(itertools.chain.from_iterable(rows))
    try:
        return from_bytes("F32", tuple(shape), struct.pack(f"<{len(level)}f", *level))
    except (struct.error, OverflowError) as error:
        raise InvalidFile(f"{where} holds what is no number that F32 can keep: {error}") from error


def _nested(numbers: Sequence[float], shape: tuple[int, ...]) -> Any:  # noqa: ANN401  lists as deep as the shape
    if not shape:
        return numbers[0]
    size = len(numbers) // shape[0] if shape[0] else 0
    return [_nested(numbers[at * size : (at + 1) * size], shape[1:]) for at in range(shape[0])]
