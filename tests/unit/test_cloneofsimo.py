"""cloneofsimo/lora's files: layers by number in two orders, tokens by the header, lists in pickles and in JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import lorry
from lorry.errors import InvalidFile, NotRecognised, NotRepresentable
from lorry.ir import Adapter, ModulePath
from lorry_plugins.formats.cloneofsimo import order
from tests.support.files import Tensors, write

WIDTHS = {"down_blocks.0": 8, "down_blocks.1": 12, "up_blocks.3": 8, "up_blocks.2": 12}
CROSS = 24
DEFAULT = order.Targets(attention=True, geglu=True, resnets=False)
BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0"


def width(name: str) -> int:
    return WIDTHS.get(".".join(name.split(".")[:2]), 16)


def sizes(name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of up and down at rank 2."""
    size = width(name)
    if "resnets" in name:
        kernel = 3 if name.endswith(("conv1", "conv2")) else 1
        return ((size, 2), (2, 32)) if "emb" in name else ((size, 2, 1, 1), (2, size, kernel, kernel))
    inputs = CROSS if name.endswith(("attn2.to_k", "attn2.to_v")) else size
    return (size * 8 if name.endswith(order.GEGLU) else size, 2), (2, inputs)


def pairs(names: tuple[str, ...]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(up, generator=generator).half(), torch.randn(down, generator=generator).half())
        for up, down in map(sizes, names)
    ]


def numbered(component: str, layers: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[Tensors, dict[str, str]]:
    tensors: Tensors = {}
    for at, (up, down) in enumerate(layers):
        tensors |= {f"{component}:{at}:up": up, f"{component}:{at}:down": down}
    ranks = {f"{component}:{at}:rank": str(len(down)) for at, (_, down) in enumerate(layers)}
    return tensors, ranks


def original(folder: Path, *, new: bool = False) -> tuple[Path, tuple[str, ...]]:
    """Write a file as the tool does, both models and two tokens in it."""
    names = order.unet(DEFAULT, new=new)
    unet, ranks = numbered("unet", pairs(names))
    clip, clip_ranks = numbered("text_encoder", [(torch.randn(16, 2), torch.randn(2, 16)) for _ in range(8)])
    tokens = {"<s1>": torch.randn(16), "krk": torch.randn(16)}
    header = {
        **ranks,
        **clip_ranks,
        "unet": json.dumps(["GEGLU", "CrossAttention", "Attention"]),
        "text_encoder": json.dumps(["CLIPAttention"]),
        **dict.fromkeys(tokens, "<embed>"),
    }
    return write(folder / "final_lora.safetensors", {**unet, **clip, **tokens}, header), names


@pytest.mark.parametrize(
    ("targets", "count"),
    [
        (DEFAULT, 144),
        (order.Targets(attention=True, geglu=False, resnets=False), 128),
        (order.Targets(attention=True, geglu=True, resnets=True), 224),
    ],
)
def test_the_orders_are_as_long_as_the_tool_made_them(targets: order.Targets, count: int) -> None:
    for new in (False, True):
        names = order.unet(targets, new=new)
        assert len(set(names)) == len(names) == count
    assert order.unet_of(count) == (targets,)


def test_the_orders_are_those_of_diffusers_then_and_now() -> None:
    old, new = (order.unet(DEFAULT, new=new) for new in (False, True))
    assert [old[at] for at in (0, 3, 4, 5, 8)] == [
        f"{BLOCK}.{leaf}" for leaf in ("attn1.to_q", "attn1.to_out.0", "ff.net.0.proj", "attn2.to_q", "attn2.to_out.0")
    ]
    assert [new[at] for at in (0, 4, 8)] == [f"{BLOCK}.{leaf}" for leaf in ("attn1.to_q", "attn2.to_q", order.GEGLU)]
    assert old[54] == "up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    assert old[135] == "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    extended = order.unet(order.Targets(attention=True, geglu=True, resnets=True), new=False)
    assert (extended[18], extended[45]) == ("down_blocks.0.resnets.0.conv1", "down_blocks.1.resnets.0.conv_shortcut")
    assert order.text_encoder(2)[4] == "text_model.encoder.layers.1.self_attn.k_proj"


@pytest.mark.parametrize("new", [False, True])
def test_shapes_tell_the_order_and_every_number_its_module(new: bool, tmp_path: Path) -> None:
    path, names = original(tmp_path, new=new)
    adapter = lorry.open(path)
    assert adapter.origin[0].dialect == "cloneofsimo"
    assert set(adapter.tokens) == {"<s1>", "krk"}
    assert not adapter.report.unmapped
    assert len(adapter.layers) == len(names) + 8
    for at, (up, down) in enumerate(pairs(names)):
        (layer,) = adapter.layers[ModulePath("unet", names[at])]
        assert torch.equal(layer.slots["up"].torch(), up)
        assert torch.equal(layer.slots["down"].torch(), down)


@pytest.mark.parametrize("detour", ["kohya", "lycoris"])
@pytest.mark.parametrize("new", [False, True])
def test_there_and_back_is_the_same_file_in_the_same_order(new: bool, detour: str, tmp_path: Path) -> None:
    path, _ = original(tmp_path, new=new)
    if detour == "lycoris":  # which holds no tokens
        adapter = lorry.open(path)
        lorry.save(Adapter(base="sd1", layers=adapter.layers), tmp_path / "plain.safetensors", "cloneofsimo")
        path = tmp_path / "plain.safetensors"
    there = lorry.convert(lorry.open(path), tmp_path / "b.safetensors", detour, verify=True)
    lorry.convert(lorry.open(there.saved.path), tmp_path / "c.safetensors", "cloneofsimo", verify=True)
    assert (tmp_path / "c.safetensors").read_bytes() == path.read_bytes()


def test_a_file_of_tokens_alone_is_read_by_its_header(tmp_path: Path) -> None:
    path = write(tmp_path / "step_inv.safetensors", {"<s1>": torch.ones(16)}, {"<s1>": "<embed>"})
    adapter = lorry.open(path)
    assert (adapter.origin[0].dialect, list(adapter.tokens)) == ("cloneofsimo", ["<s1>"])


@pytest.mark.parametrize("count", [3, 143])
def test_what_no_order_numbers_is_refused(count: int, tmp_path: Path) -> None:
    tensors, ranks = numbered("unet", pairs(order.unet(DEFAULT, new=False))[:count])
    with pytest.raises(NotRecognised):
        lorry.open(write(tmp_path / "a.safetensors", tensors, ranks))


def test_a_list_is_told_from_that_of_a_text_encoder(tmp_path: Path) -> None:
    unet, clip = (tmp_path / name for name in ("lora.pt", "lora.text_encoder.pt"))
    names = order.unet(DEFAULT, new=False)
    torch.save([tensor for pair in pairs(names) for tensor in pair], unet)
    torch.save([tensor for _ in range(8) for tensor in (torch.randn(16, 2), torch.randn(2, 16))], clip)
    adapter = lorry.open([unet, clip])
    assert adapter.components == ("text_encoder", "unet")
    assert len(adapter.layers) == len(names) + 8
    assert {frame.dialect for frame in adapter.origin} == {"cloneofsimo-list"}


def test_a_json_list_is_written_and_read_back(tmp_path: Path) -> None:
    path, names = original(tmp_path)
    adapter = lorry.open(path)
    unet = {module: layers for module, layers in adapter.layers.items() if module.component == "unet"}
    done = lorry.convert(Adapter(base="sd1", layers=unet), tmp_path / "a.json", "cloneofsimo-list", verify=True)
    assert done.proof is not None
    assert done.proof.error < 1e-12
    assert len(json.loads((tmp_path / "a.json").read_bytes())) == 2 * len(names)
    with pytest.raises(NotRepresentable) as caught:
        lorry.save(adapter, tmp_path / "b.json", "cloneofsimo-list")
    assert "second file" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["[[[1, 2], [3]]]", "[[[1, 2], 3]]", "[[[1e300]]]", '[[["a"]]]', "[[[1]]", "[[[[[[1]]]]]]"]
)
def test_json_that_is_no_list_of_matrices_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InvalidFile, match="a.json"):
        lorry.open(path)


