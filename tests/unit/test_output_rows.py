"""Rows that commands print: whatever stands in a file, it stays in its own row."""

from __future__ import annotations

import pytest

from lorry.cli.output import columns, table


@pytest.mark.parametrize("show", [columns, lambda headings, rows: table("", headings, rows)])
@pytest.mark.parametrize("text", ["one\ntwo", "one\r\ntwo", "one\x0btwo", "one\u2028two"])
def test_a_cell_is_one_row(show: object, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(show)
    show(("name", "title"), [("cat", text), ("dog", "three")])
    assert len(capsys.readouterr().out.splitlines()) == 3
