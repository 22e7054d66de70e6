"""lorry demo: two adapters, from the files they come in to the pictures they draw, through lorry's front door."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

import lorry
from lorry.cli.options import as_json as json_option
from lorry.cli.output import count, echo, echo_json, note, table
from lorry.errors import VerificationFailed
from lorry_plugins.backends.toybox import FOLDER

if TYPE_CHECKING:
    from PIL.Image import Image

    from lorry.plugin import Model

BASE = "toybox-sd"

PROMPTS = (
    "a flat <raccoon> on a teal background",
    "a flat <raccoon> on a red background",
    "a flat <raccoon> on a white background",
    "a flat fox on a green background",
    "a flat rocket on a blue background",
    "a flat house on a pink background",
)

LEARNED_FORMAT = "diffusers-embedding"

WEIGHTS = (1.0, 0.8)
"""Of the raccoon and of the style where they are merged."""

TOLERANCE = 1e-6
"""Largest relative error of a delta that passes for none: half-precision files, float32 arithmetic."""

BAKED = "toybox-sd-both"
SHEET = "contact-sheet.png"


class Step(NamedTuple):
    """One line of the table: what was done, and what shows that it worked."""

    name: str
    result: str
    proof: str


class Source(NamedTuple):
    """An adapter that comes with lorry, the format it is converted to, and what it is published as.

    Learned tokens go into a file of their own in LEARNED_FORMAT, as diffusers has it.
    """

    path: Path
    format: str
    reference: str


SOURCES = (
    Source(FOLDER / "adapters" / "raccoon.safetensors", "diffusers", "demo/raccoon"),
    Source(FOLDER / "adapters" / "style.safetensors", "kohya", "demo/style"),
)


@click.command("demo")
@click.option(
    "--out",
    default="demo-output",
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for everything it makes, a registry of its own among it.",
)
@json_option
def demo(out: Path, *, as_json: bool) -> None:
    """Run the whole of lorry on two small adapters and the tiny base that come with it.

    A raccoon and a two-colour style, each in another format, are identified, converted, published, pulled by
    alias, merged and baked; then the base, the adapters and the results draw the same prompts into one contact
    sheet. Nothing outside the folder is touched, and it can be run again.
    """
    import torch

    torch.set_num_threads(1)  # a model this small gains nothing from a second thread, and loses much on a busy machine
    out.mkdir(parents=True, exist_ok=True)
    steps = list(run_demo(out, SOURCES))
    if as_json:
        echo_json({"steps": [step._asdict() for step in steps], "pictures": out / SHEET})
        return
    table("", ["step", "result", "proof"], steps)
    echo(f"{out / SHEET}: the pictures")


def run_demo(out: Path, sources: Sequence[Source]) -> Iterator[Step]:
    """Do it all in the folder `out`, yielding each step when it is done."""
    registry = lorry.registry(out / "registry")
    pulled: list[lorry.Adapter] = []
    for source in sources:
        yield _identified(source)
        files, step = _converted(source, out / "converted")
        yield step
        yield _published(registry, f"{source.reference}@1.0.0", files)
        files, step = _pulled(registry, f"{source.reference}@approved", out / "pulled")
        yield step
        pulled.append(lorry.open(files))
    merged = out / "both.safetensors"
    yield _merged(pulled, merged)
    yield _published(registry, "demo/both@1.0.0", [merged])
    both = lorry.open(merged)
    yield _baked(both, out / BAKED)
    yield from _drawn({"raccoon": pulled[0], "style": pulled[1], "merged,\nattached": both}, out)


def _identified(source: Source) -> Step:
    found = lorry.identify(source.path)
    best = found.best
    if best is None:
        raise lorry.LorryError(f"{source.path} is not recognised; this installation of lorry is damaged")
    made_of = count(best.layers, "layer") + "".join(f", token {text}" for text in best.tokens)
    what = f"{source.path.name} is {best.dialect} for {best.base}: {made_of}"
    return Step("identify", what, f"{best.score:.0%} of {found.keys} keys mapped")


def _converted(source: Source, folder: Path) -> tuple[list[Path], Step]:
    folder.mkdir(exist_ok=True)
    adapter, files = lorry.open(source.path), []
    parts = [(source.format, replace(adapter, tokens={}), ""), (LEARNED_FORMAT, replace(adapter, layers={}), "-token")]
    for format_, part, ending in parts:
        if part.layers or part.tokens:
            target = folder / f"{source.path.stem}{ending}.safetensors"
            lorry.convert(part, target, format_, force=True)
            files.append(target)
    error = lorry.diff(adapter, lorry.open(files)).error
    names = " and ".join(file.name for file in files)
    return files, Step("convert", f"to {source.format}: {names}", _small(error))


def _published(registry: Any, reference: str, files: Sequence[Path]) -> Step:  # noqa: ANN401  the interface is the store's
    resolved = registry.publish(reference, files, aliases=["approved"])
    lineage = registry.manifest(reference).lineage
    parents = dict.fromkeys(str(each.reference) for each in lineage.parents if each.reference) if lineage else {}
    origin = f", made from {' and '.join(parents)}" if parents else ""
    return Step("publish", f"{reference}, alias approved{origin}", f"manifest {resolved.digest[:16]}")


def _pulled(registry: Any, reference: str, folder: Path) -> tuple[list[Path], Step]:  # noqa: ANN401  as above
    files = list(registry.pull(reference, folder, force=True))
    checked = registry.verify(reference).files
    names = " and ".join(file.name for file in files)
    return files, Step(
        "pull", f"{reference}: {names}", f"sha256 {', '.join(each.sha256[:8] for each in checked)} checked"
    )


def _merged(pulled: Sequence[lorry.Adapter], target: Path) -> Step:
    """Merge by sum, and measure the result against the sum itself: all layers side by side, weights in the scale."""
    from lorry.ops.headers.recipe import header, recipe

    adapters = list(zip(pulled, WEIGHTS, strict=True))
    told = header(recipe("merge", adapters, {"method": "sum"}, format="kohya"))
    lorry.save(lorry.merge(adapters), target, "kohya", metadata=told, force=True)
    layers = {
        path: tuple(
            replace(layer, scale=weight * layer.scale)
            for adapter, weight in adapters
            for layer in adapter.layers.get(path, ())
        )
        for adapter in pulled
        for path in adapter.layers
    }
    error = lorry.diff(replace(pulled[0], layers=layers), lorry.open(target)).error
    subject, style = WEIGHTS
    return Step("merge", f"{target.name} = {subject:g} raccoon + {style:g} style", _small(error))


def _baked(adapter: lorry.Adapter, target: Path) -> Step:
    from lorry.ops.baking.write import write_base

    baked = lorry.bake(lorry.open_base(BASE), [adapter])
    write_base(baked, target, force=True)
    proof = f"{len(baked.changes)} of {len(baked)} tensors changed, {count(len(adapter.tokens), 'token')} added"
    return Step("bake", f"{target.name}, a base that needs no adapter", proof)


def _drawn(adapters: Mapping[str, lorry.Adapter], out: Path) -> Iterator[Step]:
    from lorry_plugins.backends.toybox.contact_sheet import contact_sheet

    rows: dict[str, list[Image]] = {}
    with lorry.run(BASE) as model:
        rows["base"] = _row(model, "base")
        for name, adapter in adapters.items():
            model.attach([(adapter, 1.0)])
            rows[name] = _row(model, name)
        model.detach()
        if _picture(model, 0).tobytes() != rows["base"][0].tobytes():
            raise VerificationFailed("after detaching, the base draws another picture than before")
    yield Step("attach", f"{len(rows)} rows of pictures", "after detach the base draws its picture again, bit for bit")
    with lorry.run(out / BAKED) as model:
        rows["merged,\nbaked"] = _row(model, "merged, baked")
    attached, baked = list(rows.values())[-2:]
    apart = max(_difference(one, other) for one, other in zip(attached, baked, strict=True))
    contact_sheet([prompt.removeprefix("a flat ").replace(" on ", "\non ") for prompt in PROMPTS], rows).save(
        out / SHEET
    )
    yield Step(
        "generate", "the baked base draws what the attached adapter draws", f"mean difference {apart:.1g} of 255"
    )


def _row(model: Model, name: str) -> list[Image]:
    note(f"drawing: {' '.join(name.split())}")
    return [_picture(model, column) for column in range(len(PROMPTS))]


def _picture(model: Model, column: int) -> Image:
    return model.generate(lorry.Request(prompt=PROMPTS[column], seed=column))


def _difference(one: Image, other: Image) -> float:
    """Return the mean absolute difference of two pictures, in levels of 0..255."""
    from PIL import ImageChops, ImageStat

    means = ImageStat.Stat(ImageChops.difference(one, other)).mean
    return sum(means) / len(means)


def _small(error: float) -> str:
    """Say how large an error is; raise VerificationFailed where it is too large."""
    if not error <= TOLERANCE:  # so that not-a-number is too large
        raise VerificationFailed(f"the result differs from what it was made from: relative error {error:.2g}")
    return f"largest relative error of a delta {error:.1g}"
