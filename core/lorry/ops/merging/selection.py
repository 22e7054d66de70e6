"""Weights by component, block, module, expression or preset: one small grammar for everything that has a weight.

    SPEC  =  RULE, RULE …        commas or new lines between them; from # to the end of a line is a comment
    RULE  =  NUMBER              the weight of everything
          |  WHERE=NUMBER
          |  WHERE               the same as WHERE=1
    WHERE =  *                   everything
          |  unet                a component
          |  unet.up_blocks.0    a module or a block: its name in the base table, or the beginning of one
          |  IN04                a block that the base table names
          |  b-lora-style        a preset that the base table names: its rules, multiplied by the number
          |  /attn[12]/          a regular expression, found anywhere in "component.module"

The last rule that says something of a module decides; a module of which none does has weight 1. "*=0, unet=0.7" is
the UNet alone. Nothing goes by position, so that a block that an adapter lacks shifts no other one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lorry.errors import InvalidArgument
from lorry.ir.adapter import Adapter
from lorry.ir.module_path import ModulePath
from lorry.ir.strength import checked_strength
from lorry.plugin.base_model import BaseModel
from lorry.plugin.host import Host

_RULES = re.compile(r"(?:/(?:\\.|[^/\\\n])*/|[^,\n])+")
_COMMENT = re.compile(r"(?:^|\s)#.*", re.MULTILINE)
_EXPRESSION = re.compile(r"(/.*/)\s*(?:=\s*(.*))?", re.DOTALL)
_EVERYTHING = "*"


class Rule(NamedTuple):
    """A weight and the modules it is for; `known` ones may have none in an adapter: blocks, components."""

    where: str
    pattern: re.Pattern[str]
    weight: float
    known: bool = False


class Selection(NamedTuple):
    """Weights by module path; the last rule that matches decides."""

    rules: tuple[Rule, ...] = ()

    def weight(self, path: ModulePath) -> float:
        """Return the weight of a module, 1 where no rule speaks of it."""
        name = str(path)
        return next((rule.weight for rule in reversed(self.rules) if rule.pattern.search(name)), 1.0)

    def check(self, paths: Iterable[ModulePath]) -> None:
        """Raise InvalidArgument for a rule that is for no module there is, so that a slip is not taken for a wish."""
        names = [str(path) for path in paths]
        for rule in self.rules:
            if not rule.known and not any(rule.pattern.search(name) for name in names):
                raise InvalidArgument(
                    f"weights: {rule.where!r} is for no module of these adapters; lorry inspect --layers lists them"
                )


def by_module(weights: Mapping[ModulePath, float]) -> Selection:
    """Select single modules by their whole names."""
    return Selection(tuple(Rule(str(path), _beginning(str(path)), weight) for path, weight in weights.items()))


def to_text(weights: Mapping[ModulePath, float]) -> str:
    """Write weights of single modules as a SPEC, a line each."""
    return "".join(f"{path}={weight!r}\n" for path, weight in weights.items())


def written(spec: str | Selection) -> str:
    """Write down what a SPEC, a file with one in it or a selection says, so that it can be read without the file."""
    if isinstance(spec, Selection):
        return "\n".join(f"{rule.where}={rule.weight!r}" for rule in spec.rules)
    return _text(spec).strip()


def read_selection(spec: str, base: BaseModel) -> Selection:
    """Read a SPEC, or a file with one in it; raise InvalidArgument naming the rule that cannot be read."""
    return Selection(tuple(_rules(_text(spec), base)))


def read_selections(specs: Sequence[str | Selection], adapters: Sequence[Adapter], plugins: Host) -> list[Selection]:
    """Return a selection for each adapter, from none, from one for all or from one for each.

    Raises InvalidArgument for another number of them, and for a rule that is for no module of any adapter.
    """
    if len(specs) not in (0, 1, len(adapters)):
        raise InvalidArgument(f"{len(specs)} weights for {len(adapters)} adapters; give one for all, or one for each")
    base = plugins.get("base_models", adapters[0].base)
    read = [each if isinstance(each, Selection) else read_selection(each, base) for each in specs]
    for each in read:
        each.check(path for adapter in adapters for path in adapter.layers)
    return read if len(read) == len(adapters) else (read or [Selection()]) * len(adapters)


def _text(spec: str) -> str:
    if "\n" in spec or not os.path.isfile(spec):  # noqa: PTH113  Path.is_file raises for what is too long for a name
        return spec
    try:
        return Path(spec).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{spec} is no text with weights: {error}") from error


def _rules(text: str, base: BaseModel) -> Iterable[Rule]:
    for piece in _RULES.findall(_COMMENT.sub("", text)):
        token = piece.strip()
        if token:
            yield from _rule(token, base)


def _rule(token: str, base: BaseModel) -> Iterable[Rule]:
    found = _EXPRESSION.fullmatch(token)
    if found:
        where, number = found[1], found[2]
    else:
        where, _, number = (each.strip() for each in token.partition("="))
        if not number and _is_number(where):
            where, number = _EVERYTHING, where
    weight = _number(token, number) if number else 1.0
    if where in base.presets:
        for rule in _rules(base.presets[where], base):
            yield rule._replace(weight=rule.weight * weight, known=True)
        return
    yield Rule(where, _pattern(where, base), weight, known=_is_known(where, base))


def _is_known(where: str, base: BaseModel) -> bool:
    return where == _EVERYTHING or where in base.blocks or base.component(where) is not None


def _pattern(where: str, base: BaseModel) -> re.Pattern[str]:
    if where == _EVERYTHING:
        return re.compile("")
    if where.startswith("/"):
        try:
            return re.compile(where[1:-1])
        except re.error as error:
            raise InvalidArgument(f"weights: {where} is no regular expression: {error}") from error
    if where in base.blocks:
        return re.compile("|".join(_beginning(each).pattern for each in base.blocks[where]))
    if base.component(where.partition(".")[0]) is None:
        raise InvalidArgument(
            f"weights: {where!r} is no file, no preset and no part of {base.title}; {_known(where, base)}"
        )
    return _beginning(where)


def _beginning(name: str) -> re.Pattern[str]:
    return re.compile(rf"^{re.escape(name)}(?:\.|$)")


def _known(where: str, base: BaseModel) -> str:
    import difflib

    names = [*(part.name for part in base.components), *base.presets, *base.blocks]
    near = difflib.get_close_matches(where.partition(".")[0], names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(names)}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(token: str, text: str) -> float:
    if not _is_number(text):
        raise InvalidArgument(f"weights: {token!r} ends with no number; write WHERE=NUMBER, as in unet=0.7")
    return checked_strength(float(text), f"weights: {token!r}")
