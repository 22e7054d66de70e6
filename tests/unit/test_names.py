"""Names to modules and back, by templates."""

from __future__ import annotations

import pytest

from lorry.errors import Conflict
from lorry.ops.reading.names import OWN, name_table
from lorry.plugin import Component, View

PARTS = ("blocks.{i}.to_q", "blocks.{i}.to_k")

COMPONENT = Component(
    name="net",
    modules=(
        "blocks.{i}.to_q",
        "blocks.{i}.to_k",
        "blocks.{i}.sub_net.{j}.ff",
        "blocks.{i}.sub_net.{i}.self",
        "stem_in",
    ),
    schemes={
        "native": (
            View("layers.{i}.qk", PARTS, (1, 3)),
            View("layers.7.special", ("blocks.0.sub_net.0.ff",)),
            View("head", ("stem_in",), flip=True),
        ),
        "doubled": (View("layers.{i}.x", ("blocks.{i}.to_q",)), View("layers.{k}.x", ("blocks.{k}.to_k",))),
    },
)


@pytest.mark.parametrize(
    ("name", "separator", "parts"),
    [
        ("blocks.3.to_q", ".", ("blocks.3.to_q",)),
        ("blocks_3_to_q", "_", ("blocks.3.to_q",)),
        ("blocks_12_sub_net_40_ff", "_", ("blocks.12.sub_net.40.ff",)),
        ("stem_in", "_", ("stem_in",)),
        ("stem_in", ".", ("stem_in",)),
        ("blocks_0_to_q", "_", ("blocks.0.to_q",)),
    ],
)
def test_a_name_is_found_dotted_and_flattened_at_any_depth(name: str, separator: str, parts: tuple[str, ...]) -> None:
    found = name_table(COMPONENT, OWN, separator).find(name)
    assert found is not None
    assert found.parts == parts


@pytest.mark.parametrize(
    "name",
    [
        "blocks_to_q",
        "blocks_3_to_q_extra",
        "blocks_x_to_q",
        "BLOCKS_3_to_q",
        "blocks.3.to_q",
        "blocks_03_to_q",
        "blocks_٣_to_q",
        "blocks_²_to_q",
        "blocks_-3_to_q",
        "blocks_" + "9" * 5000 + "_to_q",
        "",
        "_",
    ],
)
def test_what_no_template_spells_is_not_found(name: str) -> None:
    assert name_table(COMPONENT, OWN, "_").find(name) is None


def test_one_index_name_means_one_number() -> None:
    table = name_table(COMPONENT, OWN, ".")
    assert table.find("blocks.4.sub_net.4.self") is not None
    assert table.find("blocks.4.sub_net.5.self") is None


def test_a_literal_number_is_only_itself() -> None:
    table = name_table(COMPONENT, "native", "_")
    assert table.find("layers_7_special") is not None
    assert table.find("layers_8_special") is None


def test_a_view_tells_its_parts_their_shares_and_the_flip() -> None:
    table = name_table(COMPONENT, "native", "_")
    fused, flipped = table.find("layers_5_qk"), table.find("head")
    assert fused is not None
    assert (fused.parts, fused.rows, fused.flip) == (("blocks.5.to_q", "blocks.5.to_k"), (1, 3), False)
    assert flipped is not None
    assert flipped.flip


def test_a_name_that_two_templates_claim_is_a_conflict_that_names_the_scheme() -> None:
    with pytest.raises(Conflict, match=r"'layers_2_x' means .* in scheme doubled of net"):
        name_table(COMPONENT, "doubled", "_").find("layers_2_x")


def test_a_scheme_the_component_lacks_knows_nothing() -> None:
    assert name_table(COMPONENT, "nowhere", ".").find("blocks.3.to_q") is None


def test_covering_gives_the_fused_name_with_the_separator() -> None:
    (found,) = name_table(COMPONENT, "native", "_").covering("blocks.5.to_k")
    assert (found.name, found.parts) == ("layers_5_qk", ("blocks.5.to_q", "blocks.5.to_k"))
    assert not list(name_table(COMPONENT, "native", "_").covering("blocks.5.sub_net.1.ff"))
