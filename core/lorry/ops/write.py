"""Saving an adapter in any format, replaying what was not changed and never leaving half a file."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lorry.errors import InvalidArgument, NotRepresentable
from lorry.ir.adapter import Adapter
from lorry.ir.frame import Frame
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor import TensorRef, require_torch
from lorry.ir.tensor_map import TensorMap
from lorry.ops import views
from lorry.ops.bake import check_understood
from lorry.ops.encode import Encoder
from lorry.ops.grammar import compiled
from lorry.ops.output import replacing
from lorry.ops.style import HASH_KEYS, ORIGIN_KEY, Style, from_text, style_of, to_text
from lorry.plugin.container import Container
from lorry.plugin.dialect import Dialect
from lorry.plugin.host import Host, host


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What was written: where, in which format, how many tensors, and what the format could not hold."""

    path: Path
    dialect: str
    container: str
    tensors: int
    lost: Mapping[str, str]


def save(  # noqa: PLR0913  every option is a keyword with a default
    adapter: Adapter,
    path: str | Path,
    format: str,  # noqa: A002  the word people use
    *,
    dtype: str | None = None,
    lossy: bool = False,
    force: bool = False,
    metadata: Mapping[str, str] | None = None,
    plugins: Host | None = None,
) -> Saved:
    """Write an adapter at `path` in a dialect ("kohya"), or a dialect and container ("kohya+folder").

    An unchanged adapter in its own format is copied byte for byte. `dtype` (F32, F16, BF16) rounds the
    tensors, once. `metadata` is added to the header. Raises NotRepresentable naming the layers the format
    cannot hold, Unmapped for keys that were not understood (both unless `lossy`), and Conflict where
    something is at `path` unless `force`.
    """
    plugins, target = plugins or host(), Path(path)
    dialect, container = chosen(format, plugins)
    changed = dtype is not None or bool(metadata)
    with replacing(target, force=force) as draft:
        if not changed and _untouched(adapter, dialect, container):
            frame = adapter.origin[0]
            _copy(frame, draft)
            return Saved(
                path=target, dialect=dialect.name, container=container.name, tensors=len(frame.source.tensors), lost={}
            )
        made, lost = encode(adapter, dialect, lossy=lossy, plugins=plugins)
        made = replace(made, metadata={**made.metadata, **(metadata or {})}, paths=(target,))
        if dtype is not None:
            made = replace(made, tensors={key: cast(ref, dtype) for key, ref in made.tensors.items()})
        if container.write is None:
            raise InvalidArgument(f"lorry reads {container.title} but does not write it; choose another container")
        container.write(made, draft)
        _drop_stale_hashes(draft, made, container)
    return Saved(path=target, dialect=dialect.name, container=container.name, tensors=len(made.tensors), lost=lost)


def _drop_stale_hashes(draft: Path, made: TensorMap, container: Container) -> None:
    """Take hashes of other tensors out of the header: A1111 believes them before it reads the file."""
    if container.edit is None or made.metadata.keys().isdisjoint(HASH_KEYS):
        return
    from lorry.ops.hashes import hash_file

    if made.metadata.get(HASH_KEYS[0]) == hash_file(draft).autov3:
        return
    honest = {key: value for key, value in made.metadata.items() if key not in HASH_KEYS}
    with replacing(draft, force=True) as rewritten:
        container.edit(draft, rewritten, honest)


def chosen(format: str, plugins: Host) -> tuple[Dialect, Container]:  # noqa: A002  the word people use
    """Return the dialect and container a format names; raise UnknownName."""
    name, _, container = format.partition("+")
    dialect: Dialect = plugins.get("dialects", name)
    if dialect.unreadable:
        raise InvalidArgument(f"{dialect.title} is not written: {dialect.unreadable}")
    return dialect, plugins.get("containers", container or dialect.containers[0])


