"""The parts of validation: numbers that are none, findings that are counted, verdicts on what was changed in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import lorry
from lorry.ir.tensor import TensorRef, from_bytes
from lorry.ops.judging.findings import CHECKS, MOST, REJECT, WARN, judge
from lorry.ops.judging.finite import finite
from tests.support.files import KOHYA, kohya, write

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64]
FLOAT8 = [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("size", [1, 5, 1 << 19, (1 << 19) + 3])
def test_one_number_that_is_none_is_found_wherever_it_is(dtype: torch.dtype, size: int) -> None:
    numbers = torch.randn(size).to(dtype)
    assert finite(TensorRef.from_torch(numbers))
    for at in {0, size // 2, size - 1}:
        for value in (torch.nan, torch.inf, -torch.inf):
            bad = numbers.clone()
            bad[at] = value
            assert not finite(TensorRef.from_torch(bad))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_every_half_is_judged_as_torch_judges_it(dtype: torch.dtype) -> None:
    every = torch.arange(1 << 16, dtype=torch.int32).to(torch.uint16).view(dtype)
    name = TensorRef.from_torch(every[:1]).dtype
    found = [finite(from_bytes(name, (1,), at.to_bytes(2, "little"))) for at in range(1 << 16)]
    assert found == every.float().isfinite().tolist()


@pytest.mark.parametrize("dtype", FLOAT8, ids=str)
def test_every_byte_is_judged_as_torch_judges_it(dtype: torch.dtype) -> None:
    every = torch.arange(256, dtype=torch.int32).to(torch.uint8).view(dtype)
    name = TensorRef.from_torch(every[:1]).dtype
    assert [finite(from_bytes(name, (1,), bytes([at]))) for at in range(256)] == every.float().isfinite().tolist()


def test_integers_and_nothing_are_always_numbers() -> None:
    assert finite(from_bytes("I32", (1,), b"\xff" * 4))
    assert finite(from_bytes("F32", (0,), b""))
    assert not finite(from_bytes("F8_E8M0", (2,), b"\0\xff"))


def test_the_worst_comes_first_and_many_of_a_kind_are_counted() -> None:
    told = judge([("unmapped", str(at), "not understood") for at in range(MOST + 7)] + [("not finite", "a", "NaN")])
    assert told.verdict == REJECT
    assert [each.level for each in told.findings] == [REJECT, *[WARN] * (MOST + 1)]
    assert told.findings[-1].where == "7 more"
    assert judge([]).verdict == "accept"


def test_every_check_has_a_level_and_the_worst_are_first() -> None:
    levels = [each.level for each in CHECKS.values()]
    assert levels == sorted(levels, key=["reject", "warn", "accept"].index)


def test_what_was_changed_in_memory_is_judged_too(tmp_path: Path) -> None:
    adapter = lorry.open(write(tmp_path / "a.safetensors", kohya(rows=320, width=320)))
    assert lorry.validate(adapter).verdict == "accept"
    ((path, (layer,)),) = adapter.layers.items()
    broken = replace(layer, slots={**layer.slots, "up": TensorRef.from_torch(torch.full((320, 2), torch.nan))})
    told = lorry.validate(replace(adapter, layers={path: (broken,)}))
    assert (told.verdict, told.findings[0].where) == ("reject", f"{path} up")
    assert lorry.validate(replace(adapter, layers={path: (replace(layer, scale=1e9),)})).verdict == "reject"


def test_another_base_is_a_finding(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", kohya(rows=320, width=320))
    for subject in (path, lorry.open(path)):
        told = lorry.validate(subject, base="toybox-sd")
        assert told.verdict == "reject"
        assert "another base" in told.findings[0].what


def test_an_alpha_that_is_no_scale_may_be_zero(tmp_path: Path) -> None:
    blocks = {f"{KOHYA}.oft_blocks": torch.zeros(4, 80, 80), f"{KOHYA}.alpha": torch.tensor(0.0)}
    assert lorry.validate(write(tmp_path / "a.safetensors", blocks)).verdict == "accept"
    scaled = kohya(rows=320, width=320, alpha=0.0)
    assert lorry.validate(write(tmp_path / "b.safetensors", scaled)).verdict == "warn"
