"""One component of a running model, with its modules found by the names of the base table."""

from __future__ import annotations

from collections import defaultdict

from torch import nn

from lorry.compose.swap import Swap

_CLIP_LEVEL = "text_model."
"""A level of CLIP's names on disk and in base tables, which transformers 5 has no module for in some classes."""


class Part:
    """A component's modules by address, and the places that hold them.

    A module or parameter may be held in several places (tied weights); swapping it swaps it in all of them.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._modules = dict(module.named_modules(remove_duplicate=False))
        self._places: dict[int, list[tuple[nn.Module, str]]] = defaultdict(list)
        for parent in module.modules():
            for name, child in parent.named_children():
                self._places[id(child)].append((parent, name))
            for name, parameter in parent.named_parameters(recurse=False, remove_duplicate=False):
                self._places[id(parameter)].append((parent, name))

    def find(self, name: str) -> nn.Module | None:
        """Return the module at an address of the base table, or None."""
        return self._modules.get(name) or self._modules.get(name.removeprefix(_CLIP_LEVEL))

    def swaps(self, original: nn.Module | nn.Parameter, replacement: nn.Module | nn.Parameter) -> list[Swap]:
        """Exchange a module or parameter wherever this part holds it."""
        return [Swap(parent, name, original, replacement) for parent, name in self._places[id(original)]]
