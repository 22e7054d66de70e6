"""The installed plugins with one more among them, so that a plugin can be checked before it is installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorry.plugin.host import Host, host


class _Beside(Host):
    """Other plugins, and one descriptor in the place of the one of its name, or after them all."""

    def __init__(self, others: Host, group: str, name: str, item: object) -> None:
        super().__init__(entry_points=())
        self._installed, self._own, self._name, self._item = others, group, name, item

    def _group(self, group: str) -> Mapping[str, Any]:
        known: Mapping[str, Any] = getattr(self._installed, group)()
        return {**known, self._name: self._item} if group == self._own else known


def beside(group: str, name: str, item: object) -> Host:
    """Return a host of everything installed and this descriptor; the default one where it is installed."""
    installed = host()
    return installed if getattr(installed, group)().get(name) is item else _Beside(installed, group, name, item)
