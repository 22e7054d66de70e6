"""Reading a base's weights by one table in one layout, and choosing the reading that explains them best."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lorry.errors import Incompatible, InvalidFile, NotRecognised
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor import TensorRef
from lorry.ir.tensor_map import TensorMap
from lorry.ops.bases.layout import FOLDER, Layout, layouts
from lorry.ops.bases.quantised import PLAIN, quantised
from lorry.ops.bases.stored import Stored
from lorry.ops.reading.identify import probe_shapes
from lorry.plugin.host import Host

Weights = Mapping[str, Mapping[Path, TensorMap]]
"""Weight files by component; "" for files that hold all of a base, or one component without saying which."""

_LEARNED = (".weight", ".bias")
"""What a module is told by; the slots of an adapter, say, are no parameters of a base."""


@dataclass(slots=True)
class Reading:
    """Weights read in one way: `known` counts the keys the table names, `refusal` says why this way is none."""

    layout: Layout
    tensors: dict[str, TensorRef] = field(default_factory=dict)
    files: dict[Path, dict[str, Stored]] = field(default_factory=dict)
    unmapped: dict[str, str] = field(default_factory=dict)
    quantised: str = ""
    known: int = 0
    evidence: int = 0
    refusal: str = ""
    broken: str = ""

    @property
    def rank(self) -> tuple[bool, int, int]:
        """What readings are ordered by."""
        return not self.broken, self.known, self.evidence


def choose(weights: Weights, path: Path, plugins: Host) -> Reading:
    """Return the reading that names most of the keys and that no shape contradicts.

    Raises NotRecognised where no base table fits, Incompatible where quantised weights are why, and InvalidFile
    where one fits but the weights do not agree with it.
    """
    readings = list(_readings(weights, plugins))
    fitting = [each for each in readings if not each.refusal]
    if fitting:
        best = max(fitting, key=lambda each: each.rank)
        if best.broken:
            raise InvalidFile(f"{path}: {best.broken}")
        return best
    reasons = {f"{each.layout.model.id} ({each.layout.name})": each.refusal for each in readings}
    if packed := quantised(key for maps in weights.values() for each in maps.values() for key in each.tensors):
        raise Incompatible(f"{path} holds {packed}, which no arithmetic here can use; give the unquantised weights")
    nearest = [each for each in readings if each.known] or readings
    told = "; ".join(f"{each.layout.model.id} ({each.layout.name}): {each.refusal}" for each in nearest)
    raise NotRecognised(f"no installed base table fits {path}: {told}", reasons)


def weight_shapes(tensors: Mapping[str, TensorRef]) -> dict[ModulePath, tuple[int, ...]]:
    """Return the weight shape of every module, but for packed weights, whose own shape is not known."""
    return {
        ModulePath(*name.removesuffix(".weight").split(".", 1)): ref.shape
        for name, ref in tensors.items()
        if name.endswith(".weight") and ref.dtype in PLAIN
    }


def _readings(weights: Weights, plugins: Host) -> Iterator[Reading]:
    """Read in every way; what is a base of its own may also be one component under our names, the one that draws."""
    for model in plugins.base_models().values():
        if "" not in weights:
            yield _read(weights, Layout(model, FOLDER))
            continue
        for name in layouts(model):
            part = model.components[0].name if name == FOLDER else ""
            yield _read({part: weights[""]}, Layout(model, name))


def _read(weights: Weights, layout: Layout) -> Reading:
    reading = Reading(layout)
    reading.quantised = quantised(key for maps in weights.values() for each in maps.values() for key in each.tensors)
    for component, maps in weights.items():
        for file, source in maps.items():
            reading.files[file] = {}
            for key, ref in source.tensors.items():
                _add(reading, file, key, f"{component}.{key}" if component else key, ref)
    model = layout.model
    contradiction, reading.evidence = probe_shapes(model, weight_shapes(reading.tensors))
    nothing = "" if reading.known else "none of its modules is there"
    reading.refusal = nothing or contradiction or _absent(reading)
    return reading


def _add(reading: Reading, file: Path, key: str, full: str, ref: TensorRef) -> None:
    found = reading.layout.find(full)
    stored = found or reading.layout.keep(full)
    if stored is None:
        reading.unmapped[key] = f"{reading.layout.model.title} has no module of this name"
        return
    try:
        parts: Sequence[TensorRef] = stored.cut(ref)
    except InvalidFile as error:
        reading.unmapped[key] = str(error)  # packed weights have no rows to divide
        reading.broken = reading.broken or ("" if reading.quantised else str(error))
        return
    for name, part in zip(stored.names, parts, strict=True):
        if name in reading.tensors:
            reading.broken = reading.broken or f"{name} is there under two names, one of them {key!r}"
        reading.tensors[name] = part
    reading.files[file][key] = stored
    reading.known += found is not None and stored.names[0].endswith(_LEARNED)


def _absent(reading: Reading) -> str:
    """Say which module is missing without which this cannot be the base, or the depth its layout's names count on."""
    modules = {name.rpartition(".")[0] for name in reading.tensors if name.endswith(_LEARNED)}
    for probe in reading.layout.model.probes:
        lead = f"{probe.component}."
        if probe.present and not any(each.startswith(lead) and each.endswith(probe.module) for each in modules):
            return f"{probe.component} has no {probe.module}"
    return next(iter(reading.layout.out_of_depth(modules)), "")
