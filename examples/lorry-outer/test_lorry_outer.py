"""The kind keeps every law of kinds."""

from lorry_outer import OUTER

from lorry.testing import check_kind


def test_the_kind() -> None:
    """Hold it to them."""
    check_kind(OUTER)
