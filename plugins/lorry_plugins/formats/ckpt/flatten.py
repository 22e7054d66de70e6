"""From nested tables and lists to one table with dotted keys."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lorry.ir.tensor import TensorRef
from lorry.ir.tensor_map import Scalar
from lorry_plugins.formats.ckpt.allowed import ParameterDict
from lorry_plugins.formats.ckpt.opcodes import Global, Refused, describe, shown

DEPTH_LIMIT = 32
KEY_LIMIT = 512
VALUE_LIMIT = 100_000
TENSOR_LIMIT = 16_384
"""Five times those of the largest checkpoint with its optimizer's."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def flatten(root: object, limit: int) -> tuple[dict[str, TensorRef], dict[str, Scalar]]:
    """Split what a pickle holds into tensors and plain values by dotted key; items of lists by their number.

    Raises Refused for leaves of other types, for keys that would coincide, for what goes on without end, and for
    tensors of more than `limit` bytes together.
    """
    if not isinstance(root, (dict, list, tuple, ParameterDict)):
        raise Refused(f"it holds {describe(root)} instead of a table or list of tensors")
    tensors: dict[str, TensorRef] = {}
    values: dict[str, Scalar] = {}
    for key, leaf in _leaves(root):
        if _CONTROL.search(key):
            raise Refused(f"the key {shown(key)} has control characters")
        if key in tensors or key in values:
            raise Refused(f"it holds two values that would both be called {shown(key)}")
        if isinstance(leaf, TensorRef):
            tensors[key] = leaf
        else:
            values[key] = _scalar(key, leaf)
    if len(tensors) > TENSOR_LIMIT:
        raise Refused(f"it holds {len(tensors):,} tensors, more than {TENSOR_LIMIT:,}")
    if sum(ref.nbytes for ref in tensors.values()) > limit:
        raise Refused(f"its tensors, which share storages, would take more than {limit:,} bytes")
    return tensors, values


def _scalar(key: str, leaf: object) -> Scalar:
    if isinstance(leaf, Global) and leaf.call is None:
        return leaf.name
    if leaf is None or isinstance(leaf, (str, int, float)):
        return leaf
    raise Refused(f"{shown(key)} is {describe(leaf)}, neither a tensor nor a plain value")


def _leaves(root: object) -> Iterator[tuple[str, object]]:
    """Walk in order; tables and lists count towards the limit too, since a few can refer to each other for ever."""
    pending: list[tuple[str, object, int]] = [("", root, 0)]
    seen = 0
    while pending:
        key, node, depth = pending.pop()
        if isinstance(node, ParameterDict):
            node = node.parameters
        if isinstance(node, dict):
            children = list(node.items())
        elif isinstance(node, (list, tuple)):
            children = list(enumerate(node))
        else:
            yield key, node
            continue
        seen += len(children)
        if depth == DEPTH_LIMIT or seen > VALUE_LIMIT:
            raise Refused(f"it is nested more than {DEPTH_LIMIT} deep or holds more than {VALUE_LIMIT:,} values")
        for name, child in reversed(children):
            path = f"{key}.{name}" if key else str(name)
            if len(path) > KEY_LIMIT:
                raise Refused(f"the key {shown(path)}… has more than {KEY_LIMIT} characters")
            pending.append((path, child, depth + 1))
