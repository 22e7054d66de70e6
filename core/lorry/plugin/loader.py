"""A loader: a tool that people load adapters into, with rules that say which ones it loads right."""

from __future__ import annotations

from typing import NamedTuple

LOADS = "loads"
WRONG = "loads wrong"
NOT = "not"

BAKE = "bake"
"""The `mend` of what no format brings into the tool: add it to the weights of the base instead."""


class Rule(NamedTuple):
    """One rule: the facts of an adapter that it is for, the verdict, why, and what mends it.

    `when` is a list of predicates with spaces between them, all of which must hold ("" always does). One is a
    field, an operator and values with | between them; a ! before it turns it round:

        kind=lora|dora      one of the field's values is one of these
        kind<lora|dora      every value is one of these
        key~.alpha$|^unet.  one of the values has one of these in it; ^ is its start and $ its end

    Fields: dialect, container, base, kind (of layers), component (of layers), module (its path), slot, key (as
    it stands in the source), scaled (yes: a scale that is not 1), uneven (paths of modules whose alpha is not
    their component's commonest), doubt (what the file does not tell), tokens (only, beside).

    `verdict` is "loads", "loads wrong" (in part, or at another strength) or "not". `mend` is the format to
    convert to, or "bake"; "" where nothing lorry does helps.
    """

    when: str
    verdict: str
    because: str = ""
    mend: str = ""


class Loader(NamedTuple):
    """A tool with its version and its rules, of which the first that holds decides.

    `evidence` says where the rules come from: "measured" against the tool itself, or "from source, untested".
    An adapter that no rule is for is told so: nothing is guessed.

    `layers` and `tokens` are where in its own folder the tool looks for files of adapters and of learned tokens alone:
    lorry link puts them there ("": it has no such place). `side` is the ending of the file beside them in which it
    looks for trigger words, one that `lorry.ops.headers.sides` writes ("": none).
    """

    name: str
    title: str
    version: str
    evidence: str
    rules: tuple[Rule, ...]
    layers: str = ""
    tokens: str = ""
    side: str = ""
