"""Merge methods: `sum`, the exact weighted sum of deltas."""

from __future__ import annotations

from collections.abc import Sequence

from lorry.errors import Conflict, Incompatible
from lorry.ir import Adapter, Layer, ModulePath, Token
from lorry.ops.stack import stack
from lorry.plugin import MergeMethod, hookimpl
from lorry.plugin.host import host

LORRY_API = 1


def exact_sum(adapters: Sequence[tuple[Adapter, float]]) -> Adapter:
    """Return the adapter whose delta is Σ wᵢ·ΔWᵢ on every module: factors side by side, ranks added up."""
    grouped: dict[ModulePath, dict[tuple[str, str], list[tuple[Layer, float]]]] = {}
    for adapter, weight in adapters:
        for path, layers in adapter.layers.items():
            for layer in layers:
                grouped.setdefault(path, {}).setdefault((layer.kind, layer.param), []).append((layer, weight))
    summed = {
        path: tuple(_sum(path, kind, same) for (kind, _), same in by_kind.items()) for path, by_kind in grouped.items()
    }
    return Adapter(base=adapters[0][0].base, layers=summed, tokens=_tokens([adapter for adapter, _ in adapters]))


def _sum(path: ModulePath, name: str, layers: Sequence[tuple[Layer, float]]) -> Layer:
    kind = host().get("kinds", name)
    if kind.factors is None:
        raise Incompatible(f"{path}: {kind.title} is not linear in its factors, so sum cannot add it up exactly")
    return stack(layers, kind)


def _tokens(adapters: Sequence[Adapter]) -> dict[str, Token]:
    tokens: dict[str, Token] = {}
    for adapter in adapters:
        for text, token in adapter.tokens.items():
            if not tokens.setdefault(text, token).same(token):
                raise Conflict(f"two adapters teach the token {text!r} different vectors; rename one of them first")
    return tokens


@hookimpl
def lorry_merge_methods() -> list[MergeMethod]:
    """Offer the methods."""
    return [
        MergeMethod(
            name="sum",
            title="exact weighted sum",
            formula="ΔW = Σ wᵢ·ΔWᵢ, by [w₁U₁ … wₙUₙ] · [D₁; …; Dₙ]",
            source="block multiplication of matrices; no approximation",
            merge=exact_sum,
        )
    ]
