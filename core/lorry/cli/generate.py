"""lorry generate: draw pictures with adapters attached."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import click

from lorry.cli import options
from lorry.cli.output import echo, echo_json
from lorry.errors import InvalidArgument
from lorry.ir.tensor import require_torch


@click.command("generate")
@click.argument("base")
@click.argument("adapters", nargs=-1, metavar="[ADAPTER[:STRENGTH]]...")
@click.option("-p", "--prompt", required=True, help="What to draw.")
@click.option("-n", "--negative", default="", help="What not to draw.")
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(-(1 << 63), (1 << 64) - 1),
    help="Same seed, same picture.",
)
@click.option(
    "--count", default=1, show_default=True, type=click.IntRange(1), help="How many pictures, at seed, seed+1 …"
)
@click.option("--steps", type=click.IntRange(1), help="Denoising steps; the base's own default if not given.")
@click.option("--guidance", type=float, help="How closely to follow the prompt; the base's own default if not given.")
@click.option("--width", type=click.IntRange(1), help="In pixels.")
@click.option("--height", type=click.IntRange(1), help="In pixels.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, mps …")
@click.option(
    "--dtype", type=click.Choice(["float32", "float16", "bfloat16"]), help="The backend's choice if not given."
)
@options.output
@options.force
@options.as_json
def command(
    base: str,
    adapters: tuple[str, ...],
    prompt: str,
    negative: str,
    seed: int,
    count: int,
    steps: int | None,
    guidance: float | None,
    width: int | None,
    height: int | None,
    device: str,
    dtype: str | None,
    output: str,
    force: bool,
    as_json: bool,
) -> None:
    """Draw with BASE (a folder, or a name such as toybox-sd) and adapters attached at their strengths.

    The suffix of OUTPUT is the format of the picture. Several pictures are numbered: OUTPUT-0.png, OUTPUT-1.png …
    """
    from lorry.ops.baking.run import run
    from lorry.ops.disk.output import check_target, replacing
    from lorry.ops.reading.read import open_adapter
    from lorry.plugin.backend import Request

    target = Path(output)
    picture_format = _picture_format(target)
    targets = [target if count == 1 else target.with_name(f"{target.stem}-{at}{target.suffix}") for at in range(count)]
    for each in targets:
        check_target(each, force=force)
    pairs = [(open_adapter(path), strength) for path, strength in map(options.with_strength, adapters)]
    with run(base, pairs, device=device, dtype=dtype) as model:
        for at, path in enumerate(targets):
            request = Request(
                prompt=prompt,
                negative=negative,
                seed=seed + at,
                steps=steps,
                guidance=guidance,
                width=width,
                height=height,
            )
            with replacing(path, force=force) as draft:
                model.generate(request).save(draft, format=picture_format)
            if not as_json:
                echo(f"{path}: seed {seed + at}")
    if as_json:
        echo_json([{"path": str(path), "seed": seed + at} for at, path in enumerate(targets)])


def _picture_format(path: Path) -> str:
    """Return the format that Pillow writes under this suffix; raise InvalidArgument where it writes none."""
    require_torch("drawing pictures")
    from PIL import Image

    found = Image.registered_extensions().get(path.suffix.lower(), "")
    try:
        Image.new("RGB", (1, 1)).save(BytesIO(), format=found)
    except (KeyError, ValueError, OSError):
        raise InvalidArgument(
            f"{path} names no format that colour pictures are written in; end it with .png, .jpg or .webp, say"
        ) from None
    return found
