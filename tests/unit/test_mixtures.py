"""Files that mix what no sample does: several kinds, components, dtypes, biases, tokens and strangers' keys in one.

Every key is used or reported, what was put in is what is read, and neither the order of keys nor what is missing
changes what the rest is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from random import Random as Shuffler

import pytest
import torch
from hypothesis import strategies as st

import lorry
from lorry.errors import NotRepresentable
from lorry.ir import Adapter, Layer, ModulePath, TensorMap, TensorRef
from lorry.ops.baking.change import Change
from lorry.ops.reading.read import open_like
from lorry.ops.writing.write import encode
from lorry.plugin import BaseModel, Dialect
from lorry.plugin.host import host
from lorry.testing import Random, strategies
from lorry.testing.combinations import groups, spells
from lorry.testing.laws import expect, hold
from lorry.testing.samples import forms, told
from lorry.testing.tables import base_with
from tests.support.files import Tensors, kohya, peft, write

EXACT = 1e-6

WHOLE = ("cloneofsimo", "cloneofsimo-list", "bfl-control")
"""Dialects that number all modules of a model, or are known by a set of them: they hold no mixture of a few."""

DIALECTS = [each for each in host().dialects().values() if each.spellings and each.name not in WHOLE]


class Mixture:
    """An adapter as a file of a dialect, with keys that mean nothing to anybody."""

    def __init__(
        self, dialect: Dialect, example: strategies.Example, extras: Mapping[str, TensorRef], shuffler: Shuffler
    ) -> None:
        self.dialect, self.example, self.extras, self.shuffler = dialect, example, extras, shuffler

    def __str__(self) -> str:
        return f"{self.example} and {', '.join(self.extras) or 'no strange keys'}"

    @cached_property
    def held(self) -> tuple[Adapter, TensorMap] | None:
        """What the dialect holds of it, and how; None where that is nothing."""
        adapter, made = self.example.adapter, TensorMap(tensors={})
        lost: Mapping[str, str] = {"": "not tried"}
        try:
            while lost and adapter.layers:
                made, lost = encode(adapter, self.dialect, lossy=True)
                layers = {path: stack for path, stack in adapter.layers.items() if str(path) not in lost}
                tokens = {text: token for text, token in adapter.tokens.items() if text not in lost}
                adapter = replace(adapter, layers=layers, tokens=tokens)
        except NotRepresentable as error:
            expect(error.layers, f"it is refused, but nothing is named: {error}")
            return None
        return (adapter, replace(made, tensors={**made.tensors, **self.extras})) if adapter.layers else None

    def put(self, folder: Path, made: TensorMap) -> Path:
        """Write the tensors in the dialect's own container."""
        container = host().containers()[self.dialect.containers[0]]
        assert container.write
        path = folder / f"{len(list(folder.iterdir()))}{''.join(container.suffixes[:1])}"
        container.write(made, path)
        return path


@st.composite
def mixtures(draw: st.DrawFn, dialect: Dialect) -> Mixture:
    """Draw kinds on modules of some components of a base, biases on some of them, tokens and strange keys."""
    kinds = [kind for kind in host().kinds().values() if spells(dialect, kind) and kind.apply and forms(kind)]
    model, known = draw(st.sampled_from(_named(dialect)))
    unit, width = draw(st.integers(1, 3)), draw(st.integers(2, 6))
    layers: dict[ModulePath, tuple[Layer, ...]] = {}
    tensors: dict[str, TensorRef] = {}
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=2, max_size=4)):
        names = draw(st.sets(st.sampled_from(sorted(known)), min_size=1))
        own = {name: known[name] for name in sorted(names)}
        example = draw(strategies.examples(model, own, kind, size=(unit, width), last=3))
        tensors |= example.base.tensors
        for path, stack in example.adapter.layers.items():
            layers[path] = (*layers.get(path, ()), *stack)
    for path, stack in layers.items():
        if draw(st.integers(0, 3)) == 0:
            bias = Random(draw(st.integers(0, 99)))(tensors[f"{path}.weight"].shape[0])
            layers[path] = (*stack, Layer(kind="diff", slots={"diff": bias}, param="bias"))
    encoders = [each for each in model.components if each.embedding]
    tokens = draw(st.just({}) | strategies.tokens(encoders)) if dialect.tokens and encoders else {}
    base = base_with(model.id, {ModulePath(*_split(name)): ref.shape for name, ref in tensors.items()})
    example = strategies.Example(Adapter(base=model.id, layers=layers, tokens=tokens), base)
    return Mixture(dialect, example, draw(strategies.extras()), Shuffler(draw(st.integers(0, 99))))


def _named(dialect: Dialect) -> list[tuple[BaseModel, Mapping[str, list[tuple[str, ...]]]]]:
    """Return the bases that a dialect names, with its modules by component."""
    found = [
        (model, {each.name: own for each in model.components if (own := groups(host(), model, each, dialect))})
        for model in host().base_models().values()
    ]
    return [(model, known) for model, known in found if known]


