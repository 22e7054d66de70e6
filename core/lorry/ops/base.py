"""Opening a base model: every tensor by our own name, whatever the folder or file calls it. Nothing is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lorry.errors import InvalidFile, NotFound, NotRecognised, UnknownName
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor import TensorRef
from lorry.ir.tensor_map import TensorMap
from lorry.ops.files import read_file
from lorry.ops.identify import probe_shapes
from lorry.ops.names import OWN, name_table
from lorry.plugin.base_model import BaseModel, Component
from lorry.plugin.host import Host, host

_WEIGHTS = ("diffusion_pytorch_model", "model", "pytorch_model")
_SUFFIXES = (".safetensors", ".bin")


@dataclass(frozen=True, kw_only=True)
class Base:
    """A base model on disk.

    `id` is its base table's. `tensors` maps "component.module.param" to what is stored there, in file
    order; `files` maps each weight file to the names of its tensors, by their key in that file.
    """

    id: str
    path: Path
    tensors: Mapping[str, TensorRef]
    files: Mapping[Path, Mapping[str, str]]

    @cached_property
    def shapes(self) -> Mapping[ModulePath, tuple[int, ...]]:
        """Weight shape of every module."""
        return {
            ModulePath(*name.removesuffix(".weight").split(".", 1)): ref.shape
            for name, ref in self.tensors.items()
            if name.endswith(".weight")
        }

    @cached_property
    def components(self) -> frozenset[str]:
        """Components it has."""
        return frozenset(path.component for path in self.shapes)


def open_base(base: str | Path, plugins: Host | None = None) -> Base:
    """Open a diffusers folder, or a bare folder of components, by path or by a name some store knows.

    Raises NotFound, InvalidFile for broken weights, and NotRecognised where no base table fits.
    """
    plugins = plugins or host()
    path = find_base(base, plugins)
    if path.is_file():
        raise NotRecognised(
            f"{path} is one file; this version opens bases as folders of components (unet/, transformer/ …)"
        )
    sources = dict(_component_files(path))
    if not sources:
        raise NotRecognised(f"{path} has no folder of weights such as unet/ or transformer/; is it an adapter?")
    read = {component: [read_file(file, plugins)[1] for file in files] for component, files in sources.items()}
    model = _identify(read, plugins, path)
    tensors: dict[str, TensorRef] = {}
    files: dict[Path, dict[str, str]] = {}
    for component, maps in read.items():
        table = model.component(component)
        for source in maps:
            names = {key: f"{component}.{_own(key, table)}" for key in source.tensors}
            tensors |= {names[key]: ref for key, ref in source.tensors.items()}
            files[source.paths[0]] = names
    return Base(id=model.id, path=path, tensors=tensors, files=files)


def find_base(base: str | Path, plugins: Host | None = None) -> Path:
    """Return the path of a base given by path or by name; raise NotFound or UnknownName."""
    plugins = plugins or host()
    path = Path(base)
    if path.exists():
        return path
    named = {name: at for store in plugins.stores().values() for name, at in store.bases().items()}
    if str(base) in named:
        return Path(named[str(base)])
    if len(path.parts) > 1 or isinstance(base, Path):
        raise NotFound(f"{base} does not exist; give a folder, or a name from: {', '.join(sorted(named)) or 'none'}")
    raise UnknownName("base model", str(base), named, "register one with: lorry base add NAME FOLDER")


def _component_files(folder: Path) -> Iterator[tuple[str, list[Path]]]:
    """Yield each component's weight files: one whole, or the shards an index lists."""
    for part in sorted(each for each in folder.iterdir() if each.is_dir()):
        for name in (f"{stem}{suffix}" for suffix in _SUFFIXES for stem in _WEIGHTS):
            index = part / f"{name}.index.json"
            if index.is_file():
                yield part.name, _shards(index)
                break
            if (part / name).is_file():
                yield part.name, [part / name]
                break


def _shards(index: Path) -> list[Path]:
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InvalidFile(f"{index} is no index of shards: {type(error).__name__}: {error}") from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not (index.parent / name).is_file():
            raise InvalidFile(f"{index} lists the shard {name!r}, which is not beside it")
    return [index.parent / name for name in sorted(names)]


def _own(key: str, table: Component | None) -> str:
    """Return our name of a tensor: known schemes are translated, what is in no table keeps its name."""
    module, _, param = key.rpartition(".")
    for scheme in (OWN, *(table.schemes if table else ())):
        target = name_table(table, scheme, ".").find(module) if table else None
        if target and len(target.parts) == 1 and not target.flip:
            return f"{target.parts[0]}.{param}"
    return key


def _identify(read: Mapping[str, list[TensorMap]], plugins: Host, path: Path) -> BaseModel:
    """Choose the base table that names most of the tensors and that no shape contradicts."""
    scored: list[tuple[tuple[float, int], BaseModel]] = []
    reasons: dict[str, str] = {}
    for model in plugins.base_models().values():
        tables = {name: model.component(name) for name in read}
        shapes: dict[ModulePath, tuple[int, ...]] = {}
        known = total = 0
        for component, maps in read.items():
            table = tables[component]
            for key, ref in ((key, ref) for source in maps for key, ref in source.tensors.items()):
                total += 1
                if table is None or not key.endswith(".weight"):
                    continue
                name = _own(key, table).removesuffix(".weight")
                if name_table(table, OWN, ".").find(name):
                    known += 1
                    shapes[ModulePath(component, name)] = ref.shape
        missing = [
            probe
            for probe in model.probes
            if probe.present
            and not any(each.component == probe.component and each.name.endswith(probe.module) for each in shapes)
        ]
        contradiction, evidence = probe_shapes(model, shapes)
        if not known or contradiction or missing:
            reasons[model.id] = contradiction or (
                f"{missing[0].component} has no {missing[0].module}"
                if missing and known
                else "none of its modules is there"
            )
        else:
            scored.append(((known / total, evidence), model))
    if not scored:
        told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise NotRecognised(f"no installed base table fits {path}: {told}", reasons)
    return max(scored, key=lambda each: each[0])[1]