def encode(
    adapter: Adapter, dialect: Dialect, *, lossy: bool = False, plugins: Host | None = None
) -> tuple[TensorMap, Mapping[str, str]]:
    """Return the adapter as a dialect's tensors and header, and what could not be held (only if `lossy`)."""
    plugins = plugins or host()
    kinds = tuple(plugins.kinds().values())
    base = plugins.get("base_models", adapter.base)
    grammar = compiled(dialect, base, kinds)
    own = next((frame for frame in adapter.origin if frame.dialect == dialect.name), None)
    strange = [each for each in adapter.report.unmapped if own is None or each[0] not in own.source.tensors]
    if strange:
        check_understood(adapter, partial=lossy)
    style = _style(adapter, dialect, own, plugins)
    replayed, rest = _replay(adapter, own, whole=bool(dialect.header or dialect.renaming)) if own else ({}, adapter)
    if own is None:
        rest = views.unjoined(rest, plugins.kinds())
    encoder = Encoder(rest, grammar, style, tuple(plugins.dialects().values()))
    made = encoder.encode()
    if encoder.lost and not lossy:
        raise NotRepresentable(dialect.title, encoder.lost)
    tensors = {**replayed, **{key: ref for key, ref in made.tensors.items() if key not in replayed}}
    metadata = dict(made.metadata)
    if own is None and adapter.origin and style is None:
        metadata[ORIGIN_KEY] = to_text(_source_style(adapter.origin[0], adapter, plugins))
    sides = {**own.source.sides, **made.sides} if own else made.sides
    return replace(made, tensors=tensors, metadata=metadata, sides=sides), {**encoder.lost, **dict(strange)}


def cast(ref: TensorRef, dtype: str) -> TensorRef:
    """Round a floating-point tensor to `dtype`; numbers alone (alpha) and integers stay as they are.

    Raises InvalidArgument where a number is too large for `dtype`.
    """
    if ref.numel == 1 or not ref.dtype.startswith(("F", "BF")) or ref.dtype == dtype:
        return ref
    require_torch("rounding to another dtype")
    wide = ref.torch()
    rounded = wide.to(TensorRef(dtype, (0,), ()).torch().dtype)
    if not bool((rounded.isfinite() == wide.isfinite()).all()):
        raise InvalidArgument(f"numbers up to {float(wide.abs().max()):.3g} do not fit {dtype}; choose BF16 or F32")
    return TensorRef.from_torch(rounded)


def _source_style(frame: Frame, adapter: Adapter, plugins: Host) -> Style:
    kinds = tuple(plugins.kinds().values())
    base = plugins.get("base_models", adapter.base)
    return style_of(frame, compiled(plugins.get("dialects", frame.dialect), base, kinds))


def _style(adapter: Adapter, dialect: Dialect, own: Frame | None, plugins: Host) -> Style | None:
    """Return the style to write in: the source's own, or that of the file it was once converted from."""
    if own is not None:
        return _source_style(own, adapter, plugins)
    told = adapter.metadata.get(ORIGIN_KEY)
    style = from_text(told) if told else None
    return style if style and style.dialect == dialect.name else None


def _untouched(adapter: Adapter, dialect: Dialect, container: Container) -> bool:
    if len(adapter.origin) != 1:
        return False
    frame = adapter.origin[0]
    return (
        (frame.dialect, frame.container) == (dialect.name, container.name)
        and adapter.layers == frame.layers
        and adapter.tokens == frame.tokens
        and adapter.metadata == frame.source.metadata
        and frame.path.exists()
    )


def _replay(adapter: Adapter, frame: Frame, *, whole: bool) -> tuple[dict[str, TensorRef], Adapter]:
    """Return the keys whose layers and tokens are still the very ones read, and the adapter without those.

    A dialect whose header or numbering speaks of every layer needs the `whole` adapter to write it.
    """
    kept: set[ModulePath | str] = {
        path for path, layers in adapter.layers.items() if not whole and _same(layers, frame.layers.get(path))
    }
    kept |= {text for text, token in adapter.tokens.items() if frame.tokens.get(text) is token}
    changed_keys = {key for claim, keys in frame.claims.items() if claim not in kept for key in keys}
    kept = {claim for claim in kept if not changed_keys & set(frame.claims[claim])}
    keys = {key for claim in kept for key in frame.claims[claim]} | set(adapter.extras)
    rest = replace(
        adapter,
        layers={path: layers for path, layers in adapter.layers.items() if path not in kept},
        tokens={text: token for text, token in adapter.tokens.items() if text not in kept},
    )
    return {key: ref for key, ref in frame.source.tensors.items() if key in keys}, rest


def _same(layers: tuple[Layer, ...], before: tuple[Layer, ...] | None) -> bool:
    return (
        before is not None and len(layers) == len(before) and all(a is b for a, b in zip(layers, before, strict=True))
    )


def _copy(frame: Frame, target: Path) -> None:
    """Copy a file, or of a folder what belongs to the adapter: no trainer's state, nothing that was not read."""
    if frame.path.is_file():
        shutil.copyfile(frame.path, target)
        return
    target.mkdir()
    for path in (*frame.source.paths, *frame.path.glob("*.index.json")):
        shutil.copyfile(path, target / path.name)
    for name, data in frame.source.sides.items():
        (target / name).write_bytes(data)
