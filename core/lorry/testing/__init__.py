"""The conformance kit: one line in a plugin's own tests holds it to every law of its contract.

    from lorry.testing import check_kind
    from lorry_mine import MINE

    def test_mine():
        check_kind(MINE)

A broken law is an AssertionError that says which one, and on what example. `strategies` draws adapters of every
kind for hypothesis. Whatever else is installed takes part: a new kind is tried in every dialect that spells it.
"""

from importlib.util import find_spec

from lorry.errors import MissingExtra

if find_spec("hypothesis") is None or find_spec("torch") is None:
    raise MissingExtra("lorry.testing", "hypothesis or torch", "testing")

from lorry.testing import strategies as strategies
from lorry.testing.base_model import check_base_model as check_base_model
from lorry.testing.container import check_container as check_container
from lorry.testing.dialect import check_dialect as check_dialect
from lorry.testing.kind import check_kind as check_kind
from lorry.testing.laws import LawBroken as LawBroken
from lorry.testing.merge_method import check_merge_method as check_merge_method
from lorry.testing.samples import Random as Random

__all__ = [
    "LawBroken",
    "Random",
    "check_base_model",
    "check_container",
    "check_dialect",
    "check_kind",
    "check_merge_method",
    "strategies",
]
