"""Commands that need no numbers import no torch: nor must a plugin that they load."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from lorry.testing.laws import expect

HEAVY = ("torch", "numpy", "diffusers", "transformers")


def expect_light(*functions: object) -> None:
    """Raise AssertionError where a module that one of the functions stands in has a heavy one among its names."""
    for name in dict.fromkeys(getattr(each, "__module__", "") for each in functions if each is not None):
        for said, value in vars(sys.modules.get(name, ModuleType(name))).items():
            home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
            root = home.partition(".")[0] if isinstance(home, str) else ""
            expect(root not in HEAVY, f"module {name} imports {said} of {root} at its top; import it where it is used")


@contextmanager
def without_heavy() -> Iterator[None]:
    """Let every import of what is heavy fail, though it is installed."""
    hidden = {name: sys.modules.get(name) for name in HEAVY}
    sys.modules.update(dict.fromkeys(HEAVY))  # type: ignore[arg-type]  # None: there is no such module
    try:
        yield
    finally:
        for name, module in hidden.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
