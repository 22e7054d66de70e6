"""The plugin host: finds plugins by entry point, one group a capability, and answers by name.

Nothing is loaded until a group is asked for. A plugin that cannot be loaded is kept aside with its error:
`plugins()` tells of it, and whoever asks for a group it stands in gets a PluginError.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import pluggy

from lorry.errors import PluginError, UnknownName
from lorry.plugin import hookspecs
from lorry.plugin.allowed import allowed
from lorry.plugin.installed import PREFIX, PluginPoint, installed, owner

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from lorry.plugin.backend import Backend
    from lorry.plugin.base_model import BaseModel
    from lorry.plugin.command import Command
    from lorry.plugin.container import Container
    from lorry.plugin.dialect import Dialect
    from lorry.plugin.kind import Kind
    from lorry.plugin.loader import Loader
    from lorry.plugin.merge_method import MergeMethod
    from lorry.plugin.store import Store

OWN = "lorry"
"""The distribution whose plugins are always allowed."""

GROUPS: Mapping[str, tuple[str, str]] = {
    "containers": ("container", "lorry.plugin.container:Container"),
    "dialects": ("dialect", "lorry.plugin.dialect:Dialect"),
    "kinds": ("kind", "lorry.plugin.kind:Kind"),
    "base_models": ("base model", "lorry.plugin.base_model:BaseModel"),
    "backends": ("backend", "lorry.plugin.backend:Backend"),
    "merge_methods": ("merge method", "lorry.plugin.merge_method:MergeMethod"),
    "stores": ("store", "lorry.plugin.store:Store"),
    "loaders": ("loader", "lorry.plugin.loader:Loader"),
    "commands": ("command", "lorry.plugin.command:Command"),
}
"""Each hook without its `lorry_`, with the word for one of its descriptors and where their type is."""


class PluginInfo(NamedTuple):
    """One installed plugin: where it comes from, what it was registered for, and how it fared.

    `provides` lists descriptor names by group for the groups that were asked for. `error` is why it could
    not be loaded. `disabled` is true where LORRY_PLUGINS leaves it out, `allowed` false where `plugins.allow` of the
    settings file does not name its distribution; of neither kind anything was imported.
    """

    name: str
    module: str
    distribution: str
    version: str
    groups: tuple[str, ...]
    provides: Mapping[str, tuple[str, ...]]
    error: str = ""
    disabled: bool = False
    allowed: bool = True


class _Plugin:
    """A plugin on the host's books: one module of one distribution, in one or more groups."""

    def __init__(self, point: PluginPoint | EntryPoint) -> None:
        self.name, self.module = point.name, point.value
        self.point = point
        self.groups: list[str] = []
        self.loaded: ModuleType | None = None
        self.error = ""

    @property
    def distribution(self) -> str:
        return self.point.dist.name if self.point.dist else "unknown"

    @property
    def version(self) -> str:
        return self.point.dist.version if self.point.dist else ""

    @property
    def label(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})"


