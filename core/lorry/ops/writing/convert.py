"""From one file to another, with proof that they do the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorry.errors import InvalidFile, VerificationFailed
from lorry.ir.adapter import Adapter
from lorry.ops.disk.output import replacing
from lorry.ops.headers.recipe import header, recipe, told_model
from lorry.ops.reading.read import open_like
from lorry.ops.writing.style import ORIGIN_KEY, from_text
from lorry.ops.writing.write import Saved, check_name, chosen, save
from lorry.plugin.host import Host, host

if TYPE_CHECKING:
    from lorry.ops.bases.base import Base
    from lorry.ops.comparing.diff import Diff

TOLERANCE = 1e-6
"""Largest relative error of ΔW that a conversion may have where no dtype was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A converted file: what was read, what was written, and how far the two differ (None: not verified).

    `recipe()` tells how it was made, whether its header does or not.
    """

    adapter: Adapter
    saved: Saved
    proof: Diff | None
    recipe: Callable[[], dict[str, Any]]


def convert(  # noqa: PLR0913  every option is a keyword with a default
    adapter: Adapter,
    path: str | Path,
    format: str,
    *,
    verify: bool = False,
    base: Base | None = None,
    dtype: str | None = None,
    lossy: bool = False,
    rank: int | None = None,
    force: bool = False,
    plugins: Host | None = None,
) -> Conversion:
    """Save `adapter` in another format with its lineage in the header, and with `verify` prove it.

    The proof reads the new file back, before it takes its place, and compares every ΔW with the source's; kinds
    that need the weight ask for `base`. What `lossy` left out or made a LoRA of `rank` is not compared. Raises
    VerificationFailed where they differ by more than 1e-6 and no `dtype` was asked for, InvalidFile where the source
    holds no finite numbers to compare; whatever is at `path` stays
    as it was.
    """
    plugins, target = plugins or host(), Path(path)
    dialect, container = chosen(format, plugins, target)
    check_name(target, container, plugins)
    options = {"lossy": lossy or None, "rank": rank}

    def told() -> dict[str, Any]:
        model = told_model(base, plugins) if base is not None and lossy else None
        return recipe("convert", [(adapter, 1.0)], options, format=format, dtype=dtype, base=model)

    undone = dtype is None and (_returns(adapter, format) or _same_dialect(adapter, format))
    with replacing(target, force=force) as draft:
        # The draft has another suffix than the target, which may have chosen the container.
        full = f"{dialect.name}+{container.name}"
        saved = save(
            adapter,
            draft,
            full,
            dtype=dtype,
            lossy=lossy,
            rank=rank,
            base=base,
            metadata={} if undone else header(told()),
            plugins=plugins,
        )
        changed = {**saved.lost, **saved.approximated}
        proof = _prove(adapter, draft, base, plugins).without(changed) if verify else None
        if proof and dtype is None and not proof.error <= TOLERANCE:  # so that not-a-number fails too
            if not math.isfinite(proof.error):
                raise InvalidFile(
                    f"{path} cannot be proven: the source holds NaN or infinity; lorry validate tells where. "
                    "Without --verify its numbers are kept as they are"
                )
            worst = max(proof.layers, key=lambda each: each.error, default=None)
            raise VerificationFailed(
                f"{path} would not do what the source does (relative error {proof.error:.2g}"
                f"{f' at {worst.path}' if worst else ''}); it was not written. "
                "This is a defect of lorry: please report it"
            )
    return Conversion(adapter=adapter, saved=replace(saved, path=target), proof=proof, recipe=told)


def _prove(adapter: Adapter, draft: Path, base: Base | None, plugins: Host) -> Diff:
    """Compare what was written with its source; a token that goes by the name of its file goes by the source's."""
    from lorry.ops.comparing.diff import diff

    written = open_like(draft, adapter, plugins)
    if len(written.tokens) == len(adapter.tokens) == 1:
        (text,), (token,) = adapter.tokens, written.tokens.values()
        written = replace(written, tokens={text: token._replace(text=text)})
    return diff(adapter, written, base, plugins=plugins)


def _same_dialect(adapter: Adapter, format: str) -> bool:
    return bool(adapter.origin) and adapter.origin[0].dialect == format.partition("+")[0]


def _returns(adapter: Adapter, format: str) -> bool:
    """Tell whether this takes a converted file back to the dialect it came from: that undoes, it does not derive."""
    told = adapter.metadata.get(ORIGIN_KEY)
    style = from_text(told) if told else None
    return style is not None and style.dialect == format.partition("+")[0]
