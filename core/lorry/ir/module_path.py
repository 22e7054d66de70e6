"""The address of a module inside a base model."""

from __future__ import annotations

from typing import NamedTuple


class ModulePath(NamedTuple):
    """A module by component (unet, transformer, text_encoder …) and by its name in the base table."""

    component: str
    name: str

    def __str__(self) -> str:
        return f"{self.component}.{self.name}"
