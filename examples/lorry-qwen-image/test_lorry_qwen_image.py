"""The table keeps every law of base tables."""

from lorry_qwen_image import QWEN_IMAGE

from lorry.testing import check_base_model


def test_the_table() -> None:
    """Hold it to them."""
    check_base_model(QWEN_IMAGE)
