"""The laws of merge methods: the same numbers each time, at every module, whatever else is merged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from hypothesis import strategies as st

import lorry
from lorry.ir import Adapter, Layer, ModulePath
from lorry.ops.merging.deltas import Deltas, by_parameter
from lorry.ops.merging.settings import settings
from lorry.plugin import MergeMethod
from lorry.plugin.host import Host
from lorry.testing.beside import beside
from lorry.testing.laws import close, expect, hold, keep
from lorry.testing.samples import Random, forms
from lorry.testing.tables import filled

SHAPES = {"shared": (6, 5), "convolution": (4, 3, 3, 3), "single": (5, 6)}
"""The weights that are merged: two that all adapters change, and one that only the first does."""


def check_merge_method(method: MergeMethod, *, examples: int = 8) -> None:
    """Hold a merge method to every law of its contract, at its default options; raise LawBroken for the first broken.

    What it computes is for its own tests: the formula, written out on small matrices in float64.
    """
    plugins, subject = beside("merge_methods", method.name, method), f"merge method {method.name!r}"
    keep(subject, declared, method)
    count = st.just(method.count) if method.count else st.integers(1, 3)
    weights = count.flatmap(
        lambda number: st.lists(st.sampled_from([1.0, 0.7, 0.25]), min_size=number, max_size=number)
    )
    trials = st.builds(Trial, st.just(method), st.just(plugins), weights, st.integers(1, 3), st.integers(0, 10**6))
    hold(subject, MERGE_LAWS, trials, examples)


class Trial(NamedTuple):
    """Adapters of one rank at their weights, to be merged by a method."""

    method: MergeMethod
    plugins: Host
    weights: Sequence[float]
    rank: int
    seed: int

    def __str__(self) -> str:
        return f"adapters of rank {self.rank} with the weights {list(self.weights)} (seed {self.seed})"

    def adapters(self) -> list[tuple[Adapter, float]]:
        """Return the adapters with their weights."""
        base = next(iter(self.plugins.base_models().values()))
        component = base.components[0]
        paths = {
            name: ModulePath(component.name, filled(template))
            for name, template in zip(SHAPES, component.modules, strict=False)
        }
        return [
            (
                Adapter(
                    base=base.id,
                    layers={
                        path: (self._layer(SHAPES[name], self.seed + 10 * number + at),)
                        for at, (name, path) in enumerate(paths.items())
                        if name != "single" or not number
                    },
                ),
                weight,
            )
            for number, weight in enumerate(self.weights)
        ]

    def merged(self, *only: ModulePath) -> dict[ModulePath, torch.Tensor]:
        """Return the merged deltas, at all modules or at some."""
        pairs = [
            (
                Adapter(
                    base=each.base,
                    layers={path: each.layers[path] for path in only or each.layers if path in each.layers},
                ),
                weight,
            )
            for each, weight in self.adapters()
        ]
        return self.deltas(lorry.merge(pairs, self.method.name, plugins=self.plugins))

    def deltas(self, adapter: Adapter) -> dict[ModulePath, torch.Tensor]:
        """Return what an adapter does, by module."""
        found = Deltas(None, self.plugins)
        return {at.path: found.whole(at, each, found.shape(at, each)) for at, each in by_parameter(adapter).items()}

    def _layer(self, shape: tuple[int, ...], seed: int) -> Layer:
        kind = next(each for each in self.plugins.kinds().values() if each.factors and each.build)
        made = (form(Random(seed, self.rank), shape) for form in forms(kind).values())
        return next(layer for layer in made if layer is not None)


def declared(method: MergeMethod) -> None:
    """It says what it computes and where that comes from, and takes the defaults of its own options."""
    expect(method.factored or method.dense, "it has neither `factored` nor `dense`")
    for name in ("name", "title", "formula", "source"):
        expect(getattr(method, name), f"its {name} is empty")
    names = [option.name for option in method.options]
    expect(len(names) == len(set(names)), f"its options are called {names}")
    settings(method, {option.name: option.default for option in method.options if option.default is not None})


def covers(trial: Trial) -> None:
    """Every module that an adapter changes is in the result, in its own shape, with finite numbers."""
    found = trial.merged()
    wanted = {path for adapter, _ in trial.adapters() for path in adapter.layers}
    expect(found.keys() == wanted, f"it gave {sorted(map(str, found))}")
    for adapter, _ in trial.adapters():
        for path, delta in trial.deltas(adapter).items():
            expect(found[path].shape == delta.shape, f"{path} has shape {list(found[path].shape)}")
            expect(found[path].isfinite().all(), f"{path} holds NaN or infinity")


def repeats(trial: Trial) -> None:
    """The same adapters give the same numbers."""
    first, second = trial.merged(), trial.merged()
    for path, delta in first.items():
        expect(torch.equal(delta, second[path]), f"{path} is another the second time")


def keeps_to_itself(trial: Trial) -> None:
    """What comes out at a module depends on no other module."""
    for path, delta in trial.merged().items():
        close(trial.merged(path)[path], delta, 1e-6, f"{path} alone")


def adds_up(trial: Trial) -> None:
    """A method that says it is linear gives Σ wᵢ·ΔWᵢ, cut to the largest rank where it says so."""
    if not trial.method.linear:
        return
    wanted: dict[ModulePath, torch.Tensor] = {}
    for adapter, weight in trial.adapters():
        for path, delta in trial.deltas(adapter).items():
            wanted[path] = wanted.get(path, torch.zeros(delta.shape).double()) + weight * delta.double()
    for path, delta in trial.merged().items():
        total = wanted[path]
        if trial.method.cut:
            left, values, right = torch.linalg.svd(total.flatten(1), full_matrices=False)
            total = ((left[:, : trial.rank] * values[: trial.rank]) @ right[: trial.rank]).reshape(total.shape)
        close(delta, total, 1e-5, str(path))


MERGE_LAWS = (covers, repeats, keeps_to_itself, adds_up)
"""Laws of one merge."""
