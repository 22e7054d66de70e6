"""Saving an adapter in any format, replaying what was not changed and never leaving half a file."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from mimetypes import guess_type
from pathlib import Path
from typing import TYPE_CHECKING

from lorry.errors import InvalidArgument, MissingExtra, NotRepresentable
from lorry.ir.adapter import Adapter
from lorry.ir.frame import Frame
from lorry.ir.report import Report
from lorry.ir.tensor_map import TensorMap
from lorry.ops.disk.output import replacing
from lorry.ops.reading.grammar import compiled
from lorry.ops.writing import views
from lorry.ops.writing.cast import cast
from lorry.ops.writing.encode import Encoder
from lorry.ops.writing.replay import copied, replay, untouched
from lorry.ops.writing.style import HASH_KEYS, ORIGIN_KEY, RECIPE_KEY, Style, from_text, style_of, to_text
from lorry.plugin.container import Container
from lorry.plugin.dialect import Dialect
from lorry.plugin.host import Host, host

if TYPE_CHECKING:
    from lorry.ops.bases.base import Base
    from lorry.ops.writing.approximate import Approximated, Approximation

_MADE_FOR = "format"
"""The header entry "format: pt" of safetensors' own functions, which a pickle of torch's need not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What was written: where, in which format, how many tensors, and what the format could not hold.

    `approximated` are the layers that became a LoRA of lower rank, by module path, which only `lossy` allows.
    `token` is the learned token whose text only the name of the file can tell, if there is one.
    """

    path: Path
    dialect: str
    container: str
    tensors: int
    lost: Mapping[str, str]
    approximated: Mapping[str, Approximation] = field(default_factory=dict)
    token: str = ""

    @property
    def energy_lost(self) -> float:
        """Share of the energy (‖ΔW‖²) of all approximated layers together that was lost."""
        if not self.approximated:
            return 0.0
        from lorry.ops.writing.approximate import energy_lost

        return energy_lost(self.approximated.values())

    @property
    def renamed(self) -> str:
        """Say so where the file will be read with another text for its token than it had."""
        if self.token in ("", self.path.stem):
            return ""
        return f"the token {self.token!r} is {self.path.stem!r} from now on: in this format it goes by the file's name"


def save(  # noqa: PLR0913  every option is a keyword with a default
    adapter: Adapter,
    path: str | Path,
    format: str,
    *,
    dtype: str | None = None,
    lossy: bool = False,
    rank: int | None = None,
    base: Base | None = None,
    force: bool = False,
    metadata: Mapping[str, str] | None = None,
    plugins: Host | None = None,
) -> Saved:
    """Write an adapter at `path` in a dialect ("kohya"), or a dialect and container ("kohya+folder").

    An unchanged adapter in its own format is copied byte for byte. `dtype` (F32, F16, BF16) rounds the
    tensors, once. `metadata` is added to the header. Raises NotRepresentable naming the layers the format
    cannot hold, Unmapped for keys that were not understood (both unless `lossy`), and Conflict where
    something is at `path` unless `force`.

    `lossy` makes LoRAs of `rank` (32) out of layers of a kind that the format does not know, for some of which that
    needs the `base`, and leaves out what is no LoRA either; the result says what that loses.
    """
    plugins, target = plugins or host(), Path(path)
    dialect, container = chosen(format, plugins, target)
    check_name(target, container, plugins)
    changed = dtype is not None or bool(metadata)
    with replacing(target, force=force) as draft:
        lost: Mapping[str, str] = {}
        approximated: Mapping[str, Approximation] = {}
        if not changed and untouched(adapter, dialect, container):
            made = copied(adapter.origin[0], draft)
        else:
            if lossy:
                adapter, approximated, refused = _approximate(adapter, dialect, rank, base, plugins)
            made, lost = _encode(adapter, dialect, lossy=lossy, plugins=plugins)
            if lossy:
                lost = {name: "; ".join(filter(None, (why, refused.get(name)))) for name, why in lost.items()}
                approximated = {name: each for name, each in approximated.items() if name not in lost}
            made = replace(made, metadata={**made.metadata, **(metadata or {})}, paths=(target,))
            if dtype is not None:
                made = replace(made, tensors={key: cast(ref, dtype) for key, ref in made.tensors.items()})
            if container.write is None:
                raise InvalidArgument(f"lorry reads {container.title} but does not write it; choose another container")
            lost = {**lost, **_header_left(made, dialect, container, lossy=lossy)}
            container.write(made, draft)
            _drop_stale_hashes(draft, made, container)
    return Saved(
        path=target,
        dialect=dialect.name,
        container=container.name,
        tensors=len(made.tensors),
        lost=lost,
        approximated=approximated,
        token=_named_by_file(adapter, dialect, plugins),
    )


def _approximate(
    adapter: Adapter, dialect: Dialect, rank: int | None, base: Base | None, plugins: Host
) -> Approximated:
    """Make LoRAs of what the dialect cannot hold as it is, where there is such."""
    from lorry.ops.writing.approximate import Approximated, approximate

    _, lost = encode(adapter, dialect, lossy=True, plugins=plugins)
    paths = lost.keys() & set(map(str, adapter.layers))
    return approximate(adapter, paths, plugins, rank=rank, base=base) if paths else Approximated(adapter, {}, {})


def _named_by_file(adapter: Adapter, dialect: Dialect, plugins: Host) -> str:
    """Return the text of the token whose text a file of this dialect has only in its name; "" where there is none."""
    grammar = compiled(dialect, plugins.get("base_models", adapter.base), tuple(plugins.kinds().values()))
    layout = grammar.written_tokens
    return next(iter(adapter.tokens), "") if layout and layout.by_file else ""


def _drop_stale_hashes(draft: Path, made: TensorMap, container: Container) -> None:
    """Take hashes of other tensors out of the header: A1111 believes them before it reads the file."""
    if container.edit is None or made.metadata.keys().isdisjoint(HASH_KEYS):
        return
    from lorry.ops.disk.hashes import hash_file

    if made.metadata.get(HASH_KEYS[0]) == hash_file(draft).autov3:
        return
    honest = {key: value for key, value in made.metadata.items() if key not in HASH_KEYS}
    with replacing(draft, force=True) as rewritten:
        container.edit(draft, rewritten, honest)


def chosen(format: str, plugins: Host, path: Path | None = None) -> tuple[Dialect, Container]:
    """Return the dialect and container a format names; raise UnknownName.

    Where it names no container, the suffix of `path` tells which of the dialect's own is meant, else it is the first.
    """
    name, _, container = format.partition("+")
    dialect: Dialect = plugins.get("dialects", name)
    if dialect.unreadable:
        raise InvalidArgument(f"{dialect.title} is not written: {dialect.unreadable}")
    own = [plugins.containers()[each] for each in dialect.containers]
    meant = next((each for each in own if path and path.suffix.lower() in each.suffixes), own[0])
    return dialect, plugins.get("containers", container) if container else meant


def check_name(path: Path, container: Container, plugins: Host) -> None:
    """Raise InvalidArgument where the suffix of `path` promises something else than the container written there."""
    suffix = path.suffix.lower()
    if suffix in container.suffixes:
        return
    others = (each.title for each in plugins.containers().values() if suffix in each.suffixes)
    if promised := next(others, None) or guess_type(path.name)[0]:
        better = path.with_suffix("".join(container.suffixes[:1])).name
        raise InvalidArgument(
            f"{path} would be taken for {promised}, and {container.title} is what is written; name it {better}"
        )


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
        from lorry.ops.baking.bake import check_understood

        check_understood(adapter, partial=lossy)
    style = _style(adapter, dialect, own, plugins)
    replayed, rest = replay(adapter, own, whole=bool(dialect.header or dialect.renaming)) if own else ({}, adapter)
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
    made = replace(made, tensors=tensors, metadata=metadata, sides=sides)
    refusal = dialect.refuse(made) if tensors else None
    if refusal and not _recognised(made, adapter, plugins):
        kept = {str(each) for each in (*adapter.layers, *adapter.tokens)} - encoder.lost.keys()
        why = f"it would not be recognised without more: {refusal}"
        raise NotRepresentable(dialect.title, {**encoder.lost, **dict.fromkeys(sorted(kept), why)})
    return made, {**encoder.lost, **dict(strange), **_values_left(adapter, made)}


def _header_left(made: TensorMap, dialect: Dialect, container: Container, *, lossy: bool) -> dict[str, str]:
    """Return the header entries that a container has no place for; raise NotRepresentable for them unless `lossy`.

    What the dialect's scale stands in is never left out.
    """
    if container.metadata:
        return {}
    own = dialect.header.metadata if dialect.header else ()
    left = made.metadata.keys() - {ORIGIN_KEY, RECIPE_KEY, _MADE_FOR} - dialect.metadata.keys()
    told = {key: f"{container.title} has no header" for key in made.metadata if key in left}
    if needed := {key: f"the scale stands in it, and {why}" for key, why in told.items() if key in own}:
        raise NotRepresentable(f"{dialect.title} in {container.title}", needed)
    if told and not lossy:
        raise NotRepresentable(container.title, told, "lorry convert --lossy leaves the header out")
    return told


def _values_left(adapter: Adapter, made: TensorMap) -> dict[str, str]:
    """Return what a source held beside its tensors (a pickle's step count, say) that is not written."""
    return {
        key: f"the plain value {str(value)[:80]!r}, and only tensors and their header are written"
        for frame in adapter.origin
        for key, value in frame.source.values.items()
        if key not in made.values and value not in adapter.tokens
    }


def _encode(adapter: Adapter, dialect: Dialect, *, lossy: bool, plugins: Host) -> tuple[TensorMap, Mapping[str, str]]:
    """Encode an adapter for a person, who is told which formats can hold what this one cannot."""
    try:
        return encode(adapter, dialect, lossy=lossy, plugins=plugins)
    except NotRepresentable as error:
        able = _able(adapter, error.layers, plugins)
        which = f", with --to {able[0]}" if able else ""
        all_of_it = f"{', '.join(able) or 'no installed format'} can hold all of it{which}"
        hint = f"{all_of_it}; lorry convert --lossy does without, and says what that loses"
        raise NotRepresentable(dialect.title, error.layers, hint, able) from error


def _able(adapter: Adapter, lost: Mapping[str, str], plugins: Host) -> list[str]:
    """Return the formats that can hold an adapter that has something another cannot."""
    whole = replace(adapter, extras={}, origin=(), report=Report())
    rest = replace(
        whole,
        layers={path: stack for path, stack in adapter.layers.items() if str(path) in lost},
        tokens={text: token for text, token in adapter.tokens.items() if text in lost},
    )
    return [
        dialect.name
        for dialect in plugins.dialects().values()
        if _holds(rest, dialect, plugins) and _holds(whole, dialect, plugins)
    ]


def _holds(adapter: Adapter, dialect: Dialect, plugins: Host) -> bool:
    """Tell whether a dialect that lorry writes holds all of an adapter."""
    if dialect.unreadable or plugins.get("containers", dialect.containers[0]).write is None:
        return False
    with suppress(NotRepresentable, MissingExtra):
        encode(adapter, dialect, plugins=plugins)
        return True
    return False


def _recognised(made: TensorMap, adapter: Adapter, plugins: Host) -> bool:
    """Tell whether another dialect reads all of what was made for what it is: some spell a part as that one does."""
    from lorry.ops.reading.identify import candidates

    found = candidates(made, plugins, adapter.base)
    return any(each.score == 1 and set(each.kinds) <= set(adapter.kinds) for each in found)


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
