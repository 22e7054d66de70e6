"""The rules of tools that load adapters: what they ask about an adapter, and which one of them holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from lorry.ir.adapter import Adapter
from lorry.ir.layer import Layer
from lorry.plugin.host import Host
from lorry.plugin.kind import Kind
from lorry.plugin.loader import Loader, Rule

Facts = Mapping[str, str]
"""What rules ask about: the values of each field, one a line, with a line break before and after each."""

UNTOLD = Rule("", "not known", "no rule is for this dialect, kind and base")

_OPERATORS = "=<~"


def rule_for(loader: Loader, facts: Facts) -> Rule:
    """Return the first rule of a loader that holds."""
    return next((rule for rule in loader.rules if holds(rule.when, facts)), UNTOLD)


def holds(when: str, facts: Facts) -> bool:
    """Tell whether every predicate of a rule holds for `facts`; raise ValueError for one that is none."""
    return all(_holds(predicate, facts) for predicate in when.split())


def _holds(predicate: str, facts: Facts) -> bool:
    text = predicate.removeprefix("!")
    at = next((number for number, letter in enumerate(text) if letter in _OPERATORS), 0)
    field, operator, wanted = text[:at], text[at : at + 1], text[at + 1 :].split("|")
    if field not in facts:
        raise ValueError(f"a rule asks for {predicate!r}, which is no field, operator and values")
    values = facts[field]
    if operator == "<":
        found = set(values.split("\n")) <= {"", *wanted}
    elif operator == "=":
        found = any(f"\n{value}\n" in values for value in wanted)
    else:
        found = any(value.replace("^", "\n").replace("$", "\n") in values for value in wanted)
    return found is not predicate.startswith("!")


def facts_of(adapter: Adapter, plugins: Host) -> Facts:
    """Collect what rules ask about an adapter."""
    layers = [(path, layer) for path, stack in adapter.layers.items() for layer in stack]
    told = {
        "dialect": [frame.dialect for frame in adapter.origin],
        "container": [frame.container for frame in adapter.origin],
        "base": [adapter.base],
        "kind": [layer.kind for _, layer in layers],
        "component": [path.component for path in adapter.layers],
        "module": map(".".join, adapter.layers),
        "slot": [slot for _, layer in layers for slot in layer.slots],
        "key": [key for frame in adapter.origin for key in frame.source.tensors],
        "scaled": ["yes"] if any(layer.scale != 1 for _, layer in layers) else [],
        "uneven": _uneven(adapter, plugins.kinds()),
        "doubt": [what for what, _ in adapter.report.ambiguous],
        "tokens": [] if not adapter.tokens else ["beside" if layers else "only"],
    }
    return {field: _lines(values) for field, values in told.items()}


def _lines(values: Iterable[str]) -> str:
    return "\n".join(["", *dict.fromkeys(values), ""])


def _uneven(adapter: Adapter, kinds: Mapping[str, Kind]) -> list[str]:
    """Return the modules whose alpha is not their component's commonest (the first of equally common ones)."""
    alphas = {path: _alpha(stack[0], kinds[stack[0].kind]) for path, stack in adapter.layers.items()}
    by_component: dict[str, Counter[float]] = {}
    for path, alpha in alphas.items():
        by_component.setdefault(path.component, Counter())[alpha] += 1
    common = {component: counted.most_common(1)[0][0] for component, counted in by_component.items()}
    return [str(path) for path, alpha in alphas.items() if alpha != common[path.component]]


def _alpha(layer: Layer, kind: Kind) -> float:
    return layer.scale * (kind.rank(layer.slots) if kind.rank else 1)
