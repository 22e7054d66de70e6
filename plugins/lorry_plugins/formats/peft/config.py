"""peft's LoRA configuration as a rule for the scale: alpha / rank, or alpha / √rank.

Source: peft src/peft/tuners/lora/config.py (LoraConfig), tuners/lora/layer.py (`update_layer`) and
utils/other.py (`get_pattern_key`); rsLoRA is Kalajdzievski, arXiv:2312.03732, equation 5.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lorry.errors import InvalidFile
from lorry.plugin import NamedLayer

_LONGEST_PATTERN = 512
_QUANTIFIED_GROUP = re.compile(r"\)\s*[*+{?]")
_REPEAT = re.compile(r"[*+{]")
_MOST_REPEATS = 3
"""Each repeat multiplies the time of a miss by the length of the name."""


@dataclass(frozen=True, slots=True)
class PeftConfig:
    """The fields of LoraConfig that decide the scale; patterns map a module name or its ending to a number."""

    alpha: float
    alpha_pattern: Mapping[str, float]
    rslora: bool

    @classmethod
    def read(cls, fields: Mapping[str, Any], where: str) -> PeftConfig:
        """Take them from a configuration; raise InvalidFile, saying `where`, for what is no configuration."""
        alpha, patterns = fields.get("lora_alpha"), fields.get("alpha_pattern") or {}
        if alpha is None or not _is_number(alpha):
            raise InvalidFile(f"{where}: lora_alpha is {alpha!r}, a number was expected")
        if not isinstance(patterns, dict) or not all(_is_number(value) for value in patterns.values()):
            raise InvalidFile(f"{where}: alpha_pattern must map module names to numbers")
        for pattern in patterns:
            _check(pattern, where)
        return cls(float(alpha), patterns, rslora=bool(fields.get("use_rslora")))

    def scale(self, module: str, rank: int) -> float:
        """Return the scale of a module of that rank."""
        matching = (value for pattern, value in self.alpha_pattern.items() if _matches(pattern, module))
        alpha = float(next(matching, self.alpha))
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank


def fields(layers: Sequence[NamedLayer]) -> dict[str, Any]:
    """Write the configuration that gives every layer its scale: the commonest rank and alpha, and exceptions."""
    alphas = {named.module: _whole(named.layer.scale * named.rank) for named in layers}
    ranks = {named.module: named.rank for named in layers}
    rank = Counter(ranks.values()).most_common(1)[0][0]
    alpha = Counter(alphas.values()).most_common(1)[0][0]
    return {
        "alpha_pattern": {f"^{module}": value for module, value in sorted(alphas.items()) if value != alpha},
        "bias": "none",
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": {f"^{module}": value for module, value in sorted(ranks.items()) if value != rank},
        "target_modules": sorted(ranks),
        "use_dora": False,
        "use_rslora": False,
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _whole(value: float) -> float:
    """Write 8, not 8.0, as peft does."""
    return int(value) if value == int(value) else value


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


def _matches(pattern: str, module: str) -> bool:
    return re.match(rf"(.*\.)?({pattern})$", module) is not None
