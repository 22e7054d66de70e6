"""The conformance kit finds what is wrong with a plugin, and says which law it breaks."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lorry.errors import InvalidFile
from lorry.ir import Layer, TensorMap, TensorRef
from lorry.plugin import BaseModel, Component, Container, Dialect, Header, Kind, Naming, Probe, Renaming, Spelling, View
from lorry.plugin.dialect import HeaderFields, NamedLayer
from lorry.plugin.host import host
from lorry.testing import LawBroken, check_base_model, check_container, check_dialect, check_kind
from lorry.testing.samples import told

if TYPE_CHECKING:
    from torch import Tensor

LORA, DORA, IA3 = (host().kinds()[name] for name in ("lora", "dora", "ia3"))
SAFETENSORS = host().containers()["safetensors"]


def breaks(check: Callable[..., None], plugin: object, law: str) -> None:
    """Expect a check to say that this law is broken, and on what example."""
    with pytest.raises(LawBroken, match=law) as broken:
        check(plugin)
    assert isinstance(broken.value, AssertionError)
    assert all(part in str(broken.value) for part in ("law: ", "example: ", "found: "))


def applied(weight: Tensor, layer: Layer) -> Tensor:
    assert LORA.apply
    return LORA.apply(weight, layer)


def without_scale(weight: Tensor, layer: Layer) -> Tensor:
    return applied(weight, replace(layer, scale=1.0))


def in_place(weight: Tensor, layer: Layer) -> Tensor:
    return weight.copy_(applied(weight, layer))


def in_half(weight: Tensor, layer: Layer) -> Tensor:
    return applied(weight, layer).half()


def nothing(weight: Tensor, layer: Layer) -> Tensor:  # noqa: ARG001  the shape of `Kind.apply`
    return weight.float().clone()


def halved(layer: Layer, facts: Mapping[str, Any]) -> Layer:  # noqa: ARG001  the shape of `Spelling.read`
    return replace(layer, slots={**layer.slots, "down": zeros(layer.slots["down"])})


def zeros(ref: TensorRef) -> TensorRef:
    return TensorRef.from_torch(ref.torch() * 0)


TWICE = Spelling(family="kohya", slots={"lora_down.weight": "down", "lora_up.weight": "up"})

KINDS: Mapping[str, tuple[Kind, str]] = {
    "a scale that apply forgets": (replace(LORA, apply=without_scale), "twice the scale"),
    "apply in place": (replace(LORA, apply=in_place), "is a new float32 weight"),
    "apply in half precision": (replace(LORA, apply=in_half), "is a new float32 weight"),
    "apply that does nothing": (replace(LORA, apply=nothing), "is a new float32 weight"),
    "no apply": (Kind(name="new", title="new", spellings=(TWICE,)), "says what they do to a weight"),
    "nothing to try": (replace(LORA, name="new", build=None, samples=""), "says what they do to a weight"),
    "a rank below nothing": (replace(LORA, rank=lambda slots: -1), "a whole number"),  # noqa: ARG005  the shape of rank
    "a target of any size": (replace(LORA, target=lambda slots: (-1, slots["up"].shape[0])), "the shape of the weight"),
    "a weight it does not say it needs": (replace(DORA, needs_weight=False), "does not say needs_weight"),
    "rows of the wrong slot": (replace(LORA, row_slots=("down",)), "join puts"),
    "rows of an unknown slot": (replace(LORA, row_slots=("upp",)), "Every slot in row_slots"),
    "suffixes of another kind": (replace(IA3, spellings=(TWICE,)), "tell apart"),
    "a join that forgets a part": (
        replace(LORA, join=lambda parts, rows: next(part for part in parts if part)),  # noqa: ARG005  the shape of join
        "join puts layers of unequal parts",
    ),
    "a spelling that loses numbers": (
        replace(LORA, spellings=tuple(each._replace(read=halved) for each in LORA.spellings)),
        "What a dialect writes of a layer",
    ),
    "a spelling that nobody speaks right": (
        replace(IA3, spellings=(IA3.spellings[0]._replace(write=lambda layer, facts: None),)),  # noqa: ARG005  refuses
        "held by one of them",
    ),
    "torch at its top": (replace(LORA, rank=told), "imports neither torch"),  # type: ignore[arg-type]  # for its module
}


@pytest.mark.parametrize("name", KINDS)
def test_of_a_kind(name: str) -> None:
    breaks(check_kind, *KINDS[name])


MINE = Dialect(name="mine", title="mine", lead="mine.", naming="diffusers", spellings=("kohya",))


def test_a_dialect_that_keeps_the_laws_passes() -> None:
    check_dialect(MINE, examples=1)


def without_one(source: TensorMap) -> tuple[TensorMap, Mapping[str, str]]:
    return replace(source, tensors={key: zeros(ref) if "up" in key else ref for key, ref in source.tensors.items()}), {}


def raises(source: TensorMap) -> Any:
    return source.metadata["mine"]


def twice_the_scale(layers: Sequence[NamedLayer]) -> HeaderFields:
    return HeaderFields(metadata={"mine": str(layers[0].layer.scale * 2)}, sides={})


def one_scale(source: TensorMap) -> Any:
    said = source.metadata.get("mine")
    if said is None:
        return None
    try:
        scale = float(said)
    except ValueError as error:
        raise InvalidFile(f"{said} is no scale") from error
    return lambda prefix, module, rank: scale  # noqa: ARG005  the shape of Scale


def careless(source: TensorMap) -> Any:
    return float(source.metadata["mine"]) if "mine" in source.metadata else None


HEADER = Header(read=one_scale, write=twice_the_scale, silence="not told", metadata=("mine",))
COUNT = itertools.count()

DIALECTS: Mapping[str, tuple[Dialect, str]] = {
    "a writer that loses numbers": (
        replace(MINE, renaming=Renaming(read=lambda source: {}, write=without_one)),  # noqa: ARG005  the shape of read
        "reads back as an adapter that does the same",
    ),
    "a writer that loses keys": (
        replace(MINE, renaming=Renaming(read=lambda source: {}, write=lambda source: (TensorMap(tensors={}), {}))),  # noqa: ARG005  the shapes of both
        "reads back as an adapter that does the same",
    ),
    "a writer that rolls dice": (
        replace(
            MINE,
            renaming=Renaming(
                read=lambda source: {},  # noqa: ARG005  the shape of read
                write=lambda source: (replace(source, metadata={**source.metadata, "n": str(next(COUNT))}), {}),
            ),
        ),
        "the same bytes",
    ),
    "a header with another scale": (replace(MINE, header=HEADER), "reads back as an adapter that does the same"),
    "a header that raises": (replace(MINE, header=HEADER._replace(read=careless)), "is an InvalidFile"),
    "a rule that raises": (replace(MINE, refuse=raises), "refuse, facts and doubts take any source"),
    "a refusal of its own files": (replace(MINE, refuse=lambda source: "never mine"), "nor is it so taken"),  # noqa: ARG005  refuses all
    "a claim to every file": (
        replace(MINE, name="greedy", unreadable="it is mine", spellings=()),
        "never takes a file of another dialect",
    ),
    "torch at its top": (replace(MINE, refuse=told), "imports neither torch"),  # type: ignore[arg-type]  # for its module
}


@pytest.mark.parametrize("name", DIALECTS)
def test_of_a_dialect(name: str) -> None:
    breaks(check_dialect, *DIALECTS[name])


def write(source: TensorMap, path: Path) -> None:
    assert SAFETENSORS.write
    SAFETENSORS.write(source, path)


def relabelled(source: TensorMap, path: Path) -> None:
    same = {"BF16": "F16"}
    refs = {key: replace(ref, dtype=same.get(ref.dtype, ref.dtype)) for key, ref in source.tensors.items()}
    write(replace(source, tensors=refs), path)


def flattened(source: TensorMap, path: Path) -> None:
    write(replace(source, tensors={key: ref.reshape(ref.numel) for key, ref in source.tensors.items()}), path)


def with_half_the_metadata(source: TensorMap, path: Path) -> None:
    write(replace(source, metadata=dict(list(source.metadata.items())[1:])), path)


def dated(source: TensorMap, path: Path) -> None:
    write(source, path)
    data = bytearray(path.read_bytes())
    at = 8 + int.from_bytes(data[:8], "little") - 1
    if data[at : at + 1] == b" ":
        data[at : at + 1] = b"\n" if next(COUNT) % 2 else b"\t"
    path.write_bytes(data)


def emptied(path: Path, target: Path, metadata: Mapping[str, str]) -> None:
    write(TensorMap(tensors={}, metadata=metadata, paths=(path,)), target)


def lenient(path: Path) -> TensorMap:
    try:
        return SAFETENSORS.read(path)
    except InvalidFile:
        return TensorMap(tensors={})


def surprised(path: Path) -> TensorMap:
    try:
        return SAFETENSORS.read(path)
    except InvalidFile as error:
        raise KeyError(str(error)) from None


OPEN: list[object] = []


def clinging(path: Path) -> TensorMap:
    OPEN.append(path.open("rb"))
    return SAFETENSORS.read(path)


CONTAINERS: Mapping[str, tuple[Container, str]] = {
    "a dtype that is lost": (SAFETENSORS._replace(write=relabelled), "dtypes, shapes and bytes"),
    "a shape that is lost": (SAFETENSORS._replace(write=flattened), "dtypes, shapes and bytes"),
    "metadata that is lost": (SAFETENSORS._replace(write=with_half_the_metadata), "Metadata comes back"),
    "bytes that differ": (SAFETENSORS._replace(write=dated), "Written twice"),
    "half a file read as a whole one": (SAFETENSORS._replace(read=lenient), "Cut off anywhere"),
    "an error of its own": (SAFETENSORS._replace(read=surprised), "Cut off anywhere"),
    "a file that stays open": (SAFETENSORS._replace(read=clinging), "not kept open"),
    "a suffix for a proof": (SAFETENSORS._replace(sniff=lambda path: path.suffix == ".safetensors"), "by its bytes"),
    "a claim to every file": (SAFETENSORS._replace(name="greedy", sniff=lambda path: path.is_file()), "sniff takes"),
    "an edit of tensors": (SAFETENSORS._replace(edit=emptied), "edit writes other metadata"),
    "nothing to read": (SAFETENSORS._replace(write=None), "give check_container a file"),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_of_a_container(name: str) -> None:
    plugin, law = CONTAINERS[name]
    if name == "nothing to read":
        with pytest.raises(AssertionError, match=law):
            check_container(plugin)
        return
    try:
        breaks(check_container, plugin, law)
    finally:
        while OPEN:
            OPEN.pop().close()  # type: ignore[attr-defined]


MODULES = ("blocks.{i}.attn.to_q", "blocks.{i}.attn.to_k", "blocks.{i}.ff.0.proj", "head.linear")
NAMING = {"kohya": Naming(("lora_unet",), ("native", "diffusers")), "diffusers": Naming(("transformer",))}


def table(modules: Sequence[str] = MODULES, *views: View, **fields: Any) -> BaseModel:
    component = Component(name="transformer", modules=tuple(modules), schemes={"native": views or VIEWS}, naming=NAMING)
    return BaseModel(**{"id": "mine1", "title": "Mine 1", "components": (component,), **fields})


VIEWS = (View("layers.{i}.qk", MODULES[:2], (1, 1)), View("layers.{i}.up", MODULES[2:3]), View("out", MODULES[3:]))
FLAT = ("blocks.{i}.to_q.a", "blocks.{i}.to.q_a")


def test_a_base_table_that_keeps_the_laws_passes() -> None:
    check_base_model(table(), examples=2)


BASES: Mapping[str, tuple[BaseModel, str]] = {
    "a name with two hits": (
        table(MODULES, View("x.{i}", MODULES[:1]), View("x.0", MODULES[3:])),
        "one view|one spelling",
    ),
    "two names alike when flattened": (table(FLAT, View("x.{i}", FLAT[:1])), "one view|one spelling"),
    "a module said twice": (table((*MODULES, MODULES[0])), "not said twice"),
    "rows that do not cover the parts": (table(MODULES, View("layers.{i}.qk", MODULES[:2], (1,))), "how many rows"),
    "a part that is no module": (
        table(MODULES, View("layers.{i}.v", ("blocks.{i}.attn.to_v",))),
        "modules under our own",
    ),
    "two views of one name": (
        table(MODULES, View("x.{i}", MODULES[:1]), View("x.{i}", MODULES[1:2])),
        "one view|one spelling",
    ),
    "a probe of no module": (
        table(probes=(Probe("transformer", "attn.to_x", ndim=2),)),
        "probes name are in the table",
    ),
    "probes that contradict one another": (
        table(probes=(Probe("transformer", "attn.to_q", ndim=2), Probe("transformer", "attn.to_q", ndim=4))),
        "rule out none of its own",
    ),
    "claims in capitals": (table(claims=("Mine",)), "lower case"),
    "two components alike": (
        table(components=tuple(replace(table().components[0], name=name) for name in ("transformer", "other"))),
        "one spelling",
    ),
    "a scheme that is not there": (
        table(components=(replace(table().components[0], naming={"comfy": Naming(("",), ("comfy",))}),)),
        "Schemes, the vocabulary",
    ),
    "lookups of no module": (
        table(components=(replace(table().components[0], lookups=("words",)),)),
        "Schemes, the vocabulary, lookups",
    ),
}


@pytest.mark.parametrize("name", BASES)
def test_of_a_base_table(name: str) -> None:
    breaks(check_base_model, *BASES[name])


def test_without_hypothesis_the_kit_says_what_to_install() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import lorry.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert "pip install 'lorry[testing]'" in done.stderr.splitlines()[-1]
