"""From one file to another, with proof that they do the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lorry.errors import InvalidArgument, VerificationFailed
from lorry.ir.adapter import Adapter
from lorry.ir.frame import Frame
from lorry.ops.diff import Diff, diff
from lorry.ops.output import remove
from lorry.ops.read import open_like
from lorry.ops.recipe import recipe
from lorry.ops.style import ORIGIN_KEY, from_text
from lorry.ops.write import Saved, save
from lorry.plugin.host import Host, host

TOLERANCE = 1e-6
"""Largest relative error of ΔW that a conversion may have where no dtype was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A converted file: what was read, what was written, and how far the two differ (None: not verified)."""

    adapter: Adapter
    saved: Saved
    proof: Diff | None


def convert(  # noqa: PLR0913  every option is a keyword with a default
    adapter: Adapter,
    path: str | Path,
    format: str,  # noqa: A002  the word people use
    *,
    verify: bool = False,
    dtype: str | None = None,
    lossy: bool = False,
    force: bool = False,
    plugins: Host | None = None,
) -> Conversion:
    """Save `adapter` in another format with its lineage in the header, and with `verify` prove it.

    The proof reads the new file back and compares every ΔW with the source's. Raises VerificationFailed,
    and removes the new file, where they differ by more than 1e-6 and neither `dtype` nor `lossy` allows it.
    """
    plugins = plugins or host()
    if verify and Path(path).resolve() in {each.resolve() for frame in adapter.origin for each in _files(frame)}:
        raise InvalidArgument(
            f"{path} is the source itself, which verifying needs to compare with; choose another output"
        )
    told = {} if _returns(adapter, format) else recipe("convert", [(adapter, 1.0)], {"format": format, "dtype": dtype})
    if adapter.origin and adapter.origin[0].dialect == format.partition("+")[0]:
        told = {}
    saved = save(adapter, path, format, dtype=dtype, lossy=lossy, force=force, metadata=told, plugins=plugins)
    if not verify:
        return Conversion(adapter=adapter, saved=saved, proof=None)
    proof = diff(adapter, open_like(saved.path, adapter, plugins), plugins=plugins)
    if proof.error > TOLERANCE and dtype is None and not lossy:
        worst = max(proof.layers, key=lambda each: each.error, default=None)
        remove(saved.path)
        raise VerificationFailed(
            f"{path} would not do what the source does (relative error {proof.error:.2g}"
            f"{f' at {worst.path}' if worst else ''}); it was removed. This is a defect of lorry: please report it"
        )
    return Conversion(adapter=adapter, saved=saved, proof=proof)


def _files(frame: Frame) -> tuple[Path, ...]:
    return (frame.path, *frame.source.paths)


def _returns(adapter: Adapter, format: str) -> bool:  # noqa: A002  the word people use
    """Tell whether this takes a converted file back to the dialect it came from: that undoes, it does not derive."""
    told = adapter.metadata.get(ORIGIN_KEY)
    style = from_text(told) if told else None
    return style is not None and style.dialect == format.partition("+")[0]
