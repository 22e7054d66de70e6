"""Opening a base model: every tensor by our own name, whatever the folder or file calls it. Nothing is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lorry.errors import InvalidFile, NotFound, NotRecognised, UnknownName
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor import TensorRef
from lorry.ops.bases.files import base_files, read_weights
from lorry.ops.bases.layout import FOLDER
from lorry.ops.bases.reading import choose, weight_shapes
from lorry.ops.bases.stored import Stored
from lorry.plugin.host import Host, host


@dataclass(frozen=True, kw_only=True)
class Base:
    """A base model on disk.

    `id` is its base table's, `layout` what kind of checkpoint it is. `tensors` maps "component.module.param"
    to what is stored there, in file order; `files` maps each weight file to what its keys hold. `unmapped` are
    the keys that no component has, with the reason; `quantised` says what keeps arithmetic from the weights.
    """

    id: str
    path: Path
    tensors: Mapping[str, TensorRef]
    files: Mapping[Path, Mapping[str, Stored]]
    layout: str = FOLDER
    unmapped: Mapping[str, str] = field(default_factory=dict)
    quantised: str = ""

    @cached_property
    def shapes(self) -> Mapping[ModulePath, tuple[int, ...]]:
        """Weight shape of every module, but for packed weights, whose own shape is not known."""
        return weight_shapes(self.tensors)

    @cached_property
    def components(self) -> frozenset[str]:
        """Components it has."""
        return frozenset(name.split(".", 1)[0] for name in self.tensors)


def open_base(base: str | Path, plugins: Host | None = None) -> Base:
    """Open a base model by path, or by a name some store knows.

    It may be a diffusers folder, a bare folder of components, the folder of one component (shards and all), or
    a checkpoint in a single file. Raises NotFound, InvalidFile for broken weights, Incompatible for quantised
    ones that hide their names, and NotRecognised where no base table fits.
    """
    plugins = plugins or host()
    path = find_base(base, plugins)
    weights = {part: {file: read_weights(file, plugins) for file in files} for part, files in base_files(path)}
    if not weights:
        _refuse_adapter(path, plugins)
        raise NotRecognised(f"{path} has no weights, and no folder of weights such as unet/ or transformer/")
    try:
        chosen = choose(weights, path, plugins)
    except NotRecognised:
        _refuse_adapter(path, plugins)
        raise
    return Base(
        id=chosen.layout.model.id,
        path=path,
        tensors=chosen.tensors,
        files=chosen.files,
        layout=chosen.layout.name,
        unmapped=chosen.unmapped,
        quantised=chosen.quantised,
    )


def find_base(base: str | Path, plugins: Host | None = None) -> Path:
    """Return the path of a base given by path or by name; raise NotFound or UnknownName."""
    plugins = plugins or host()
    path = Path(base)
    if path.exists():
        return path
    named = {name: at for store in plugins.stores().values() for name, at in store.bases().items()}
    if str(base) in named:
        return Path(named[str(base)])
    with suppress(NotFound):
        _refuse_adapter(str(base), plugins)
    if len(path.parts) > 1 or isinstance(base, Path):
        raise NotFound(f"{base} does not exist; give a folder, or a name from: {', '.join(sorted(named)) or 'none'}")
    raise UnknownName("base model", str(base), named, "register one with: lorry base add NAME FOLDER")


def _refuse_adapter(path: str | Path, plugins: Host) -> None:
    """Raise NotRecognised where this is an adapter, which somebody has put in the place of a base."""
    from lorry.ops.reading.read import identify

    try:
        found = identify(path, plugins).best
    except (NotRecognised, InvalidFile):
        return
    if found is not None:
        title = plugins.base_models()[found.base].title
        raise NotRecognised(
            f"{path} is an adapter ({found.dialect} for {title}), not a base model; "
            "give a folder, a checkpoint, or a name that stands for one (lorry base ls)"
        )
