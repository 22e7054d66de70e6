"""lorry inspect: what a file is, holds and fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from lorry.cli.options import as_json as json_option
from lorry.cli.options import base as base_option
from lorry.cli.output import echo, echo_json, facts, table
from lorry.errors import LorryError, NotFound, NotRecognised
from lorry.ir.adapter import Adapter
from lorry.ir.tensor import TensorRef


@click.command("inspect")
@click.argument("path", nargs=-1, required=True)
@base_option
@click.option("--layers", is_flag=True, help="List every layer.")
@click.option("--hashes", is_flag=True, help="Hash every file: SHA256, AutoV1 to AutoV3, BLAKE3, CRC32.")
@json_option
def command(path: tuple[str, ...], base: str | None, layers: bool, hashes: bool, as_json: bool) -> None:
    """Say what an adapter is, what it holds and what it fits; or which base model it is.

    PATH is a file, a folder, a reference, or all files of one adapter. Reads headers only, but for --hashes.
    """
    from lorry.ops.claims import conflicts
    from lorry.ops.read import open_adapter
    from lorry.plugin.host import host

    try:
        adapter = open_adapter(path[0] if len(path) == 1 else list(path), base=base)
    except (NotFound, NotRecognised):
        with suppress(LorryError):
            about = describe_base(path[0])
            about["hashes"] = _hashes(about["files"]) if hashes else {}
            echo_json(about) if as_json else _facts(about)
            return
        raise
    about = describe(adapter)
    about["hashes"] = _hashes(about["files"]) if hashes else {}
    against = [str(each) for each in conflicts(adapter, host(), hashed=hashes)]
    if as_json:
        more = {"conflicts": against, "metadata": dict(adapter.metadata)}
        echo_json({**about, **more, "layer_list": _layers(adapter) if layers else None})
        return
    _facts(about)
    for each in against:
        echo(f"conflict: {each}")
    if layers:
        columns = ("module", "kind", "scale", "slots")
        table("layers", columns, [(e["module"], e["kind"], e["scale"], e["slots"]) for e in _layers(adapter)])
    for what, why in adapter.report.ambiguous:
        echo(f"not told by the file: {what}: {why}")
    for key, why in adapter.report.unmapped[:10]:
        echo(f"not understood: {key}: {why}")


def describe(adapter: Adapter) -> dict[str, Any]:
    """Return the facts about an adapter that a person asks first."""
    from lorry.ops.identify import target_shapes, variants
    from lorry.ops.triggers import triggers
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
        "triggers": {
            word.text: ("" if word.stated else "perhaps, by ") + ", ".join(word.sources) for word in triggers(adapter)
        },
    }


def _hashes(files: Sequence[str]) -> dict[str, dict[str, str]]:
    from lorry.ops.hashes import hash_file

    return {file: hash_file(Path(file)).named() for file in files}


def describe_base(path: str) -> dict[str, Any]:
    """Return the facts about a base model that a person asks first; raise NotRecognised for what is none."""
    from lorry.ops.base import open_base
    from lorry.ops.identify import variants
    from lorry.plugin.host import host

    base = open_base(path)
    model = host().base_models()[base.id]
    refs = base.tensors.values()
    return {
        "files": [str(path) for path in base.files],
        "format": f"base model, {base.layout}",
        "base": f"{model.title} ({model.id}@{model.version})",
        "variant": _one_of(variants(model, base.shapes, whole=True)),
        "tensors": dict(Counter(name.partition(".")[0] for name in base.tensors)),
        "dtypes": dict(Counter(ref.dtype for ref in refs)),
        "parameters": sum(ref.numel for ref in refs),
        "quantised": base.quantised,
        "not understood": len(base.unmapped),
    }


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
        facts([("hashes of", file), *hashes.items()])


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {each}" for key, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