def _split(name: str) -> tuple[str, str]:
    component, _, module = name.removesuffix(".weight").partition(".")
    return component, module


def accounted(adapter: Adapter, keys: Mapping[str, TensorRef]) -> None:
    """Expect every key to be used or reported with a reason, never both."""
    unmapped = dict(adapter.report.unmapped)
    expect(unmapped.keys() | set(adapter.report.used) == keys.keys(), "some keys are neither used nor reported")
    expect(unmapped.keys().isdisjoint(adapter.report.used), "some keys are both used and reported")
    expect(all(unmapped.values()), "no reason is given")
    expect(adapter.extras.keys() == unmapped.keys(), "what is not understood is not kept")


def honest(adapter: Adapter, base: str) -> None:
    """Expect the right base, or a doubt that names it."""
    title = host().base_models()[base].title
    doubt = dict(adapter.report.ambiguous).get("base", "")
    expect(adapter.base == base or title in doubt, f"it is for {base}, and read as for {adapter.base}; {doubt}")


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: each.name)
def test_every_mixture_is_read_as_it_was_made(dialect: Dialect, tmp_path: Path) -> None:
    tried = []

    def what_is_put_in_is_what_is_read(each: Mixture) -> None:
        """Every key is used but the strange ones, kinds and components are those put in, and the deltas too."""
        if each.held is None:
            return
        adapter, made = each.held
        back = open_like(each.put(tmp_path, made), adapter, host())
        accounted(back, made.tensors)
        expect(dict(back.report.unmapped).keys() == each.extras.keys(), f"left: {dict(back.report.unmapped)}")
        expect((back.kinds, back.components) == (adapter.kinds, adapter.components), f"{back.kinds} {back.components}")
        expect(all(token.same(back.tokens[text]) for text, token in adapter.tokens.items()), "other tokens")
        error = lorry.diff(adapter, back, each.example.base).error
        expect(error <= EXACT, f"what it does differs by {error:.3g} of its size")
        tried.append(each)

    def the_order_of_keys_means_nothing(each: Mixture) -> None:
        """Opened by itself it is of the right base or says that it may be, in whatever order its keys are."""
        if each.held is None:
            return
        adapter, made = each.held
        path = each.put(tmp_path, made)
        one = lorry.open(path)
        shuffle(next(path.glob("*.safetensors")) if path.is_dir() else path, each.shuffler)
        other = lorry.open(path)
        honest(one, adapter.base)
        expect(said(one) == said(other), f"{said(one)} becomes {said(other)}")

    def one_module_alone_is_read_too(each: Mixture) -> None:
        """Of any module alone, all keys are accounted for, and the base is right or in doubt."""
        if each.held is None:
            return
        adapter, made = each.held
        (frame,) = open_like(each.put(tmp_path, made), adapter, host()).origin
        path = each.shuffler.choice(list(adapter.layers))
        alone = replace(made, tensors={key: made.tensors[key] for key in frame.keys[path]})
        back = lorry.open(each.put(tmp_path, alone))
        accounted(back, alone.tensors)
        honest(back, adapter.base)

    laws = (what_is_put_in_is_what_is_read, the_order_of_keys_means_nothing, one_module_alone_is_read_too)
    hold(dialect.name, laws, mixtures(dialect), 6)
    assert tried


