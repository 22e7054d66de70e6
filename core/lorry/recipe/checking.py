"""Checking what a recipe asks for before anything is done: whether names, options and values mean something here."""

from __future__ import annotations

from lorry.errors import LorryError
from lorry.ops.disk.byte_count import byte_count
from lorry.ops.merging.merge import check_count
from lorry.ops.merging.settings import settings
from lorry.ops.ranks.aim import rank_aim
from lorry.ops.writing.write import chosen
from lorry.plugin.host import Host
from lorry.recipe.document import ConvertBase, Merge, Output, Ranks, Recipe, ResizeOptions


def check(recipe: Recipe, plugins: Host) -> None:
    """Raise for a step that could only fail: UnknownName and InvalidArgument, as the operation itself would.

    What depends on the adapters, which modules its weights name say, is not looked at. Nested recipes are steps of
    their own.
    """
    try:
        _check(recipe, plugins)
    except LorryError as error:
        error.args = (f"the recipe's {recipe.op}: {error}",)
        raise


def _check(recipe: Recipe, plugins: Host) -> None:
    if isinstance(recipe.output, Output) and recipe.output.format is not None:
        chosen(recipe.output.format, plugins)
    if isinstance(recipe, Merge):
        method = plugins.get("merge_methods", recipe.options.method)
        check_count(method, len(recipe.inputs))
        settings(method, recipe.options.settings)
    if isinstance(recipe.options, Ranks):
        asked = recipe.options
        ratio = asked.ratio if isinstance(asked, ResizeOptions) else None
        rank_aim(rank=asked.rank, energy=asked.energy, error=asked.error, size=asked.size, ratio=ratio)
    if isinstance(recipe, ConvertBase) and recipe.output.shard_size is not None:
        byte_count(recipe.output.shard_size)
