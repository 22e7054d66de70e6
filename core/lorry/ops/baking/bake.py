"""Adding adapters to a base's weights: W' = W + Σ tᵢ (applyᵢ(W) - W), in float32, rounded once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lorry.errors import Incompatible, InvalidArgument, Unmapped
from lorry.ir.adapter import Adapter
from lorry.ir.layer import Layer
from lorry.ir.strength import checked_strength
from lorry.ir.tensor import TensorRef, require_torch, torch_dtype
from lorry.ir.token import Token
from lorry.ops.baking.change import Change
from lorry.ops.bases.base import Base
from lorry.ops.reading.read import check_fits
from lorry.plugin.host import Host, host

if TYPE_CHECKING:
    from torch import Tensor

Weighted = Adapter | tuple[Adapter, float]
"""An adapter, alone for strength 1 or with its strength."""

_FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True, kw_only=True)
class Baked(Mapping[str, "Tensor"]):
    """The weights of a base with adapters added, computed as they are asked for.

    Keys are "component.module.param", in the base's order; every value is a new tensor, in the base's dtype or in
    `dtype` where that is given. Iterate to stream: nothing is kept. Learned tokens are vocabulary and not among the
    weights. `changes` are the layers, with their strengths, by the tensor they change.
    """

    base: Base
    adapters: Sequence[tuple[Adapter, float]]
    changes: Mapping[str, Sequence[tuple[Layer, float]]]
    dtype: str | None = None
    device: str = "cpu"
    partial: bool = False
    plugins: Host = field(repr=False)

    def __getitem__(self, name: str) -> Tensor:
        kinds = (self.plugins.get("kinds", layer.kind) for layer, _ in self.changes.get(name, ()))
        if any(kind.changes_shape for kind in kinds):
            return self._change(name).whole(self.base.tensors[name].torch(), torch_dtype(self._dtype(name))).cpu()
        return self.ref(name).torch()

    def __iter__(self) -> Iterator[str]:
        return iter(self.base.tensors)

    def __len__(self) -> int:
        return len(self.base.tensors)

    @property
    def tokens(self) -> tuple[Token, ...]:
        """The learned tokens of all adapters, in order."""
        return tuple(token for adapter, _ in self.adapters for token in adapter.tokens.values())

    def touches(self, name: str) -> bool:
        """Tell whether a tensor's bytes are any other than the base's."""
        return name in self.changes or self._dtype(name) != self.base.tensors[name].dtype

    def ref(self, name: str) -> TensorRef:
        """Return a tensor by reference, to be computed by rows as it is read; the base's own where nothing touches it.

        Raises Incompatible, when it is read, where a layer changes its shape.
        """
        ref = self.base.tensors[name]
        return self._change(name).ref(ref, self._dtype(name)) if self.touches(name) else ref

    def _dtype(self, name: str) -> str:
        own = self.base.tensors[name].dtype
        return self.dtype if self.dtype is not None and own in _FLOATS else own

    def _change(self, name: str) -> Change:
        return Change(name, self.changes.get(name, ()), self.plugins, self.device)


def bake(  # noqa: PLR0913  every option is a keyword with a default
    base: Base,
    adapters: Sequence[Weighted],
    *,
    dtype: str | None = None,
    device: str = "cpu",
    partial: bool = False,
    plugins: Host | None = None,
) -> Baked:
    """Return the base's weights with the adapters added at their strengths, lazily.

    `dtype` (F32, F16, BF16) rounds every weight, once; `device` ("cuda") is where the arithmetic is done. The order
    of adapters makes no difference beyond rounding.

    Raises Incompatible for adapters of another base, Unmapped for those not fully understood, unless `partial`, and
    InvalidArgument for a device that is not there.
    """
    plugins = plugins or host()
    if dtype is not None and dtype not in _FLOATS:
        raise InvalidArgument(f"{dtype} is no dtype to round weights to; choose from {', '.join(_FLOATS)}")
    if adapters or dtype is not None:
        require_torch("baking")
        check_plain(base)
    if device != "cpu":
        from lorry.algebra.device import checked_device

        device = checked_device(device, float64=False)
    pairs = weighted(adapters)
    changes: dict[str, list[tuple[Layer, float]]] = {}
    for adapter, strength in pairs:
        check_understood(adapter, partial=partial)
        check_fits(adapter, base, plugins)
        for path, layers in adapter.layers.items():
            for layer in layers:
                kind = plugins.get("kinds", layer.kind)
                if kind.timestep:
                    raise Incompatible(
                        f"what {kind.title} does at {path} depends on the timestep, and no weight can hold that"
                    )
                name = f"{path}.{layer.param}"
                if name not in base.tensors:
                    raise Incompatible(f"the adapter changes {name}, and {base.path} has no such parameter")
                changes.setdefault(name, []).append((layer, strength))
                if kind.multiplies_output(layer) and f"{path}.bias" in base.tensors:
                    changes.setdefault(f"{path}.bias", []).append((layer, strength))
    return Baked(
        base=base, adapters=pairs, changes=changes, dtype=dtype, device=device, partial=partial, plugins=plugins
    )


def check_plain(base: Base) -> None:
    """Raise Incompatible where the weights are quantised, so that no number can be added to them."""
    if base.quantised:
        raise Incompatible(
            f"{base.path} holds {base.quantised}, which no arithmetic here can use; take the base's unquantised weights"
        )


def weighted(adapters: Sequence[Weighted]) -> list[tuple[Adapter, float]]:
    """Give every adapter its strength, 1 where none is said; raise InvalidArgument for one that makes no sense."""
    pairs = [each if isinstance(each, tuple) else (each, 1.0) for each in adapters]
    return [(adapter, checked_strength(strength)) for adapter, strength in pairs]


def check_understood(adapter: Adapter, *, partial: bool = False) -> None:
    """Raise Unmapped where keys of the adapter are not understood, unless a part will do."""
    if adapter.report.unmapped and not partial:
        where = adapter.origin[0].path.name if adapter.origin else "the adapter"
        raise Unmapped(
            where, adapter.report.unmapped, "install the plugin that reads it, or ask for the rest alone (partial)"
        )
