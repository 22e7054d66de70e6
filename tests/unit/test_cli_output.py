"""What commands print for programs is JSON that strict parsers read."""

from __future__ import annotations

import json
import math

import pytest

from lorry.cli.output import echo_json


def _refused(word: str) -> None:
    pytest.fail(f"{word} is no JSON")


@pytest.mark.parametrize("indent", [2, None])
def test_what_is_no_finite_number_is_null(indent: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    echo_json({"error": math.nan, "layers": [(1.5, math.inf), {"scale": -math.inf}]}, indent=indent)
    told = json.loads(capsys.readouterr().out, parse_constant=_refused)
    assert told == {"error": None, "layers": [[1.5, None], {"scale": None}]}
