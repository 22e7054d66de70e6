"""Options and arguments that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from lorry.errors import InvalidArgument

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

as_json: Decorator = click.option(  # eager: known to an option that prints and exits, wherever it stands
    "--json", "as_json", is_flag=True, is_eager=True, help="Print JSON instead of text."
)
output: Decorator = click.option("-o", "--output", required=True, type=click.Path(), help="Where to write.")
force: Decorator = click.option("--force", is_flag=True, help="Replace what is at the output.")
base: Decorator = click.option("--base", metavar="BASE", help="The base model: a folder, or a name (lorry base ls).")
partial: Decorator = click.option("--partial", is_flag=True, help="Go on with the part that is understood.")
like: Decorator = click.option(
    "--like",
    metavar="BASE",
    help="A diffusers folder, or its name, to take configurations and tokenizers from, for --to diffusers.",
)
recipe: Decorator = click.option(
    "--recipe",
    "recipe_file",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write how it was made into this file too, for lorry run-recipe.",
)
inputs: Decorator = click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=PATH",
    help="Where an input or model of a recipe is, by the name that the recipe has for it.",
)
find_in: Decorator = click.option(
    "--find-in",
    multiple=True,
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False),
    help="Search this folder and those in it for the digests that a recipe tells.",
)
weights: Decorator = click.option(
    "--weights",
    multiple=True,
    metavar="SPEC|FILE",
    help="Weights by component, block, module or preset, as in 'unet=0.7, text_encoder=0' or 'b-lora-style'; given "
    "once for all adapters, or once for each in their order.",
)
dtype: Decorator = click.option(
    "--dtype",
    type=click.Choice(["F32", "F16", "BF16"]),
    help="Round the numbers to this; kept as they are if not given.",
)


device: Decorator = click.option(
    "--device", default="cpu", show_default=True, help="Where to compute: auto, cpu, cuda …"
)


def named_paths(given: Iterable[str]) -> dict[str, Path]:
    """Split "NAME=PATH"s; raise InvalidArgument for what is none."""
    named = {}
    for text in given:
        name, sign, path = text.partition("=")
        if not sign or not name or not path:
            raise InvalidArgument(
                f"--input {text} says nothing; write NAME=PATH, as in cat.safetensors=my/cat.safetensors"
            )
        named[name] = Path(path)
    return named


def with_strength(text: str) -> tuple[str, float]:
    """Split "PATH:0.8" into path and number; a path alone has strength 1.

    A file may have a colon in its name, and so may a reference or a drive. Raises InvalidArgument where what
    follows the name of a file is no strength.
    """
    path, colon, number = text.rpartition(":")
    if not colon or not path or Path(text).exists():
        return text, 1.0
    try:
        strength = float(number)
    except ValueError:
        if not Path(path).exists():
            return text, 1.0
        raise InvalidArgument(f"{text}: {number!r} is no strength; give a number, such as {path}:0.8") from None
    from lorry.ir.strength import checked_strength  # not all of the vocabulary for commands that need none of it

    return path, checked_strength(strength, text)
