"""Merge methods: a file each, with the formula it computes and where that comes from."""

from __future__ import annotations

from lorry.plugin import MergeMethod, hookimpl
from lorry_plugins.tools.merge_methods.breadcrumbs import BREADCRUMBS
from lorry_plugins.tools.merge_methods.dare import DARE, DARE_TIES
from lorry_plugins.tools.merge_methods.della import DELLA
from lorry_plugins.tools.merge_methods.exact_sum import SUM, SVD
from lorry_plugins.tools.merge_methods.knots import KNOTS
from lorry_plugins.tools.merge_methods.linear_factors import LINEAR_FACTORS
from lorry_plugins.tools.merge_methods.magnitude import MAGNITUDE
from lorry_plugins.tools.merge_methods.orthogonal import ORTHOGONAL
from lorry_plugins.tools.merge_methods.slerp import SLERP
from lorry_plugins.tools.merge_methods.ties import TIES

LORRY_API = 1


@hookimpl
def lorry_merge_methods() -> list[MergeMethod]:
    """Offer the methods, the exact ones first."""
    return [
        SUM, SVD, SLERP, ORTHOGONAL, KNOTS, TIES, DARE, DARE_TIES, DELLA, BREADCRUMBS, MAGNITUDE, LINEAR_FACTORS,
    ]  # fmt: skip