def test_layers_that_are_missing_are_filled_with_zeros_where_their_shape_is_known(tmp_path: Path) -> None:
    adapter = lorry.open(original(tmp_path)[0])
    dropped = ModulePath("unet", f"{BLOCK}.attn2.to_k")
    few = Adapter(base="sd1", layers={path: layers for path, layers in adapter.layers.items() if path != dropped})
    lorry.save(few, tmp_path / "few.safetensors", "cloneofsimo")
    back = lorry.open(tmp_path / "few.safetensors")
    (layer,) = back.layers[dropped]
    assert (layer.slots["up"].shape, layer.slots["down"].shape) == ((8, 1), (1, CROSS))
    assert not layer.slots["up"].torch().any()
    assert lorry.diff(few, back).error < 1e-12


def test_layers_it_does_not_number_are_told(tmp_path: Path) -> None:
    adapter = lorry.open(original(tmp_path)[0])
    more = ModulePath("unet", f"{BLOCK}.ff.net.2")
    grown = Adapter(base="sd1", layers={**adapter.layers, more: next(iter(adapter.layers.values()))})
    with pytest.raises(NotRepresentable) as caught:
        lorry.save(grown, tmp_path / "a.safetensors", "cloneofsimo")
    assert list(caught.value.layers) == [str(more)]
    assert list(lorry.save(grown, tmp_path / "a.safetensors", "cloneofsimo", lossy=True).lost) == [str(more)]
    assert len(lorry.open(tmp_path / "a.safetensors").layers) == len(adapter.layers)


def test_a_layer_alone_cannot_be_numbered(tmp_path: Path) -> None:
    adapter = lorry.open(original(tmp_path)[0])
    path = ModulePath("unet", f"{BLOCK}.attn1.to_q")
    with pytest.raises(NotRepresentable) as caught:
        lorry.save(Adapter(base="sd1", layers={path: adapter.layers[path]}), tmp_path / "a.safetensors", "cloneofsimo")
    assert "shape of its zeros" in str(caught.value)


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("resnets", [False, True])
def test_a_list_is_written_in_its_own_order_whatever_lay_between(tmp_path: Path, *, new: bool, resnets: bool) -> None:
    names = order.unet(DEFAULT._replace(resnets=resnets), new=new)
    tensors = [tensor for pair in pairs(names) for tensor in pair]
    torch.save(tensors, tmp_path / "a.pt")
    between = lorry.save(lorry.open(tmp_path / "a.pt"), tmp_path / "b.safetensors", "kohya")
    lorry.save(lorry.open(between.path), tmp_path / "c.pt", "cloneofsimo-list")
    found = torch.load(tmp_path / "c.pt", weights_only=True)
    assert len(found) == len(tensors)
    assert all(map(torch.equal, found, tensors))
