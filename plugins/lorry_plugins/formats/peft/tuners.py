"""The configuration that makes peft read a set of layers as they are meant, one type of tuner at a time.

Source: peft src/peft/tuners/*/config.py, and `update_layer` of each tuner for what a field makes of a module.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lorry.errors import NotRepresentable
from lorry.plugin import NamedLayer

_TYPES = {
    "lora": "LORA", "dora": "LORA", "diff": "LORA", "loha": "LOHA", "lokr": "LOKR", "ia3": "IA3", "oft": "OFT",
    "input-boft": "BOFT", "vera": "VERA",
}  # fmt: skip
"""The type of tuner by kind; a difference stands here as the bias of a LoRA, and so may kinds of other plugins."""


def configuration(layers: Sequence[NamedLayer]) -> dict[str, Any]:
    """Return the fields of the configuration; raise NotRepresentable for layers that no one tuner holds together."""
    types = Counter(_TYPES.get(named.layer.kind, "LORA") for named in layers)
    main = types.most_common(1)[0][0]
    _refuse(
        (named for named in layers if _TYPES.get(named.layer.kind, "LORA") != main),
        f"one configuration speaks of one type of tuner, here {main}",
    )
    return {
        "peft_type": main,
        "target_modules": sorted({named.module for named in layers}),
        **_FIELDS[main](layers),
    }


def _lora(layers: Sequence[NamedLayer]) -> dict[str, Any]:
    biases = [named for named in layers if named.layer.param == "bias"]
    weights = [named for named in layers if named.layer.param != "bias"]
    decomposed = any(named.layer.kind == "dora" for named in weights)
    if decomposed:
        _refuse((named for named in weights if named.layer.kind != "dora"), "DoRA is for all layers or for none")
    return {
        **_ranks(weights, {named.module: named.rank for named in weights}, "lora_alpha"),
        "bias": "none",
        "lora_bias": bool(biases),
        "lora_dropout": 0.0,
        "use_dora": decomposed,
        "use_rslora": False,
    }


def _loha(layers: Sequence[NamedLayer]) -> dict[str, Any]:
    return {
        **_ranks(layers, {named.module: named.rank for named in layers}, "alpha"),
        "use_effective_conv2d": any("t1" in named.layer.slots for named in layers),
    }


def _lokr(layers: Sequence[NamedLayer]) -> dict[str, Any]:
    """Choose ranks by which peft takes the same matrices for full, and the factor that cuts every weight so."""
    ranks = {named.module: named.rank or max(named.layer.slots["w2"].shape[:2]) for named in layers}
    both = any("w1_a" in named.layer.slots for named in layers)
    for named in layers:
        slots, rank = named.layer.slots, ranks[named.module]
        first = both and 2 * rank < max(_outer(slots))
        fits = first == ("w1_a" in slots) and (2 * rank < max(_inner(slots))) == ("w2_a" in slots)
        if not fits:
            _refuse([named], "by its rank peft would take another of its matrices for full")
    pairs = [(named, pair) for named in layers for pair in _pairs(named.layer.slots)]
    factors = (-1, *sorted({small for _, (small, _) in pairs}))
    factor = next((each for each in factors if all(_cut(math.prod(pair), each) == pair for _, pair in pairs)), -1)
    _refuse(
        (named for named, pair in pairs if _cut(math.prod(pair), factor) != pair),
        "no decompose_factor gives matrices of these sizes in all layers",
    )
    return {
        **_ranks(layers, ranks, "alpha"),
        "decompose_both": both,
        "decompose_factor": factor,
        "use_effective_conv2d": any("t2" in named.layer.slots for named in layers),
    }


def _ia3(layers: Sequence[NamedLayer]) -> dict[str, Any]:
    return {"feedforward_modules": sorted(named.module for named in layers if "columns" in named.layer.slots)}


def _oft(layers: Sequence[NamedLayer]) -> dict[str, Any]:
    shapes = {named.layer.slots["generators"].shape[1] for named in layers}
    told = {tuple(sorted(named.layer.options.items())) for named in layers}
    if len(shapes) > 1 or len(told) > 1:
        _refuse(layers[1:], "one configuration has one size of block and one way to rotate")
    options = layers[0].layer.options
    terms, limit = options.get("terms", 5), options.get("limit", 0.0)
    return {
        "oft_block_size": (1 + math.isqrt(1 + 8 * shapes.pop())) // 2,
        "r": 0,
        "block_share": all(named.layer.slots["generators"].shape[0] == 1 for named in layers),
        "coft": bool(limit),
        "eps": limit or 6e-5,
        "use_cayley_neumann": bool(terms),
        "num_cayley_neumann_terms": terms or 5,
    }


def _boft(layers: Sequence[NamedLayer]) -> dict[str, Any]:
    shapes = {(ref.shape[0], ref.shape[2]) for named in layers for ref in [named.layer.slots["blocks"]]}
    if len(shapes) > 1:
        _refuse(layers[1:], "one configuration has one size of block and one number of stages")
    stages, size = shapes.pop()
    return {"boft_block_num": 0, "boft_block_size": size, "boft_n_butterfly_factor": stages, "bias": "none"}


def _vera(layers: Sequence[NamedLayer]) -> dict[str, Any]:
    return {"projection_prng_key": 0, "r": layers[0].layer.slots["lambda_d"].numel, "save_projection": True}


_FIELDS: Mapping[str, Callable[[Sequence[NamedLayer]], dict[str, Any]]] = {
    "LORA": _lora, "LOHA": _loha, "LOKR": _lokr, "IA3": _ia3, "OFT": _oft, "BOFT": _boft, "VERA": _vera,
}  # fmt: skip


def _ranks(layers: Sequence[NamedLayer], ranks: Mapping[str, int], alpha: str) -> dict[str, Any]:
    """Write rank and alpha: the commonest of each, and the exceptions as patterns."""
    alphas = {named.module: _whole(named.layer.scale * ranks[named.module]) for named in layers}
    rank = Counter(ranks.values()).most_common(1)[0][0]
    common = Counter(alphas.values()).most_common(1)[0][0]
    return {
        alpha: common,
        "alpha_pattern": {f"^{module}": value for module, value in sorted(alphas.items()) if value != common},
        "r": rank,
        "rank_pattern": {f"^{module}": value for module, value in sorted(ranks.items()) if value != rank},
    }


def _whole(value: float) -> float:
    """Write 8, not 8.0, as peft does."""
    return int(value) if value == int(value) else value


def _outer(slots: Mapping[str, Any]) -> tuple[int, int]:
    """Return rows and columns of w1."""
    if "w1" in slots:
        rows, columns = slots["w1"].shape
        return rows, columns
    return slots["w1_a"].shape[0], slots["w1_b"].shape[1]


def _inner(slots: Mapping[str, Any]) -> tuple[int, int]:
    """Return rows and columns of w2; its kernel is left out."""
    if "w2" in slots:
        return slots["w2"].shape[0], slots["w2"].shape[1]
    return slots["w2_a"].shape[1 if "t2" in slots else 0], slots["w2_b"].shape[1]


def _pairs(slots: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return what the weight's rows and columns are cut into."""
    return list(zip(_outer(slots), _inner(slots), strict=True))


def _cut(size: int, factor: int) -> tuple[int, int]:
    """Return the two sizes peft cuts a dimension into: src/peft/tuners/lycoris_utils.py and lokr (`factorization`)."""
    if factor > 0 and size % factor == 0:
        return min(factor, size // factor), max(factor, size // factor)
    most = size if factor < 0 else factor
    best = (1, size)
    for small in range(2, math.isqrt(size) + 1):
        if size % small == 0 and small <= most:
            best = (small, size // small)
    return best


def _refuse(layers: Iterable[NamedLayer], why: str) -> None:
    refused = {str(named.path): why for named in layers}
    if refused:
        raise NotRepresentable("peft", refused)
