"""Ancestry: what a version was made from, step by step, and what was made from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from lorry.errors import NotFound
from lorry_registry.home.store import LocalStore, Resolved
from lorry_registry.references.reference import Reference
from lorry_registry.version import canonical_json

if TYPE_CHECKING:
    from lorry_registry.version.manifest import Parent


class Origin(NamedTuple):
    """One thing something was made from: which (the sha256 of its manifest, or of its file), and how strong."""

    digest: str
    weight: float | None = None


class Made(NamedTuple):
    """A version, or what is published nowhere here: its name, and the operation and origins it came from.

    Steps on the way, which were never a file of anybody's, have no name.
    """

    name: str
    op: str = ""
    origins: tuple[Origin, ...] = ()

    @property
    def label(self) -> str:
        """What people call it: its name, or the operation."""
        return self.name or self.op


def ancestry(store: LocalStore, resolved: Resolved) -> Mapping[str, Made]:
    """Return a version and all it was made from, by digest, the version itself first; each stands once.

    What is not in this registry, or is another one of that name, has the origins that its own recipe tells, if any.
    """
    found: dict[str, Made] = {}
    ahead: list[Resolved | Parent] = [resolved]
    while ahead:
        each = ahead.pop(0)
        digest = each.digest if isinstance(each, Resolved) else _digest(each)
        if digest in found:
            continue
        if isinstance(each, Resolved):
            lineage = store.manifest(each).lineage
            name, op, parents = str(each.reference), lineage.op if lineage else "", lineage.parents if lineage else ()
        else:
            name, op, parents = each.reference or each.name, each.op or "", each.parents or ()
        origins = (Origin(_digest(parent), parent.weight) for parent in _one_file_each(parents))
        found[digest] = Made(name, op, tuple(origins))
        ahead += [_published(store, parent) or parent for parent in parents]
    return found


def descendants(store: LocalStore, resolved: Resolved) -> tuple[Resolved, ...]:
    """Return the versions that were made from this one, by name and from the lowest up, through no other version."""
    found = []
    for each in map(store.resolve, store.published()):
        lineage = store.manifest(each).lineage
        if lineage and any(parent.manifest == resolved.digest for parent in lineage.every()):
            found.append(each)
    return tuple(found)


def in_words(parent: Parent) -> str:
    """Say in one line what something was made from: a version, a file, or a step and what that was done to."""
    if parent.reference:
        return parent.reference
    if parent.op:
        made = f"{parent.op} of {', '.join(map(in_words, parent.parents or ()))}"
        return f"{parent.name} ({made})" if parent.name else made
    known = f"sha256:{parent.sha256[:12]}, " if parent.sha256 else ""
    return f"{parent.name} ({known}not published here)"


def to_dot(found: Mapping[str, Made]) -> str:
    """Write an ancestry as a Graphviz graph: an arrow leads from each origin to what was made from it."""
    nodes = [f"  {_quoted(digest)} [label={_quoted(made.label)}];" for digest, made in found.items()]
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


def _one_file_each(parents: Iterable[Parent]) -> Iterator[Parent]:
    """Yield the parents, a version of several files by its first alone; what was taken in twice stands twice."""
    first: dict[str, str | None] = {}
    return (each for each in parents if first.setdefault(_digest(each), each.sha256) == each.sha256)


def _digest(parent: Parent) -> str:
    """Return what a parent is known by; a step that nothing is told of by what was done to what."""
    known = parent.manifest or parent.sha256 or parent.reference or parent.name
    return known or sha256(canonical_json.dump(parent.model_dump(exclude_none=True, exclude={"weight"}))).hexdigest()


def _label(op: str, weight: float | None) -> str:
    return op if weight is None else f"{op} {weight:g}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'
