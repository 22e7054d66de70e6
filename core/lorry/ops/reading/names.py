"""Module names under any scheme and separator, resolved by compiled templates.

A template such as "blocks.{i}.ff.net.0.proj" is looked up by its shape, in which every number is a hole:
one dictionary lookup a name, dotted or flattened with underscores, at any depth and width. A name that
two templates claim is an error, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property, lru_cache
from typing import NamedTuple

from lorry.errors import Conflict
from lorry.plugin.base_model import Component, View

OWN = "diffusers"
"""The scheme of our own names."""

_HOLE = "\0"

_NUMBER = "(?:0|[1-9][0-9]{0,8})"
"""A number has one spelling: were 01 or a foreign digit taken for 1, two names in one file could mean one module."""


_HEAD = 3
_INDICES = frozenset("0123456789{")

MANY = 8192
"""Names that are kept with what they stand for: the files of a folder have the same ones again and again."""

_SOURCE = 32_768
"""Names that are kept as they are cut up: no fewer than one source has, as every base and dialect asks for them."""


class Target(NamedTuple):
    """A view with its indices filled in: the name in the scheme and our modules it stands for."""

    name: str
    parts: tuple[str, ...]
    rows: tuple[int, ...] = (1,)
    flip: bool = False
    params: tuple[tuple[str, str], ...] = ()
    transposed: bool = False
    conv: bool = False

    def own_param(self, param: str) -> str:
        """Return our name of the scheme's parameter."""
        return dict(self.params).get(param, param)

    def their_param(self, param: str) -> str:
        """Return the scheme's name of our parameter."""
        return next((theirs for theirs, ours in self.params if ours == param), param)


class _Template(NamedTuple):
    """One template, cut at the separator: what each number must be, literally, or the index it is."""

    view: View
    numbers: tuple[str, ...]

    def match(self, numbers: Sequence[str]) -> dict[str, str] | None:
        """Return the indices by name, or None where a number is not what it must be.

        Numbers are compared as text: each has one spelling.
        """
        indices: dict[str, str] = {}
        if len(numbers) != len(self.numbers):  # a name with the sign for a hole in it
            return None
        for expected, number in zip(self.numbers, numbers, strict=True):
            if (expected if expected[0] != "{" else indices.setdefault(expected[1:-1], number)) != number:
                return None
        return indices


class NameTable:
    """The names of one component under one scheme, spelled with one separator."""

    def __init__(self, component: str, scheme: str, separator: str, views: tuple[View, ...]) -> None:
        self.scheme = scheme
        self._component, self._separator, self._views = component, separator, views
        self._by_name: dict[str, dict[str, list[_Template]]] = {}

    @cached_property
    def bare(self) -> bool:
        """Whether some modules have a parameter that goes by the module's own name alone."""
        return any(theirs == "" for view in self._views for theirs, _ in view.params)

    def find(self, name: str, param: str | None = None) -> Target | None:
        """Return what `name`, with the scheme's `param` where one is given, stands for, or None.

        Raises Conflict where two templates claim it.
        """
        # Most strange names begin as none of the table's does, or are longer: an index has at most nine digits.
        if len(name) > self._longest or (name[:_HEAD] not in self._heads and "" not in self._heads):
            return None
        shape, numbers = _cut(name, self._separator)
        found = {
            _fill(template.view, indices)
            for head in (name[:_HEAD], "")
            for template in self._compiled(head).get(shape, ())
            if _has(template.view, 0, param) and (indices := template.match(numbers)) is not None
        }
        if len(found) > 1:
            raise Conflict(
                f"{name!r} means {' or '.join(sorted(target.name for target in found))} "
                f"in scheme {self.scheme} of {self._component}; the base table must tell them apart"
            )
        return found.pop() if found else None

    @cached_property
    def _longest(self) -> int:
        return 3 * max((len(view.name) for view in self._views), default=0)

    def covering(self, module: str, param: str | None = None) -> Iterator[Target]:
        """Yield what the scheme has for our `module`, or for our `param` of it: alone, or as part of a fused module."""
        shape, numbers = _cut(module, ".")
        for template in self._by_part.get(shape, ()):
            indices = template.match(numbers) if _has(template.view, 1, param) else None
            if indices is not None:
                target = _fill(template.view, indices)
                if module in target.parts:
                    yield target._replace(name=target.name.replace(".", self._separator))

    def _compiled(self, head: str) -> Mapping[str, list[_Template]]:
        """Return the templates with these first letters, compiled when they are first asked for."""
        if head not in self._by_name:
            self._by_name[head] = _index(((view.name, view) for view in self._heads.get(head, ())), self._separator)
        return self._by_name[head]

    @cached_property
    def _heads(self) -> Mapping[str, list[View]]:
        """Views by the first letters of their name; "" for names that are shorter or begin with an index.

        A source's names begin in few ways, and most of a table that is not meant is never compiled.
        """
        heads: dict[str, list[View]] = {}
        for view in self._views:
            head = view.name[:_HEAD].replace(".", self._separator)
            plain = len(head) == _HEAD and _INDICES.isdisjoint(head)
            heads.setdefault(head if plain else "", []).append(view)
        return heads

    @cached_property
    def _by_part(self) -> Mapping[str, list[_Template]]:
        return _index(((part, view) for view in self._views for part in view.parts), ".")


