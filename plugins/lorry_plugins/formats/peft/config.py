"""peft's configuration as a rule for the scale: alpha / rank, or alpha / √rank.

Source: peft src/peft/tuners/lora/config.py (LoraConfig), tuners/lora/layer.py (`update_layer`), tuners/loha and
tuners/lokr, and utils/other.py (`get_pattern_key`); rsLoRA is Kalajdzievski, arXiv:2312.03732, equation 5.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from lorry.errors import InvalidFile

_LONGEST_PATTERN = 512
_QUANTIFIED_GROUP = re.compile(r"\)\s*[*+{?]")
_REPEAT = re.compile(r"[*+{]")
_MOST_REPEATS = 3
"""Each repeat multiplies the time of a miss by the length of the name."""


_ALPHA = {"LORA": "lora_alpha", "LOHA": "alpha", "LOKR": "alpha"}
"""Where each type that has a scale keeps its alpha."""


class PeftConfig(NamedTuple):
    """The fields that decide the scale; patterns map a module name or its ending to a number."""

    alpha: float
    alpha_pattern: Mapping[str, float]
    rank: float
    rank_pattern: Mapping[str, float]
    rslora: bool

    @classmethod
    def read(cls, fields: Mapping[str, Any], where: str) -> PeftConfig:
        """Take them from a configuration; raise InvalidFile, saying `where`, for what is no configuration."""
        name = _ALPHA.get(fields.get("peft_type") or "LORA", "alpha")
        for key in (name, "r"):
            if not _is_number(fields.get(key, 1 if key == "r" else None)):
                raise InvalidFile(f"{where}: {key} is {fields.get(key)!r}, a number was expected")
        return cls(
            alpha=float(fields[name]),
            alpha_pattern=_pattern(fields, "alpha_pattern", where),
            rank=float(fields.get("r", 1)),
            rank_pattern=_pattern(fields, "rank_pattern", where),
            rslora=bool(fields.get("use_rslora")),
        )

    @classmethod
    def has_scale(cls, fields: Mapping[str, Any]) -> bool:
        """Tell whether this type of configuration has a scale at all."""
        return (fields.get("peft_type") or "LORA") in _ALPHA

    def scale(self, module: str, rank: int) -> float:
        """Return the scale of a module of that rank; where its tensors tell none (0), the configuration does."""
        alpha = _matching(self.alpha_pattern, module, self.alpha)
        rank = rank or int(_matching(self.rank_pattern, module, self.rank)) or 1
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _pattern(fields: Mapping[str, Any], name: str, where: str) -> Mapping[str, float]:
    patterns = fields.get(name) or {}
    if not isinstance(patterns, dict) or not all(_is_number(value) for value in patterns.values()):
        raise InvalidFile(f"{where}: {name} must map module names to numbers")
    for pattern in patterns:
        _check(pattern, where)
    return patterns


def _check(pattern: str, where: str) -> None:
    """Refuse patterns that could keep the regular expression engine busy for ever: the file is a stranger's."""
    repeats = len(_REPEAT.findall(pattern))
    if len(pattern) > _LONGEST_PATTERN or repeats > _MOST_REPEATS or _QUANTIFIED_GROUP.search(pattern):
        raise InvalidFile(
            f"{where}: the pattern {pattern[:60]!r} is too long, repeats a group or repeats too often, which is refused"
        )
    try:
        re.compile(pattern)
    except re.error as error:
        raise InvalidFile(f"{where}: {pattern!r} is no regular expression: {error}") from error


def _matching(patterns: Mapping[str, float], module: str, default: float) -> float:
    found = (value for pattern, value in patterns.items() if re.match(rf"(.*\.)?({pattern})$", module))
    return float(next(found, default))
