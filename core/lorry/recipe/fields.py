"""The plain values a recipe is made of: texts, digests, numbers, each held to what a stranger's may be."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, Strict  # noqa: TID253  this module is only loaded where recipes are read

_EXPRESSION = re.compile(r"/(?:\\.|[^/\\\n])*/")
_REPETITION = re.compile(r"(?<!\\)[*+?{]")
_REPEATED_GROUP = re.compile(r"\)[*+?{]")
_MOST_REPETITIONS = 3
_MOST_EXPRESSIONS = 16


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path:
        raise ValueError(f"{path!r} is no file inside its folder")
    return path


def _quick(weights: str) -> str:
    """Refuse expressions that may take years to match: those of strangers stand here too."""
    expressions = _EXPRESSION.findall(weights)
    for each in expressions:
        if _REPEATED_GROUP.search(each) or len(_REPETITION.findall(each)) > _MOST_REPETITIONS:
            raise ValueError(
                f"{each} repeats a group or has more than {_MOST_REPETITIONS} repetitions, which a recipe must not: "
                "matching it may take years; name the modules, or write several expressions"
            )
    if len(expressions) > _MOST_EXPRESSIONS:
        raise ValueError(f"more than {_MOST_EXPRESSIONS} expressions; name the modules instead")
    return weights


Text = Annotated[str, Field(max_length=4096)]
Weights = Annotated[str, Field(max_length=1 << 20), AfterValidator(_quick)]
Digest = Annotated[str, Field(pattern=r"^(sha256|blake3):[0-9a-f]{64}$")]
Files = dict[Annotated[str, Field(max_length=4096), AfterValidator(_inside)], Digest]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Rank = Annotated[int, Strict(), Field(ge=1)]
Flag = Annotated[bool, Strict()]
Dtype = Literal["F32", "F16", "BF16"]