def name_table(component: Component, scheme: str, separator: str) -> NameTable:
    """Return the compiled table of a scheme; components with the very same templates share one."""
    if scheme == OWN:
        return _own_table(component.name, separator, component.modules)
    return _table(component.name, scheme, separator, component.schemes.get(scheme, ()))


def lookup_table(component: Component) -> NameTable:
    """Return the compiled table of the modules that look rows up by number, under our own names."""
    return _own_table(component.name, ".", component.lookups)


@cache
def _table(component: str, scheme: str, separator: str, views: tuple[View, ...]) -> NameTable:
    return NameTable(component, scheme, separator, views)


@cache
def _own_table(component: str, separator: str, modules: tuple[str, ...]) -> NameTable:
    return NameTable(component, OWN, separator, tuple(View(module, (module,)) for module in modules))


def _index(named: Iterable[tuple[str, View]], separator: str) -> dict[str, list[_Template]]:
    table: dict[str, list[_Template]] = {}
    for text, view in named:
        shape, numbers = _cut_template(text, separator)
        table.setdefault(shape, []).append(_Template(view, tuple(numbers)))
    return table


@lru_cache(maxsize=_SOURCE)
def _cut(name: str, separator: str) -> tuple[str, Sequence[str]]:
    numbers, _ = _patterns(separator)
    return _apart(numbers, name)


def _cut_template(template: str, separator: str) -> tuple[str, Sequence[str]]:
    _, holes = _patterns(separator)
    return _apart(holes, template.replace(".", separator))


def _apart(holes: re.Pattern[str], text: str) -> tuple[str, Sequence[str]]:
    """Return a text with its holes empty, and what stood in them."""
    pieces = holes.split(text)
    return _HOLE.join(pieces[::2]), pieces[1::2]


@cache
def _patterns(separator: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what finds the words that are numbers, and in templates indices too."""
    edge = re.escape(separator)
    before, after = f"(?<![^{edge}])", f"(?![^{edge}])"
    return re.compile(f"{before}({_NUMBER}){after}"), re.compile(f"{before}({_NUMBER}|{{\\w+}}){after}")


def _fill(view: View, indices: Mapping[str, str]) -> Target:
    parts = tuple(part.format_map(indices) for part in view.parts)
    return Target(view.name.format_map(indices), parts, *view[2:])


def _has(view: View, side: int, param: str | None) -> bool:
    """Tell whether a view has a parameter, named as in the scheme (side 0) or as ours (side 1); None stands for any."""
    return param is None or any(pair[side] == param for pair in view.params) or bool(param and not view.params)
