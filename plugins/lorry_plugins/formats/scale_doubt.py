"""What a file of peft's factors leaves open where neither an alpha tensor nor a configuration came with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lorry.ir import TensorMap

_FACTOR, _ALPHA = ".lora_A.", ".alpha"


def without_alpha(writers: str) -> Callable[[TensorMap], Iterator[tuple[str, str]]]:
    """Return the doubt about the scale of a dialect's files without alpha; `writers` says what is known of it."""

    def doubts(source: TensorMap) -> Iterator[tuple[str, str]]:
        if source.mentions(_FACTOR) and not source.ends(_ALPHA):
            yield "scale", f"there is no alpha tensor, and {writers}; read as 1"

    return doubts
