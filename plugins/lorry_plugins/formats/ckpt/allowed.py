"""The names a file of tensors may use, and what is done in their place: records are put together, no more."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence

from lorry.ir.tensor import TensorRef
from lorry_plugins.formats.ckpt.opcodes import Global, Instance, Refused, check_key, describe
from lorry_plugins.formats.ckpt.tensors import STORAGES, view

DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2", "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0", "complex64": "C64", "int64": "I64", "int32": "I32", "int16": "I16",
    "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
"""What torch calls each dtype."""

_NUMPY_CODES = {
    "f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b",
    "u8": "Q", "u4": "I", "u2": "H", "u1": "B", "b1": "?",
}  # fmt: skip


class ParameterDict(Instance):
    """A torch.nn.ParameterDict, as A1111's first embeddings hold one: its parameters by name."""

    def __init__(self) -> None:
        self.parameters: dict[str | int, object] = {}

    def set_state(self, state: object) -> None:
        """Take the parameters out of a module's attributes; the others are hooks and flags of a live module."""
        if type(state) is not dict or type(state.get("_parameters")) is not dict:
            raise Refused("its ParameterDict has no parameters")
        if state.get("_buffers") or state.get("_modules"):
            raise Refused("its ParameterDict holds more than parameters")
        self.parameters = state["_parameters"]


class NumpyType(Instance):
    """A numpy.dtype of plain numbers."""

    def __init__(self, code: object) -> None:
        if type(code) is not str or code not in _NUMPY_CODES:
            raise Refused("it holds a numpy value that is no plain number")
        self.letter = _NUMPY_CODES[code]
        self.order = "<"

    def set_state(self, state: object) -> None:
        """Take the byte order: (version, order, …)."""
        if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", ">", "|", "="):  # noqa: PLR2004  up to the order
            raise Refused("it holds a numpy value of unknown byte order")
        self.order = ">" if state[1] == ">" else "<"


def _tensor(storage: object, offset: object, shape: object, strides: object, *more: object) -> TensorRef:
    """Take what `_rebuild_tensor_v2` takes: more is requires_grad, hooks, flags."""
    if any(more[2:]):
        raise Refused("it holds a tensor that is conjugated or negated only in name")
    return view(storage, None, offset, shape, strides)


def _tensor_of(storage: object, offset: object, shape: object, strides: object, *more: object) -> TensorRef:
    """Take what `_rebuild_tensor_v3` takes: more is requires_grad, hooks, dtype, flags."""
    dtype = more[2] if len(more) > 2 else None  # noqa: PLR2004  where it stands
    found = DTYPES.get(dtype.name.removeprefix("torch.")) if isinstance(dtype, Global) else None
    if found is None or any(more[3:]):
        raise Refused(f"it makes a tensor of {describe(dtype)}, which cannot be kept")
    return view(storage, found, offset, shape, strides)


def _parameter(data: object, _grad: object, _hooks: object, state: object = None) -> TensorRef:
    if not isinstance(data, TensorRef) or state:
        raise Refused("it holds a parameter that is more than a tensor")
    return data


def _table(pairs: object = ()) -> dict[str | int, object]:
    if not isinstance(pairs, (list, tuple)) or not all(isinstance(each, (list, tuple)) for each in pairs):
        raise Refused("it makes an OrderedDict of something that is no list of pairs")
    return {check_key(key): value for key, value in map(_pair, pairs)}


def _pair(pair: Sequence[object]) -> tuple[object, object]:
    if len(pair) != 2:  # noqa: PLR2004  key and value
        raise Refused("it makes an OrderedDict of something that is no list of pairs")
    return pair[0], pair[1]


def _items(items: object = ()) -> object:
    if not isinstance(items, (list, tuple)):
        raise Refused(f"it makes a list of {describe(items)}")
    return items


def _device(kind: object, index: object = None) -> str:
    if type(kind) is not str or not (index is None or type(index) is int):
        raise Refused("it names a device that is none")
    return kind if index is None else f"{kind}:{index}"


def _encode(text: object, encoding: object) -> bytes:
    if type(text) is not str or encoding != "latin1":
        raise Refused("it encodes something other than bytes")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise Refused("it encodes something other than bytes") from None


def _number(kind: object, data: object) -> float:
    if not isinstance(kind, NumpyType) or type(data) is not bytes or len(data) != struct.calcsize(f"<{kind.letter}"):
        raise Refused("it holds a numpy value that is no plain number")
    value: float = struct.unpack(kind.order + kind.letter, data)[0]
    return value


def _entries() -> dict[tuple[str, str], Global]:
    calls: dict[str, Callable[..., object]] = {
        "torch._utils._rebuild_tensor": _tensor,
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_tensor_v3": _tensor_of,
        "torch._utils._rebuild_parameter": _parameter,
        "torch._utils._rebuild_parameter_with_state": _parameter,
        "torch.nn.modules.container.ParameterDict": ParameterDict,
        "torch.Size": _items,
        "torch.device": _device,
        "collections.OrderedDict": _table,
        "__builtin__.set": _items,
        "builtins.set": _items,
        "_codecs.encode": _encode,
        "numpy.core.multiarray.scalar": _number,
        "numpy._core.multiarray.scalar": _number,
        "numpy.dtype": lambda code, *_: NumpyType(code),
    }
    values = [
        *STORAGES,
        *(f"torch.{dtype}" for dtype in DTYPES),
        # the key of a callback's record in checkpoints of pytorch-lightning, Stable Diffusion's first ones among them
        "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    ]
    known = {name: Global(name, call) for name, call in calls.items()} | {name: Global(name) for name in values}
    return {_split(name): each for name, each in known.items()}


def _split(name: str) -> tuple[str, str]:
    module, _, last = name.rpartition(".")
    return module, last


ALLOWED: Mapping[tuple[str, str], Global] = _entries()
"""Each allowed name, by module and name."""