def shuffle(path: Path, shuffler: Shuffler) -> None:
    """Put the keys in the header of a safetensors file in another order."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    entries = list(json.loads(data[8:end]).items())
    shuffler.shuffle(entries)
    header = json.dumps(dict(entries)).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[end:])


def said(adapter: Adapter) -> tuple[object, ...]:
    """Return all that reading says of an adapter, in no order."""
    report = adapter.report
    layers = {str(path): sorted(map(told, stack)) for path, stack in adapter.layers.items()}
    return adapter.base, layers, adapter.tokens.keys(), set(report.used), dict(report.unmapped), set(report.ambiguous)


TO_K = "lora_unet_down_blocks_{}_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.mark.parametrize(("width", "base"), [(768, "sd1"), (1024, "sd2")])
@pytest.mark.parametrize(("untold", "wide"), [(1, 2), (2, 1)], ids=["after", "before"])
def test_a_width_tells_the_base_wherever_it_stands(
    width: int, base: str, untold: int, wide: int, tmp_path: Path
) -> None:
    rows: Tensors = {
        f"{TO_K.format(untold)}.weight": torch.ones(8),
        f"{TO_K.format(untold)}.on_input": torch.tensor(data=False),
    }
    adapter = lorry.open(write(tmp_path / "a.safetensors", rows | kohya(TO_K.format(wide), width=width)))
    assert (adapter.base, adapter.kinds, adapter.report.ambiguous) == (base, ("ia3", "lora"), ())


def test_kohya_sdxl_with_everything_at_once(tmp_path: Path) -> None:
    unet, clip = "lora_unet_input_blocks_4_1_transformer_blocks_{}", "lora_te{}_text_model_encoder_layers_0_{}"
    tensors: Tensors = {
        **kohya(f"{unet.format(0)}_attn2_to_k", width=2048, alpha=1.0),
        **kohya(f"{unet.format(0)}_attn1_to_q", alpha=1.0),
        f"{unet.format(0)}_attn1_to_q.dora_scale": torch.ones(8, 1),
        **{f"{unet.format(1)}_attn1_to_q.hada_w{at}_a": torch.randn(8, 2) for at in "12"},
        **{f"{unet.format(1)}_attn1_to_q.hada_w{at}_b": torch.randn(2, 8) for at in "12"},
        f"{unet.format(0)}_norm1.w_norm": torch.randn(8),
        f"{unet.format(0)}_norm1.b_norm": torch.randn(8),
        f"{unet.format(0)}_attn1_to_k.diff": torch.randn(8, 8),
        f"{unet.format(0)}_attn1_to_out_0.diff_b": torch.randn(8),
        **kohya(clip.format(1, "mlp_fc1")),
        **kohya(clip.format(2, "mlp_fc2")),
        "bundle_emb.fox.clip_l": torch.randn(2, 768),
        "bundle_emb.fox.clip_g": torch.randn(2, 1280),
    }
    strange = {"lora_unet_nowhere.lora_down.weight": torch.ones(2, 2), "note": torch.ones(1)}
    adapter = lorry.open(write(tmp_path / "a.safetensors", tensors | strange))
    assert set(adapter.report.used) == set(tensors)
    assert set(dict(adapter.report.unmapped)) == set(strange)
    assert adapter.base == "sdxl"
    assert adapter.components == ("text_encoder", "text_encoder_2", "unet")
    assert adapter.kinds == ("diff", "dora", "loha", "lora", "textual-inversion")


@pytest.mark.parametrize("key", ["note", "diffusion_model.nowhere.lora_A.weight"])
def test_what_would_be_broken_for_another_base_is_not_broken(key: str, tmp_path: Path) -> None:
    """FLUX.1 has a module of this name whose rows are divided by 7."""
    tensors = {**peft("diffusion_model.single_blocks.0.linear1", rows=27, width=3), key: torch.ones(1)}
    adapter = lorry.open(write(tmp_path / "a.safetensors", tensors))
    assert (adapter.base, list(dict(adapter.report.unmapped)), len(adapter.report.used)) == ("flux2", [key], 2)


def test_modules_of_two_components_under_one_name_are_refused(tmp_path: Path) -> None:
    name = "text_model.encoder.layers.0.mlp.fc1"
    layers = {
        ModulePath("text_encoder", name): (Layer(kind="lora", slots={"down": Random()(2, 4), "up": Random()(8, 2)}),),
        ModulePath("text_encoder_2", name): (Layer(kind="diff", slots={"diff": Random()(8, 4)}),),
    }
    with pytest.raises(NotRepresentable, match="name of a module of text_encoder already"):
        lorry.save(Adapter(base="sdxl", layers=layers), tmp_path / "a.safetensors", "lycoris")


def test_two_layers_that_would_share_one_alpha_are_refused(tmp_path: Path) -> None:
    kinds = host().kinds()
    made = [form(Random(), (8, 4)) for kind in ("lora", "loha") for form in list(forms(kinds[kind]).values())[:1]]
    layers = {ModulePath("unet", "conv_in"): tuple(layer for layer in made if layer)}
    with pytest.raises(NotRepresentable, match="name of another layer already"):
        lorry.save(Adapter(base="sd1", layers=layers), tmp_path / "a.safetensors", "kohya")


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    "other",
    [
        Layer(kind="lora", slots={"down": Random()(2, 4), "up": Random()(8, 2)}),
        Layer(kind="diff", slots={"diff": Random()(8, 4)}),
    ],
    ids=lambda each: each.kind,
)
def test_a_layer_that_widens_a_weight_goes_with_one_that_does_not(other: Layer, order: int) -> None:
    path = ModulePath("transformer", "x_embedder")
    wide = Layer(kind="wide-lora", slots={"down": Random(1)(2, 6), "up": Random(1)(8, 2)})
    weight = Random(2).weight((8, 4))
    whole = Change(str(path), [(each, 1.0) for each in (wide, other)[::order]], host()).whole(weight, torch.float32)
    known, added = host().kinds(), torch.zeros(8, 6)
    for layer in (wide, other):
        kind = known[layer.kind]
        assert kind.apply
        alone = kind.apply(torch.zeros(8, 4), layer)
        added[:, : alone.shape[1]] += alone
    assert torch.allclose(whole, torch.nn.functional.pad(weight, (0, 2)) + added, atol=1e-5)
    adapter = Adapter(base="flux1", layers={path: (wide, other)[::order]})
    assert lorry.diff(adapter, adapter, base_with("flux1", {path: (8, 4)})).error == 0
