"""The options of a merge method: what was given, checked and completed."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

from lorry.errors import InvalidArgument
from lorry.plugin.merge_method import MergeMethod, Option


def settings(method: MergeMethod, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of every option, given as its own type or as text.

    Raises InvalidArgument for an option that the method does not have and for a value that it does not take.
    """
    known = {option.name: option for option in method.options}
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            has = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known) or 'none'}"
            raise InvalidArgument(f"the merge method {method.name} has no option {name!r}; {has}")
    return {
        name: _value(method, option, given[name]) if name in given else option.default for name, option in known.items()
    }


def _value(method: MergeMethod, option: Option, given: Any) -> Any:  # noqa: ANN401  of the option's own type
    kind = float if option.default is None else type(option.default)
    try:
        value = kind(given)
        sound = not isinstance(value, float) or math.isfinite(value)
        sound = sound and (kind is not int or float(given) == value)
    except (TypeError, ValueError):
        sound = False
    if sound and option.choices:
        sound = value in option.choices
    if sound and not isinstance(value, str):
        sound = (option.low is None or value >= option.low) and (option.high is None or value <= option.high)
    if not sound:
        raise InvalidArgument(f"{given!r} is no {option.name} for {method.name}: {option.help} ({accepts(option)})")
    return value


def accepts(option: Option) -> str:
    """Say which values an option takes."""
    if option.choices:
        return ", ".join(option.choices)
    kind = "a whole number" if isinstance(option.default, int) else "a number"
    low, high = (None if each is None else f"{each:g}" for each in (option.low, option.high))
    if low is not None and high is not None:
        return f"{kind} from {low} to {high}"
    return f"{kind} of {low} or more" if low is not None else kind
