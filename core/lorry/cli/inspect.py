"""lorry inspect: what a file is, holds and fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lorry.cli.listing import listing
from lorry.cli.options import as_json as json_option
from lorry.cli.options import base as base_option
from lorry.cli.output import columns, echo, echo_json, facts, table
from lorry.errors import LorryError, NotFound, NotRecognised
from lorry.ir.adapter import Adapter
from lorry.ir.tensor import TensorRef
from lorry.plugin.loader import LOADS

if TYPE_CHECKING:
    from lorry.ops.bases.base import Base


@click.command("inspect")
@click.argument("path", nargs=-1, required=True)
@base_option
@click.option("--layers", is_flag=True, help="List every layer.")
@click.option("--hashes", is_flag=True, help="Hash every file: SHA256, AutoV1 to AutoV3, BLAKE3, CRC32.")
@click.option("-r", "--recursive", is_flag=True, help="Take every PATH for itself, and folders for what is in them.")
@json_option
def command(
    path: tuple[str, ...], base: str | None, layers: bool, hashes: bool, recursive: bool, as_json: bool
) -> None:
    """Say what an adapter is, what it holds and which tools load it; or which base model it is.

    PATH is a file, a folder, a reference, or all files of one adapter. Reads headers only, but for --hashes.
    With -r every PATH is another adapter, or a folder of adapters at any depth: one line each, of JSON too.
    """
    from lorry.ops.reading.read import SEVERAL, open_adapter

    if recursive:
        tell = partial(_told, base=base, layers=layers, hashes=hashes)
        listing(
            path, tell, ("format", "base", "kinds", "ranks", "modules", "tokens", "loads in"), _row, as_json=as_json
        )
        return
    try:
        adapter = open_adapter(path[0] if len(path) == 1 else list(path), base=base)
    except (NotFound, NotRecognised):
        with suppress(LorryError):
            about = describe_base(path[0])
            about["hashes"] = _hashes(about["files"]) if hashes else {}
            echo_json(about) if as_json else _facts(about)
            return
        raise
    # Files of a reference stand where nobody should look; people know it by its name.
    called = path[0] if len(path) == 1 and not Path(path[0]).exists() else ""
    about = _about(adapter, layers=layers, hashes=hashes, called=called)
    if as_json:
        echo_json(about)
        return
    apart = ("loads", "conflicts", "metadata", "layer_list")
    _facts({name: value for name, value in about.items() if name not in apart})
    for each in about["conflicts"]:
        echo(f"conflict: {each}")
    if layers:
        headings = ("module", "kind", "scale", "slots")
        table("layers", headings, [(e["module"], e["kind"], e["scale"], e["slots"]) for e in about["layer_list"]])
    for what, why in adapter.report.ambiguous:
        echo(f"not told by the file: {what}: {why}")
    if adapter.report.companions:
        whole = [*(str(frame.path) for frame in adapter.origin), *adapter.report.companions]
        echo(f"its companions are not opened; for all of it say {SEVERAL.join(whole)}")
    for key, why in adapter.report.unmapped[:10]:
        echo(f"not understood: {key}: {why}")
    _matrix(about["loads"])


def _told(path: Path, base: str | None, *, layers: bool, hashes: bool) -> dict[str, Any]:
    from lorry.ops.reading.read import open_adapter

    return _about(open_adapter(path, base=base), layers=layers, hashes=hashes)


def _row(told: Mapping[str, Any]) -> tuple[str, ...]:
    """Cut what is told of an adapter down to the cells of a line."""
    base = str(told["base"]).partition(" (")[0]
    loads = [each["tool"] for each in told["loads"] if each["verdict"] == LOADS]
    listed = (told["kinds"], list(told["ranks"]), [str(sum(told["modules"].values()))], list(told["tokens"]), loads)
    return (told["format"][0], base, *(", ".join(each) for each in listed))


def _about(adapter: Adapter, *, layers: bool, hashes: bool, called: str = "") -> dict[str, Any]:
    """Return all there is to say of an adapter."""
    from lorry.ops.judging.claims import conflicts
    from lorry.ops.judging.loaders import loads
    from lorry.plugin.host import host

    about = describe(adapter)
    return {
        **about,
        "hashes": _hashes(about["files"]) if hashes else {},
        "loads": [each._asdict() for each in loads(adapter, host(), called)],
        "conflicts": [str(each) for each in conflicts(adapter, host(), hashed=hashes)],
        "metadata": dict(adapter.metadata),
        "layer_list": _layers(adapter) if layers else None,
    }


def _matrix(loadings: Sequence[Mapping[str, str]]) -> None:
    """Print which tools load an adapter, then the commands that mend it for those that do not."""
    mending: dict[str, list[str]] = {}
    rows = []
    for each in loadings:
        untested = f"({each['evidence']})" if each["evidence"] != "measured" else ""
        because = " ".join(part for part in (each["because"], untested) if part)
        rows.append((f"{each['tool']} {each['version']}", each["verdict"], because))
        if each["mend"]:
            mending.setdefault(each["mend"], []).append(each["tool"])
    if rows:
        echo()
        columns(("tool", "loads it?", "because"), rows)
    for command, tools in mending.items():
        echo(f"for {', '.join(tools)}: {command}")


def describe(adapter: Adapter) -> dict[str, Any]:
    """Return the facts about an adapter that a person asks first."""
    from lorry.ops.headers.training import algorithm, prediction
    from lorry.ops.headers.triggers import triggers
    from lorry.ops.reading.identify import target_shapes, variants
    from lorry.plugin.host import host

    stacks = [layer for each in adapter.layers.values() for layer in each]
    refs = [ref for layer in stacks for ref in layer.slots.values()]
    vectors = [ref for token in adapter.tokens.values() for ref in token.vectors.values()]
    kinds = host().kinds()
    ranks = Counter(rank(layer.slots) for layer in stacks if (rank := kinds[layer.kind].rank))
    base = host().base_models()[adapter.base]
    return {
        "files": [str(path) for frame in adapter.origin for path in frame.source.paths],
        "format": [f"{frame.dialect}+{frame.container}" for frame in adapter.origin],
        "base": f"{base.title} ({base.id}@{base.version})",
        "variant": _one_of(variants(base, target_shapes(adapter.layers, host()))),
        "prediction": prediction(adapter.metadata),
        "trained by": algorithm(adapter.metadata),
        "kinds": list(adapter.kinds),
        "pivotal": "yes: layers and learned tokens" if adapter.tokens and adapter.layers else "",
        "modules": dict(Counter(path.component for path in adapter.layers)),
        "ranks": {str(rank): count for rank, count in sorted(ranks.items())},
        "scales": {f"{scale:g}": count for scale, count in sorted(Counter(layer.scale for layer in stacks).items())},
        "tokens": {
            token.text: {name: list(ref.shape) for name, ref in token.vectors.items()}
            for token in adapter.tokens.values()
        },
        "dtypes": dict(Counter(ref.dtype for ref in [*refs, *vectors])),
        "parameters": sum(ref.numel for ref in _unique([*refs, *vectors])),
        "keys": f"{len(adapter.report.used)} used, {len(adapter.report.unmapped)} not understood",
        "companions": list(adapter.report.companions),
        "triggers": {
            word.text: ("" if word.stated else "perhaps, by ") + ", ".join(word.sources) for word in triggers(adapter)
        },
    }


def _hashes(files: Sequence[str]) -> dict[str, dict[str, str]]:
    from lorry.ops.disk.hashes import known_hashes

    return {file: known_hashes(Path(file)).named() for file in files}


def describe_base(path: str) -> dict[str, Any]:
    """Return the facts about a base model that a person asks first; raise NotRecognised for what is none."""
    from lorry.ops.bases.base import open_base
    from lorry.ops.reading.identify import variants
    from lorry.plugin.host import host

    base = open_base(path)
    model = host().base_models()[base.id]
    refs = base.tensors.values()
    return {
        "files": [str(path) for path in base.files],
        "format": f"base model, {base.layout}",
        "base": f"{model.title} ({model.id}@{model.version})",
        "variant": _one_of(variants(model, base.shapes, whole=True)),
        "prediction": _prediction(base),
        "tensors": dict(Counter(name.partition(".")[0] for name in base.tensors)),
        "dtypes": dict(Counter(ref.dtype for ref in refs)),
        "parameters": sum(ref.numel for ref in refs),
        "quantised": base.quantised,
        "not understood": len(base.unmapped),
    }


def _prediction(base: Base) -> str:
    """Return what a base predicts, by the header of one of its files or the scheduler beside its components."""
    from lorry.ops.bases.files import read_weights
    from lorry.ops.bases.layout import FOLDER
    from lorry.ops.headers.training import prediction, scheduled_prediction
    from lorry.plugin.host import host

    told = (prediction(read_weights(file, host()).metadata) for file in base.files)
    folders = dict.fromkeys(file.parent.parent for file in base.files if base.layout == FOLDER)
    return next(filter(None, (*told, *map(scheduled_prediction, folders))), "")


def _one_of(names: Sequence[str]) -> str:
    return f"one of {', '.join(names)}" if len(names) > 1 else "".join(names)


def _unique(refs: list[TensorRef]) -> list[TensorRef]:
    """Count what several parts of a fused module share once."""
    return list({ref.segments: ref for ref in refs}.values())


def _layers(adapter: Adapter) -> list[dict[str, Any]]:
    return [
        {
            "module": str(path),
            "kind": layer.kind,
            "scale": f"{layer.scale:g}",
            "slots": ", ".join(f"{slot} {ref.dtype}{list(ref.shape)}" for slot, ref in layer.slots.items()),
        }
        for path, stack in adapter.layers.items()
        for layer in stack
    ]


def _facts(about: dict[str, Any]) -> None:
    facts((name, _text(value)) for name, value in about.items() if name != "hashes" and value not in ("", [], {}))
    for file, hashes in about["hashes"].items():
        columns(("hashes of", file), hashes.items())


def _vectors(shapes: Mapping[str, Sequence[int]]) -> str:
    return " and ".join(f"{'x'.join(map(str, shape))} in {encoder}" for encoder, shape in shapes.items())


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_vectors(each) if isinstance(each, dict) else each}" for key, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
