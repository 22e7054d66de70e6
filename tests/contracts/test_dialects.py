"""What every installed dialect keeps, for every base and kind: what it writes reads back as the same adapter."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import lorry
from lorry.errors import NotRepresentable
from lorry.ir import Adapter, TensorRef
from lorry.ops.files import read_file
from lorry.ops.read import open_like
from lorry.ops.write import Saved
from lorry.plugin import Dialect
from lorry.plugin.host import host
from tests.support.installed import Combination, combinations, groups
from tests.support.strategies import adapters, tokens

FEW = settings(max_examples=3, deadline=None, derandomize=True, database=None, phases=[Phase.generate])

SPELLED = [pytest.param(each, id=repr(each)) for each in combinations()]


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for one example; pytest's own is one for all."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def reopened(saved: Saved, adapter: Adapter) -> Adapter:
    return open_like(saved.path, adapter, host())


def contents(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else sorted(path.iterdir())
    return {each.name if path.is_dir() else "": each.read_bytes() for each in files}


def drawn(data: st.DataObject, each: Combination) -> Adapter:
    return data.draw(adapters(each.model, each.groups(), each.kind))


@pytest.mark.parametrize("each", SPELLED)
@FEW
@given(data=st.data())
def test_what_is_written_reads_back_as_the_same_deltas_and_is_all_used(each: Combination, data: st.DataObject) -> None:
    adapter = drawn(data, each)
    with folder() as at:
        saved = lorry.save(adapter, at / "a", each.dialect.name)
        back = reopened(saved, adapter)
        assert lorry.diff(adapter, back).error <= 1e-6
        assert not back.report.unmapped
        assert set(back.report.used) == set(read_file(saved.path)[1].tensors)
        assert len(back.report.used) == saved.tensors
        assert not saved.lost
        assert "scale" not in dict(back.report.ambiguous)


@pytest.mark.parametrize("each", SPELLED)
@FEW
@given(data=st.data())
def test_writing_is_deterministic_and_an_unchanged_save_is_the_same_bytes(
    each: Combination, data: st.DataObject
) -> None:
    adapter = drawn(data, each)
    with folder() as at:
        first = lorry.save(adapter, at / "a", each.dialect.name)
        again = lorry.save(adapter, at / "b", each.dialect.name)
        back = reopened(first, adapter)
        # Some dialects differ in what they hold here by nothing, and the file is then read as the other one's.
        copied = lorry.save(back, at / "c", f"{back.origin[0].dialect}+{back.origin[0].container}")
        assert contents(first.path) == contents(again.path) == contents(copied.path)


@pytest.mark.parametrize("each", SPELLED)
@FEW
@given(data=st.data(), note=st.text(st.characters(exclude_categories=["Cs"]), max_size=9))
def test_every_key_of_a_file_is_accounted_for(each: Combination, data: st.DataObject, note: str) -> None:
    adapter = drawn(data, each)
    with folder() as at:
        saved = lorry.save(adapter, at / "a", each.dialect.name, metadata={"note": note})
        container, source = read_file(saved.path)
        keys = list(source.tensors)
        removed = data.draw(st.sets(st.sampled_from(keys), max_size=len(keys) - 1))
        strange = TensorRef.from_torch(torch.ones(2, 3, 4))
        noisy = {key: ref for key, ref in source.tensors.items() if key not in removed} | {"strange.key": strange}
        assert container.write is not None
        container.write(type(source)(tensors=noisy, metadata=source.metadata, sides=source.sides), at / "noisy")
        try:
            back = open_like(at / "noisy", adapter, host())
        except lorry.LorryError:
            return  # so little of it was left that it is no adapter
        unmapped = dict(back.report.unmapped)
        assert set(unmapped).isdisjoint(back.report.used)
        assert {*unmapped, *back.report.used} == set(noisy)
        assert all(unmapped.values())
        assert back.extras.keys() == unmapped.keys()
        assert back.metadata["note"] == note


@cache
def _partners(each: Combination) -> list[Dialect]:
    """Return the dialects that can hold what this one holds, so that an adapter can go there and back."""
    return [
        other.dialect
        for other in combinations()
        if other.dialect is not each.dialect and other[1:] == each[1:]
        if groups(each.model, each.component, each.dialect, other.dialect)
    ]


PARTNERED = [pytest.param(each, id=repr(each)) for each in combinations() if _partners(each)]


@pytest.mark.parametrize("each", PARTNERED)
@FEW
@given(data=st.data())
def test_there_and_back_is_the_same_file_where_only_names_change(each: Combination, data: st.DataObject) -> None:
    partners = {other.name: other for other in _partners(each)}
    other = partners[data.draw(st.sampled_from(sorted(partners)))]
    adapter = data.draw(adapters(each.model, each.groups(other), each.kind))
    with folder() as at:
        first = lorry.save(adapter, at / "a", each.dialect.name, metadata={"ünïcode": "猫", "zz": "1", "aa": "2"})
        opened = reopened(first, adapter)
        there = lorry.convert(opened, at / "b", other.name, verify=True)
        back = lorry.convert(reopened(there.saved, adapter), at / "c", each.dialect.name, verify=True)
        for proof in (there.proof, back.proof, lorry.diff(opened, reopened(back.saved, adapter))):
            assert proof is not None
            assert proof.error <= 1e-6
        renamed = there.saved.tensors == first.tensors == back.saved.tensors and not _rewritten(adapter)
        if renamed and opened.origin[0].dialect == each.dialect.name:
            assert contents(back.saved.path) == contents(first.path)


def _rewritten(adapter: Adapter) -> bool:
    """Tell whether numbers of this adapter may change, by being joined, on the way."""
    return any(
        ref.dtype != "F32" or layer.scale != 1
        for each in adapter.layers.values()
        for layer in each
        for ref in layer.slots.values()
    )


TOKENS = [
    pytest.param(dialect.name, model.id, id=f"{dialect.name}-{model.id}")
    for dialect in host().dialects().values()
    for model in host().base_models().values()
    if dialect.tokens and any(each.embedding for each in model.components)
]


@pytest.mark.parametrize(("dialect", "base"), TOKENS)
@FEW
@given(data=st.data())
def test_tokens_read_back_with_the_same_vectors_or_are_refused_by_name(
    dialect: str, base: str, data: st.DataObject
) -> None:
    encoders = [each for each in host().base_models()[base].components if each.embedding]
    adapter = Adapter(base=base, tokens=data.draw(tokens(encoders)))
    layered = [each for each in combinations() if (each.dialect.name, each.model.id) == (dialect, base)]
    if layered:  # there, tokens travel with layers
        adapter = replace(adapter, layers=drawn(data, layered[0]).layers)
    with folder() as at:
        first = next(iter(adapter.tokens))  # some formats have a token's text in the file's name alone
        try:
            saved = lorry.save(adapter, at / first, dialect)
        except NotRepresentable as error:
            if error.layers:
                return
            raise
        back = reopened(saved, adapter)
        assert back.tokens.keys() == adapter.tokens.keys()
        assert all(token.same(back.tokens[text]) for text, token in adapter.tokens.items())
        assert not back.report.unmapped
