"""Every kind in every form: resized to the rank it has it does the same, and to a lower one what the report says."""

from __future__ import annotations

import pytest

import lorry
from lorry.errors import Incompatible
from lorry.ir import Adapter, ModulePath
from lorry.ops.ranks.aim import rank_aim
from lorry.ops.ranks.resize import Resizing
from lorry.plugin.host import host
from lorry.testing.samples import Form, Random, forms
from lorry.testing.tables import base_with

PATHS = {
    (12, 16): ModulePath("unet", "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"),
    (12, 16, 3, 3): ModulePath("unet", "mid_block.resnets.0.conv1"),
}

CASES = [
    pytest.param(make, shape, id=f"{name}-{'x'.join(map(str, shape))}")
    for kind in host().kinds().values()
    if kind.apply is not None and kind.target is not None and not kind.changes_shape and not kind.timestep
    for name, make in forms(kind).items()
    for shape in PATHS
    if make(Random(), shape) is not None  # a weight of this shape has such a form
]


@pytest.mark.parametrize(("make", "shape"), CASES)
def test_what_a_resized_layer_does(make: Form, shape: tuple[int, ...]) -> None:
    layer = make(Random(0, 2, 0.5), shape)
    assert layer is not None
    path = PATHS[shape]
    adapter = Adapter(base="sd1", layers={path: (layer,)})
    base = base_with("sd1", {path: shape})
    assert lorry.diff(adapter, lorry.resize(adapter, rank=99, base=base), base).error < 1e-4
    work = Resizing(adapter, rank_aim(rank=1), base=base)
    assert len(list(work.run())) == work.total
    small, report = work.finish()
    error = lorry.diff(adapter, small, base).error
    if report.left_out:
        assert small.layers == adapter.layers
    else:
        assert small.kinds == ("lora",)
        assert report.layers[0].rank == 1
        assert error == pytest.approx(report.error, abs=1e-3)
    kind = host().kinds()[layer.kind]
    if kind.needs_weight and kind.factors is None and not report.left_out:
        with pytest.raises(Incompatible, match="base="):
            lorry.resize(adapter, rank=1)