class _Manager(pluggy.PluginManager):
    """Looks at a module's hooks alone: pluggy would inspect everything else in it, for a third of the loading time."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        return super().parse_hookimpl_opts(plugin, name) if name.startswith("lorry_") else None


class Host:
    """A set of plugins. `lorry.host()` is the default one; a test or a program may build its own.

    `selection` is read as LORRY_PLUGINS is: None loads all, "" none, "lora,flux" those two, "no:flux" all
    but that one. `allow` names the distributions that may add plugins beside lorry itself; None: all. Safe to use from
    several threads.
    """

    def __init__(
        self,
        selection: str | None = None,
        entry_points: Iterable[PluginPoint | EntryPoint] | None = None,
        allow: Collection[str] | None = None,
    ) -> None:
        self._manager = _Manager("lorry")
        self._manager.add_hookspecs(hookspecs)
        if os.environ.get("LORRY_TRACE"):
            self._manager.trace.root.setwriter(sys.stderr.write)
            self._manager.enable_tracing()
        self._lock = threading.RLock()
        self._plugins: dict[tuple[str, str], _Plugin] = {}
        self._groups: dict[str, Mapping[str, Any]] = {}
        for point in installed() if entry_points is None else entry_points:
            self._add(point)
        self._refused = set() if allow is None else self._others({OWN, *allow})
        self._selected = self._select(selection)
        self._enabled = self._selected - self._refused

    def containers(self) -> Mapping[str, Container]:
        """Return the containers by name."""
        return self._group("containers")

    def dialects(self) -> Mapping[str, Dialect]:
        """Return the dialects by name."""
        return self._group("dialects")

    def kinds(self) -> Mapping[str, Kind]:
        """Return the kinds by name."""
        return self._group("kinds")

    def base_models(self) -> Mapping[str, BaseModel]:
        """Return the base tables by id."""
        return self._group("base_models")

    def backends(self) -> Mapping[str, Backend]:
        """Return the backends by name."""
        return self._group("backends")

    def merge_methods(self) -> Mapping[str, MergeMethod]:
        """Return the merge methods by name."""
        return self._group("merge_methods")

    def stores(self) -> Mapping[str, Store]:
        """Return the stores by name."""
        return self._group("stores")

    def loaders(self) -> Mapping[str, Loader]:
        """Return the tools that load adapters, by name."""
        return self._group("loaders")

    def commands(self) -> Mapping[str, Command]:
        """Return the commands plugins add, by name."""
        return self._group("commands")

    def get(self, group: str, name: str) -> Any:  # noqa: ANN401  the type is the group's, see GROUPS
        """Return the descriptor of that name in a group; raise UnknownName with the nearest ones."""
        known = self._group(group)
        if name in known:
            return known[name]
        hints = {
            "LORRY_PLUGINS leaves some plugins out": len(self._selected) < len(self._plugins),
            "plugins.allow does not allow some plugins": bool(self._refused),
        }
        raise UnknownName(GROUPS[group][0], name, known, "; ".join(hint for hint, holds in hints.items() if holds))

    def plugins(self) -> tuple[PluginInfo, ...]:
        """Load every enabled plugin and tell how each one fared; broken ones are told, not raised."""
        provides: dict[str, dict[str, tuple[str, ...]]] = {}
        for group in GROUPS:
            for plugin, items in self._collect(group):
                provides.setdefault(plugin.name, {})[group] = tuple(_name(item) for item in items)
        return tuple(
            PluginInfo(
                name=plugin.name,
                module=plugin.module,
                distribution=plugin.distribution,
                version=plugin.version,
                groups=tuple(plugin.groups),
                provides=provides.get(plugin.name, {}),
                error=plugin.error,
                disabled=key not in self._selected,
                allowed=key not in self._refused,
            )
            for key, plugin in sorted(self._plugins.items())
        )

    def broken(self, group: str) -> Mapping[str, str]:
        """Return the plugins of a group that could not be loaded, with the reason."""
        self._collect(group)
        return {plugin.label: plugin.error for plugin in self._members(group) if plugin.error}

    def _add(self, point: PluginPoint | EntryPoint) -> None:
        group = point.group.removeprefix(PREFIX)
        if group not in GROUPS:  # a plugin may serve a newer lorry too
            return
        known = self._plugins.setdefault((point.name, point.value), _Plugin(point))
        if group not in known.groups:
            known.groups.append(group)

    def _select(self, selection: str | None) -> set[tuple[str, str]]:
        if selection is None:
            return set(self._plugins)
        words = {word.strip() for word in selection.split(",") if word.strip()}
        refused = {word.removeprefix("no:") for word in words if word.startswith("no:")}
        wanted = {word for word in words if not word.startswith("no:")}
        names = {name for name, _ in self._plugins}
        for word in sorted((wanted | refused) - names):
            raise UnknownName("plugin", word, names, "LORRY_PLUGINS lists plugins, or leaves them out as no:NAME")
        if not words:
            return set()
        return {key for key in self._plugins if key[0] not in refused and (not wanted or key[0] in wanted)}

    def _others(self, distributions: Collection[str]) -> set[tuple[str, str]]:
        return {key for key, plugin in self._plugins.items() if owner(plugin.point) not in distributions}

    def _members(self, group: str) -> list[_Plugin]:
        return [plugin for key, plugin in self._plugins.items() if key in self._enabled and group in plugin.groups]

    def _group(self, group: str) -> Mapping[str, Any]:
        with self._lock:
            if group not in self._groups:
                self._groups[group] = self._build(group)
            return self._groups[group]

    def _build(self, group: str) -> Mapping[str, Any]:
        word = GROUPS[group][0]
        found: dict[str, Any] = {}
        owner: dict[str, _Plugin] = {}
        for plugin, items in self._collect(group):
            for item in items:
                name = _name(item)
                if name in found:
                    raise PluginError(
                        f"two plugins claim the {word} {name!r}: {owner[name].label} and {plugin.label}; "
                        f"uninstall one, or leave it out with LORRY_PLUGINS=no:{plugin.name}"
                    )
                found[name], owner[name] = item, plugin
        broken = [plugin for plugin in self._members(group) if plugin.error]
        if broken and group != "commands":
            plugin = broken[0]
            raise PluginError(
                f"plugin {plugin.label} cannot be loaded: {plugin.error}; "
                f"mend or uninstall it, or leave it out with LORRY_PLUGINS=no:{plugin.name}"
            )
        return MappingProxyType(found)

    def _collect(self, group: str) -> list[tuple[_Plugin, list[Any]]]:
        """Call one hook of each plugin alone, so that a broken one cannot take the others with it."""
        with self._lock:
            module, _, attribute = GROUPS[group][1].partition(":")
            kind = getattr(importlib.import_module(module), attribute)
            collected: list[tuple[_Plugin, list[Any]]] = []
            for plugin in sorted(self._members(group), key=lambda each: (each.module, each.name)):
                if not self._load(plugin) or plugin.error:
                    continue
                try:
                    collected.append((plugin, self._ask(plugin, f"lorry_{group}", kind)))
                except (Exception, SystemExit) as error:  # noqa: BLE001  a stranger's code may raise anything at all
                    plugin.error = f"{type(error).__name__}: {error}"
            return collected

    def _ask(self, plugin: _Plugin, hook: str, kind: type) -> list[Any]:
        others = [each for each in self._manager.get_plugins() if each is not plugin.loaded]
        answers = self._manager.subset_hook_caller(hook, others)()
        if not answers:
            raise TypeError(f"it is registered for {hook} but does not implement that hook")
        items = [item for answer in answers for item in answer]
        strange = next((item for item in items if not isinstance(item, kind)), None)
        if strange is not None:
            raise TypeError(f"{hook} returned {type(strange).__name__}, which is not its descriptor")
        return items

    def _load(self, plugin: _Plugin) -> ModuleType | None:
        if plugin.loaded or plugin.error:
            return plugin.loaded
        try:
            module = importlib.import_module(plugin.module)
            stated = getattr(module, "LORRY_API", None)
            if stated != hookspecs.API:
                raise ImportError(f"written for LORRY_API {stated}, this lorry speaks {hookspecs.API}")  # noqa: TRY301  one way out for every reason
            self._manager.register(module, name=plugin.module)
        except (Exception, SystemExit) as error:  # noqa: BLE001  a stranger's module may raise anything at all
            plugin.error = f"{type(error).__name__}: {error}"
        else:
            plugin.loaded = module
        return plugin.loaded


def _name(item: Any) -> str:  # noqa: ANN401  any descriptor
    return str(item.id if hasattr(item, "id") else item.name)  # a base table goes by its id


@cache
def host() -> Host:
    """Return the host of all installed plugins that LORRY_PLUGINS and `plugins.allow` admit, made at the first call."""
    points = installed()
    strangers = any(owner(point) != OWN for point in points)
    return Host(os.environ.get("LORRY_PLUGINS"), points, allowed() if strangers else None)
