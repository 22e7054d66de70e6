"""lorry demo: two adapters, from the files they come in to the pictures they draw, through lorry's front door."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

import lorry
from lorry.cli.output import echo, note, table
from lorry_plugins.backends.toybox import FOLDER

if TYPE_CHECKING:
    from PIL.Image import Image

    from lorry.plugin import Model

BASE = "toybox-sd"

PROMPTS = (
    "a flat <raccoon> on a teal background",
    "a flat <raccoon> on a red background",
    "a flat <raccoon> on a white background",
    "a flat <raccoon> on a purple background",
    "a flat cat on a green background",
    "a flat rocket on a blue background",
)

STYLE_WEIGHT = 0.8

SHEET = "contact-sheet.png"


class Step(NamedTuple):
    """One line of the table: what was done, and what shows that it worked."""

    name: str
    result: str
    proof: str


class Source(NamedTuple):
    """An adapter that comes with lorry, the format it is converted to, and what it is published as."""

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
def demo(out: Path) -> None:
    """Run the whole of lorry on two small adapters and the tiny base that come with it.

    A raccoon and a two-colour style, each in another format, are identified, converted, published, pulled by
    alias, merged and baked; then the base, the adapters and the results draw the same prompts into one contact
    sheet. Nothing outside the folder is touched, and it can be run again.
    """
    out.mkdir(parents=True, exist_ok=True)
    steps: list[Step] = []
    for step in run_demo(out, SOURCES):
        note(f"{step.name}: {step.result}")
        steps.append(step)
    table("", ["step", "result", "proof"], steps)
    echo(f"{out / SHEET}: the pictures")


def run_demo(out: Path, sources: Sequence[Source]) -> Iterator[Step]:
    """Do it all in the folder `out`, yielding each step when it is done."""
    registry = lorry.registry(out / "registry")
    pulled: list[lorry.Adapter] = []
    for source in sources:
        yield _identified(source)
        converted = out / f"{source.path.stem}-{source.format}.safetensors"
        yield _converted(source, converted)
        yield _published(registry, f"{source.reference}@1.0.0", converted)
        path, step = _pulled(registry, f"{source.reference}@approved", out / "pulled")
        yield step
        pulled.append(lorry.open(path))
    subject, style = pulled
    merged = out / "both.safetensors"
    yield _merged([(subject, 1.0), (style, STYLE_WEIGHT)], merged)
    yield _published(registry, "demo/both@1.0.0", merged)
    both = lorry.open(merged)
    yield _baked(both, out / "toybox-sd-both")
    yield from _drawn(subject, style, both, out)


def _identified(source: Source) -> Step:
    found = lorry.identify(source.path)
    best = found.best
    if best is None:
        raise lorry.LorryError(f"{source.path} is not recognised; this installation of lorry is damaged")
    made_of = f"{best.layers} layers" + "".join(f", token {text}" for text in best.tokens)
    what = f"{source.path.name} is {best.dialect} for {best.base}: {made_of}"
    return Step("identify", what, f"{best.score:.0%} of {found.keys} keys mapped")


def _converted(source: Source, target: Path) -> Step:
    done = lorry.convert(lorry.open(source.path), target, source.format, verify=True, force=True)
    error = "not measured" if done.proof is None else f"largest relative error of ΔW {done.proof.error:.1g}"
    return Step("convert", f"{target.name}, {done.saved.tensors} tensors", error)


def _published(registry: Any, reference: str, path: Path) -> Step:  # noqa: ANN401  the interface is the store's own
    resolved = registry.publish(reference, [path], aliases=["approved"])
    lineage = registry.manifest(reference).lineage
    parents = [str(parent.reference) for parent in lineage.parents if parent.reference] if lineage else []
    origin = f", made from {' and '.join(parents)}" if parents else ""
    return Step("publish", f"{reference}, alias approved{origin}", f"manifest {resolved.digest[:12]}")


def _pulled(registry: Any, reference: str, folder: Path) -> tuple[Path, Step]:  # noqa: ANN401  the interface is the store's own
    (path,) = registry.pull(reference, folder, force=True)
    (file,) = registry.verify(reference).files
    return path, Step("pull", f"{reference} into {path.name}", f"every byte checked, sha256 {file.sha256[:12]}")


def _merged(adapters: Sequence[tuple[lorry.Adapter, float]], target: Path) -> Step:
    """Merge by sum, and measure the result against the sum itself: all layers side by side, weights in the scale."""
    from lorry.ops.recipe import recipe

    told = recipe("merge", adapters, {"method": "sum", "format": "kohya"})
    lorry.save(lorry.merge(adapters), target, "kohya", metadata=told, force=True)
    paths = {path: None for adapter, _ in adapters for path in adapter.layers}
    layers = {
        path: tuple(
            replace(layer, scale=weight * layer.scale)
            for adapter, weight in adapters
            for layer in adapter.layers.get(path, ())
        )
        for path in paths
    }
    error = lorry.diff(replace(adapters[0][0], layers=layers), lorry.open(target)).error
    weights = " + ".join(f"{weight:g} x {adapter.origin[0].path.stem}" for adapter, weight in adapters)
    return Step("merge", f"{target.name} = {weights}", f"largest relative error of the sum {error:.1g}")


def _baked(adapter: lorry.Adapter, target: Path) -> Step:
    from lorry.ops.write_base import write_base

    baked = lorry.bake(lorry.open_base(BASE), [adapter])
    write_base(baked, target, tokens=list(adapter.tokens.values()), force=True)
    proof = f"{len(baked.changes)} of {len(baked)} tensors changed, {len(adapter.tokens)} token added"
    return Step("bake", f"{target.name}, a base that needs no adapter", proof)


def _drawn(subject: lorry.Adapter, style: lorry.Adapter, both: lorry.Adapter, out: Path) -> Iterator[Step]:
    from lorry_plugins.backends.toybox.contact_sheet import contact_sheet

    rows: dict[str, list[Image]] = {}
    with lorry.run(BASE) as model:
        rows["base"] = _pictures(model)
        for name, adapter in (("raccoon", subject), ("style", style), ("both merged,\nattached", both)):
            model.attach([(adapter, 1.0)])
            rows[name] = _pictures(model)
        model.detach()
        same = _pictures(model)[0].tobytes() == rows["base"][0].tobytes()
    yield Step(
        "attach", f"{len(rows)} rows of {len(PROMPTS)} pictures", f"after detach the base draws {'the same' if same else 'ANOTHER'} picture"
    )
    with lorry.run(out / "toybox-sd-both") as model:
        rows["both merged,\nbaked"] = _pictures(model)
    attached, baked = list(rows.values())[-2:]
    apart = max(_difference(one, other) for one, other in zip(attached, baked, strict=True))
    yield Step("generate", "the baked base draws the same row", f"mean difference at most {apart:.2g} of 255")
    headings = [prompt.removeprefix("a flat ").removesuffix(" background").replace(" on a ", "\non ") for prompt in PROMPTS]
    contact_sheet(headings, rows).save(out / SHEET)


def _pictures(model: Model) -> list[Image]:
    return [model.generate(lorry.Request(prompt=prompt, seed=7)) for prompt in PROMPTS]


def _difference(one: Image, other: Image) -> float:
    """Return the mean absolute difference of two pictures, in levels of 0..255."""
    from PIL import ImageChops, ImageStat

    means = ImageStat.Stat(ImageChops.difference(one, other)).mean
    return sum(means) / len(means)
