"""The kind and the dialect keep every law of theirs."""

from lorry_hello import GAIN, HELLO

from lorry.testing import check_dialect, check_kind


def test_the_kind() -> None:
    """Hold it to them."""
    check_kind(GAIN)


def test_the_dialect() -> None:
    """Hold it to them."""
    check_dialect(HELLO)
