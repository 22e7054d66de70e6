"""Ancestry: what a version was made from, step by step, and what was made from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from lorry.errors import NotFound
from lorry_registry.reference import Reference
from lorry_registry.store import LocalStore, Resolved

if TYPE_CHECKING:
    from lorry_registry.manifest import Parent


class Origin(NamedTuple):
    """One thing something was made from: which (the sha256 of its manifest, or of its file), and how strong."""

    digest: str
    weight: float | None = None


class Made(NamedTuple):
    """A version, or a file that is published nowhere here: its name, and the operation and origins it came from."""

    name: str
    op: str = ""
    origins: tuple[Origin, ...] = ()


def ancestry(store: LocalStore, resolved: Resolved) -> Mapping[str, Made]:
    """Return a version and all it was made from, by digest, the version itself first; each stands once.

    What is not in this registry, or is another one of that name, has no origins.
    """
    found: dict[str, Made] = {}
    ahead = [resolved]
    while ahead:
        each = ahead.pop(0)
        if each.digest in found:
            continue
        lineage = store.manifest(each).lineage
        parents = lineage.parents if lineage else ()
        origins = tuple(Origin(_digest(parent), parent.weight) for parent in parents)
        found[each.digest] = Made(str(each.reference), lineage.op if lineage else "", origins)
        for parent in parents:
            known = _published(store, parent)
            if known:
                ahead.append(known)
            else:
                found.setdefault(_digest(parent), Made(parent.reference or parent.name))
    return found


def descendants(store: LocalStore, resolved: Resolved) -> tuple[Resolved, ...]:
    """Return the versions that were made from this one directly, by name and from the lowest up."""
    found = []
    for each in map(store.resolve, store.published()):
        lineage = store.manifest(each).lineage
        if lineage and any(parent.manifest == resolved.digest for parent in lineage.parents):
            found.append(each)
    return tuple(found)


def to_dot(found: Mapping[str, Made]) -> str:
    """Write an ancestry as a Graphviz graph: an arrow leads from each origin to what was made from it."""
    nodes = [f"  {_quoted(digest)} [label={_quoted(made.name)}];" for digest, made in found.items()]
    arrows = [
        f"  {_quoted(origin.digest)} -> {_quoted(digest)} [label={_quoted(_label(made.op, origin.weight))}];"
        for digest, made in found.items()
        for origin in made.origins
    ]
    return "\n".join(["digraph lineage {", "  node [shape=box];", *nodes, *arrows, "}", ""])


def _published(store: LocalStore, parent: Parent) -> Resolved | None:
    if not (parent.reference and parent.manifest):
        return None
    try:
        known = store.resolve(Reference.parse(parent.reference))
    except NotFound:
        return None
    return known if known.digest == parent.manifest else None


def _digest(parent: Parent) -> str:
    return parent.manifest or parent.sha256 or parent.reference or parent.name


def _label(op: str, weight: float | None) -> str:
    return op if weight is None else f"{op} {weight:g}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'
