"""Adapters attached to a running model: built whole beside it, then swapped in, and swapped out again."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import nn

from lorry.compose.composed import ComposedWeight
from lorry.compose.part import Part
from lorry.compose.plan import Use, plan_layers
from lorry.compose.stacked import Stackable, StackedLora, Strengths
from lorry.compose.swap import Swap
from lorry.compose.tokens import TextInput, plan_tokens
from lorry.ir.adapter import Adapter
from lorry.ir.module_path import ModulePath
from lorry.plugin.host import Host


class Stack(NamedTuple):
    """The low-rank layers on one module; `owners` (int64) names the adapter of each of their rows."""

    path: ModulePath
    module: StackedLora
    owners: torch.Tensor


class Attachment:
    """Adapters on a model's parts, not yet installed.

    `stacked` and `composed` are its changes by module, for whoever sets strengths module by module.

    Everything that can go wrong goes wrong here: a model is untouched until `install`, which only swaps objects.
    Raises Incompatible, naming adapter, module and shapes, and Conflict for a token that means two things.
    """

    def __init__(
        self,
        parts: Mapping[str, nn.Module],
        texts: Mapping[str, TextInput],
        adapters: Sequence[Adapter],
        plugins: Host,
    ) -> None:
        found = {name: Part(module) for name, module in parts.items()}
        uses = list(plan_layers(adapters, found, plugins))
        stacked = _grouped((use for use in uses if use.stacks), lambda use: use.module)
        composed = _grouped((use for use in uses if not use.stacks), lambda use: use.parameter)
        self.count = len(adapters)
        self._strengths: Strengths | None = None
        self._composed = [ComposedWeight(each[0].parameter, each) for each in composed]
        self.composed = [(each[0].path, weight) for each, weight in zip(composed, self._composed, strict=True)]
        self.stacked: list[Stack] = []
        self._swaps: list[Swap] = plan_tokens(adapters, found, texts)
        for weight, each in zip(self._composed, composed, strict=True):
            self._swaps += found[each[0].path.component].swaps(weight.original, weight.replacement)
        if stacked:
            self._stack(stacked, found)

    def _stack(self, stacked: Sequence[Sequence[Use]], parts: Mapping[str, Part]) -> None:
        factors = [[use.factors() for use in uses] for uses in stacked]
        owners = [
            use.adapter
            for uses, each in zip(stacked, factors, strict=True)
            for use, (down, _) in zip(uses, each, strict=True)
            for _ in range(len(down))
        ]
        dtypes = Counter(uses[0].parameter.dtype for uses in stacked)
        device = stacked[0][0].parameter.device
        self._strengths = Strengths(torch.tensor(owners), device, dtypes.most_common(1)[0][0])
        ranks = [sum(len(down) for down, _ in each) for each in factors]
        ends = itertools.accumulate(ranks)
        for uses, each, rank, end in zip(stacked, factors, ranks, ends, strict=True):
            base = cast("Stackable", uses[0].module)  # Use.stacks has asked
            rows = slice(end - rank, end)
            beside = StackedLora(base, each, self._strengths.values[rows])
            self.stacked.append(Stack(uses[0].path, beside, torch.tensor(owners[rows])))
            self._swaps += parts[uses[0].path.component].swaps(base, beside)

    def set(self, strengths: Sequence[float]) -> None:
        """Write one strength an adapter, installed or not."""
        for weight in self._composed:
            weight.set(strengths)
        if self._strengths is not None:
            self._strengths.set(strengths)

    def install(self) -> None:
        """Swap everything in; an interruption leaves the model as it was."""
        try:
            for swap in self._swaps:
                swap.install()
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Swap the original objects back in."""
        for swap in reversed(self._swaps):
            swap.remove()


def _grouped(uses: Iterable[Use], key: Callable[[Use], object]) -> list[list[Use]]:
    """Gather the uses of one module or parameter: several adapters change it, or one has it under two names."""
    groups: dict[int, list[Use]] = defaultdict(list)
    for use in uses:
        groups[id(key(use))].append(use)
    return list(groups.values())
