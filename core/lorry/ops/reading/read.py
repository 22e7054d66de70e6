"""Opening an adapter: path or reference, one file or several, to one `Adapter`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lorry.errors import Incompatible, InvalidArgument, InvalidFile, LorryError, NotFound, NotRecognised
from lorry.ir.adapter import Adapter
from lorry.ir.frame import Frame, Published
from lorry.ir.report import Report
from lorry.ir.tensor import TensorRef
from lorry.ir.tensor_map import TensorMap
from lorry.ops.reading.companions import companions, together
from lorry.ops.reading.extent import check_extent
from lorry.ops.reading.identify import Candidate, Identity, candidates, names_stranger, target_shapes, targets
from lorry.ops.reading.names import OWN, name_table
from lorry.ops.reading.sources import Opened, sources
from lorry.ops.reading.unite import unite
from lorry.plugin.host import Host, host
from lorry.plugin.kind import fits

if TYPE_CHECKING:
    from lorry.ops.bases.base import Base  # imported where it is used: most readings need no base

AdapterPath = str | Path | Sequence[str | Path]

SEVERAL = "+"
"""What stands between the files of one adapter where one text names them all."""

_LARGEST_BASE = 4096
"""Tensors in a base model, for naming what is no adapter: a file of many more is not worth the time."""


def open_adapter(path: AdapterPath, base: Base | str | Path | None = None, plugins: Host | None = None) -> Adapter:
    """Open an adapter lazily: a file, a folder, the list of an adapter's files, or a reference.

    With `base`, names without a prefix and doubtful shapes are settled by it, and an adapter made for
    another base raises Incompatible. Raises NotFound, InvalidFile and NotRecognised.
    """
    plugins = plugins or host()
    opened = _base(base, plugins) if isinstance(base, str | Path) else base
    adapter = _open(path, opened, plugins)
    if opened is not None:
        check_fits(adapter, opened, plugins)
    return adapter


def opened_as(adapter: Adapter, version: Published | None) -> Adapter:
    """Return an adapter that knows which published version it was opened as."""
    return replace(adapter, origin=tuple(frame._replace(version=version) for frame in adapter.origin))


def open_like(path: AdapterPath, other: Adapter, plugins: Host) -> Adapter:
    """Open what was written from `other`: for the same base, with doubtful names settled by the modules it changes."""
    shapes = target_shapes(other.layers, plugins)
    from lorry.ops.bases.base import Base

    tensors = {f"{module}.weight": TensorRef("F32", shape, ()) for module, shape in shapes.items()}
    return _open(path, Base(id=other.base, path=Path(other.base), tensors=tensors, files={}), plugins)


def _base(path: str | Path, plugins: Host) -> Base:
    from lorry.ops.bases.base import open_base

    return open_base(path, plugins)


def identify(path: str | Path, plugins: Host | None = None) -> Identity:
    """Say what a file or folder is: all candidates scored, with reasons. Reads headers only, never torch."""
    plugins = plugins or host()
    found = resolve(path, plugins)
    opened = sources(found, plugins)[0]
    return Identity(
        path=opened.path,
        container=opened.container,
        candidates=candidates(opened.source, plugins),
        keys=len(opened.source.tensors),
    )


def resolve(path: AdapterPath, plugins: Host) -> tuple[Path, ...]:
    """Return the files of a path or of a reference that a store answers; raise NotFound, or say that it is a base.

    "a.safetensors+b.safetensors" is one adapter in two files, and so is a folder that holds nothing else.
    """
    return _resolve(path, plugins)[0]


def _resolve(path: AdapterPath, plugins: Host) -> tuple[tuple[Path, ...], Published | None]:
    if not isinstance(path, str | Path):
        if not path:
            raise InvalidArgument("an empty list names no adapter")
        return tuple(Path(each) for each in path), None
    if path == "":
        raise InvalidArgument("an empty text names no adapter")
    if Path(path).exists() or isinstance(path, Path):
        return (Path(path).is_dir() and together(Path(path), plugins)) or (Path(path),), None
    parts = tuple(map(Path, path.split(SEVERAL)))
    if len(parts) > 1 and all(each.exists() for each in parts):
        return parts, None
    for store in plugins.stores().values():
        files, version = store.answer(path)
        if files:
            return files, version
    if any(path in store.bases() for store in plugins.stores().values()):
        raise NotRecognised(f"{path} is a base model, not an adapter")
    raise NotFound(f"{path} is neither a path nor a reference that a store knows; lorry ls lists what there is")


def check_fits(adapter: Adapter, base: Base, plugins: Host | None = None) -> None:
    """Raise Incompatible, naming the first module that is missing in `base` or has another shape there."""
    plugins = plugins or host()
    if adapter.base != base.id:
        titles = {name: model.title for name, model in plugins.base_models().items()}
        raise Incompatible(
            f"the adapter is made for {titles.get(adapter.base, adapter.base)}, and {base.path} is "
            f"{titles.get(base.id, base.id)}; choose a base of its own family"
        )
    for path, wanted in targets(adapter.layers, plugins):
        if path.component not in base.components:
            raise Incompatible(f"the adapter changes {path.component}, and {base.path} has no such component")
        known = base.shapes.get(path)
        if known is None and base.quantised:
            continue  # packed weights do not tell their shape
        if known is None:
            raise Incompatible(
                f"the adapter changes {path}, and {base.path} has no such module: another size of model?"
            )
        if not fits(wanted, known):
            raise Incompatible(
                f"the adapter is for another base: its layer at {path} is for a weight of shape {list(wanted)}, "
                f"and in {base.path} it is {list(known)}"
            )


def _open(path: AdapterPath, base: Base | None, plugins: Host) -> Adapter:
    paths, version = _resolve(path, plugins)
    opened = sources(paths, plugins)
    asked = [_candidates(each, plugins, base) for each in opened]
    chosen = _choose_base(asked)
    adapters = [_assemble(each, found, chosen, plugins) for each, found in zip(opened, asked, strict=True)]
    adapter = opened_as(adapters[0] if len(adapters) == 1 else unite(adapters), version)
    beside = {each for path in paths for each in companions(path, plugins)} - set(paths)
    report = adapter.report._replace(companions=tuple(sorted(map(str, beside))))
    return replace(adapter, report=report) if beside else adapter


def _candidates(opened: Opened, plugins: Host, base: Base | None) -> tuple[Candidate, ...]:
    """Ask about one source; raise what is broken, and say what it is where nothing reads it."""
    where, source = opened.path, opened.source
    shapes = base.shapes if base else None
    found = candidates(source, plugins, base.id if base else None, shapes)
    best = found[0] if found else None
    if best is not None and names_stranger(best, source, plugins):
        raise NotRecognised(f"{where} is {best.reason}", {best.dialect: best.reason})
    broken = next((each.broken for each in found if each.broken and not _explains(best, each)), None)
    if broken:
        raise type(broken)(f"{where}: {broken}")
    if best is not None and best.score > 0:
        return found
    if base is not None:
        others = [each for each in candidates(source, plugins) if each.score > 0]
        if others:
            titles = {name: model.title for name, model in plugins.base_models().items()}
            raise Incompatible(f"{where} is for {titles[others[0].base]}, not for {titles[base.id]} ({base.path})")
    reasons = {f"{each.dialect} {each.base}".strip(): each.reason for each in found}
    raise NotRecognised(f"{where} {_strange(where, source, plugins)}", reasons)


def _explains(best: Candidate | None, other: Candidate) -> bool:
    """Tell whether the best reading uses every key that another one finds broken: then it is of another base."""
    if best is None or best.draft is None or best.score == 0:
        return False
    damaged = other.draft.broken if other.draft else {}
    return best.score == 1 or (bool(damaged) and damaged.keys() <= best.draft.used.keys())


def _strange(where: Path, source: TensorMap, plugins: Host) -> str:
    if not source.tensors:
        return "holds no tensors"
    small = len(source.tensors) <= _LARGEST_BASE
    with suppress(LorryError):
        base = _base(where, plugins) if small else None
        if base:
            title = plugins.base_models()[base.id].title
            return f"is a base model's weights ({title}, {base.layout}), not an adapter; it can be the base of one"
    if owners := list(_owners(source, plugins)) if small else []:
        titles, names = dict.fromkeys(title for title, _ in owners), {name for _, name in owners}
        what = "text encoder" if all(name.startswith("text_encoder") for name in names) else " or ".join(sorted(names))
        owned = f"{what} of {'one of ' if len(titles) > 1 else ''}{', '.join(titles)}"
        return f"is a base model's weights ({owned}), not an adapter; give the folder it belongs to as --base"
    families = sorted({key.rsplit(".", 2)[-1] if "." in key else key for key in source.tensors})[:4]
    example = next(iter(source.tensors))
    return (
        f"is no adapter that an installed dialect and kind read: keys such as {example!r} "
        f"(endings {', '.join(families)}), {len(source.tensors)} in all; lorry identify shows every candidate's reason"
    )


def _owners(source: TensorMap, plugins: Host) -> Iterator[tuple[str, str]]:
    """Yield title and component of every base model that has more than half of these tensors, by the same names."""
    for model in plugins.base_models().values():
        for component in model.components:
            table = name_table(component, OWN, ".")
            hits = sum(1 for key in source.tensors if table.find(key.rpartition(".")[0]))
            if hits * 2 > len(source.tensors):
                yield model.title, component.name


def _choose_base(asked: Sequence[tuple[Candidate, ...]]) -> str:
    """Choose the base that explains all files of an adapter best together."""
    totals: dict[str, tuple[float, int]] = {}
    for found in asked:
        best: dict[str, Candidate] = {}
        for each in found:
            if each.base and each.score > 0 and (each.base not in best or each.rank > best[each.base].rank):
                best[each.base] = each
        for name, candidate in best.items():
            score, evidence = totals.get(name, (0.0, 0))
            totals[name] = score + candidate.score, evidence + candidate.evidence
    return max(totals, key=lambda name: totals[name])


def _assemble(opened: Opened, found: Sequence[Candidate], base: str, plugins: Host) -> Adapter:
    path, container, source = opened
    chosen = next((each for each in found if each.base == base and each.score > 0), None)
    if chosen is None or chosen.draft is None:
        raise Incompatible(f"{path} is not for {base}, as the other files of this adapter are")
    draft = chosen.draft
    rivals = [each for each in found if each.rank == chosen.rank and each is not chosen]
    ambiguous = list(draft.ambiguous)
    if others := sorted({each.base for each in rivals} - {base}):
        titles = [plugins.base_models()[name].title for name in (base, *others)]
        ambiguous.append(("base", f"it fits {' and '.join(titles)} alike; read as {titles[0]}"))
    layers = {module: tuple(stack) for module, stack in draft.layers.items()}
    try:
        check_extent(layers, plugins)
    except InvalidFile as error:
        raise InvalidFile(f"{path} is refused: {error}") from None
    frame = Frame(
        path=path,
        container=container,
        dialect=chosen.dialect,
        source=source,
        layers=layers,
        tokens=dict(draft.tokens),
        keys={what: tuple(keys) for what, keys in draft.keys.items()},
    )
    return Adapter(
        base=base,
        layers=layers,
        tokens=dict(draft.tokens),
        metadata=source.metadata,
        extras={key: source.tensors[key] for key in draft.unmapped},
        origin=(frame,),
        report=Report(used=tuple(draft.used), unmapped=tuple(draft.unmapped.items()), ambiguous=tuple(ambiguous)),
    )
