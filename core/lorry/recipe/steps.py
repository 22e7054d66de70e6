"""How each operation of a recipe is done: by the functions behind the command of its name, and no others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lorry.errors import InvalidArgument
from lorry.ir.adapter import Adapter
from lorry.ops.baking.bake import bake
from lorry.ops.baking.write import write_base
from lorry.ops.bases.base import Base
from lorry.ops.bases.convert import convert_base
from lorry.ops.extracting.extract import Extraction
from lorry.ops.extracting.pairs import Forms
from lorry.ops.headers.recipe import header
from lorry.ops.merging.merge import Merging, main_dialect
from lorry.ops.ranks.aim import rank_aim
from lorry.ops.ranks.resize import Resizing
from lorry.ops.writing.convert import convert
from lorry.ops.writing.write import Saved, save
from lorry.plugin.host import Host
from lorry.recipe.document import Bake, Convert, ConvertBase, Extract, Merge, Ranks, Recipe, Resize

T = TypeVar("T")
Watch = Callable[[Iterable[T], int, str], Iterator[T]]
"""Passes items on and shows how far it is: (items, how many there are, what is done)."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a step is done with: everything opened, where to write and where to keep what is not finished.

    place(format): where to write an adapter of that format.
    """

    adapters: list[tuple[Adapter, float]]
    base: Base | None
    tuned: Base | None
    like: Path | None
    place: Callable[[str | None], Path]
    unfinished: Path
    device: str
    force: bool
    watch: Watch[Any]
    plugins: Host


def do(recipe: Recipe, job: Job) -> Saved | None:
    """Do what a recipe says; return what was saved where that is an adapter."""
    return _STEPS[recipe.op](recipe, job)


def _merge(recipe: Merge, job: Job) -> Saved:
    asked = recipe.options
    # A text with a line end is never taken for the name of a file, which a recipe must not bring in.
    weights = [f"{each}\n" for each in asked.weights]
    work = Merging(
        job.adapters,
        asked.method,
        weights=weights,
        options=asked.settings,
        rank=asked.rank,
        base=job.base,
        device=job.device,
        partial=asked.partial,
        plugins=job.plugins,
    )
    _run(job, work.run(), work.total, "merging")
    merged = work.finish()
    if not merged.layers and not merged.tokens:
        raise InvalidArgument("every weight is 0; nothing would be left")
    format, dtype = recipe.output.format or main_dialect(job.adapters[0][0]), recipe.output.dtype
    told = work.recipe(format, dtype)
    if recipe.like is not None:
        told["like"] = recipe.like.model_dump(mode="json", exclude_unset=True)
    return _save(merged, job, format, dtype, told)


def _extract(recipe: Extract, job: Job) -> Saved:
    asked = recipe.options
    if job.tuned is None or job.base is None:
        raise InvalidArgument("an extraction needs the tuned model and its base")
    model = job.plugins.get("base_models", job.base.id)
    format = recipe.output.format or model.dialect
    if not format:
        raise InvalidArgument(f"no format is the usual one for {model.title}; say which in the recipe's output")
    forms = Forms(convolutions=asked.conv, full=asked.full, others=asked.others)
    work = Extraction(
        job.tuned,
        job.base,
        rank_aim(**_aim(asked)),
        forms,
        dtype=recipe.output.dtype,
        device=job.device,
        folder=job.unfinished,
        plugins=job.plugins,
    )
    _run(job, work.run(), work.total, "extracting")
    saved = _save(work.finish().adapter, job, format, None, work.recipe(format))
    work.clear()
    return saved


def _resize(recipe: Resize, job: Job) -> Saved:
    asked = recipe.options
    ((adapter, _),) = job.adapters
    aim = rank_aim(**_aim(asked), ratio=asked.ratio)
    work = Resizing(
        adapter,
        aim,
        base=job.base,
        dtype=recipe.output.dtype,
        device=job.device,
        partial=asked.partial,
        plugins=job.plugins,
    )
    _run(job, work.run(), work.total, "resizing")
    format = recipe.output.format or main_dialect(adapter)
    return _save(work.finish().adapter, job, format, None, work.recipe(format))


def _convert(recipe: Convert, job: Job) -> Saved:
    ((adapter, _),) = job.adapters
    format = recipe.output.format or main_dialect(adapter)
    done = convert(
        adapter,
        job.place(format),
        format,
        base=job.base,
        dtype=recipe.output.dtype,
        lossy=recipe.options.lossy,
        rank=recipe.options.rank,
        force=job.force,
        plugins=job.plugins,
    )
    return done.saved


def _bake(recipe: Bake, job: Job) -> None:
    asked = recipe.options
    if job.base is None:
        raise InvalidArgument("a bake needs a base")
    baked = bake(
        job.base,
        job.adapters,
        dtype=recipe.output.dtype,
        device=job.device,
        partial=asked.partial,
        plugins=job.plugins,
    )
    layout = recipe.output.layout
    write_base(baked, job.place(None), layout=layout, like=job.like, lossy=asked.lossy, force=job.force)


def _convert_base(recipe: ConvertBase, job: Job) -> None:
    if job.base is None:
        raise InvalidArgument("there is no base to convert")
    convert_base(
        job.base,
        job.place(None),
        recipe.output.layout,
        like=job.like,
        shard_size=recipe.output.shard_size,
        lossy=recipe.options.lossy,
        force=job.force,
        plugins=job.plugins,
    )


_STEPS: Mapping[str, Callable[[Any, Job], Saved | None]] = {
    "merge": _merge,
    "extract": _extract,
    "resize": _resize,
    "convert": _convert,
    "bake": _bake,
    "convert-base": _convert_base,
}


def _run(job: Job, work: Iterable[Any], total: int, what: str) -> None:
    for _ in job.watch(work, total, what):
        pass


def _save(adapter: Adapter, job: Job, format: str, dtype: str | None, told: dict[str, Any]) -> Saved:
    where = job.place(format)
    return save(adapter, where, format, dtype=dtype, force=job.force, metadata=header(told), plugins=job.plugins)


def _aim(asked: Ranks) -> dict[str, Any]:
    return {"rank": asked.rank, "energy": asked.energy, "error": asked.error, "size": asked.size}
