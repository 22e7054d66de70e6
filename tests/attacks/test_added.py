"""Every attack of the corpus, given to lorry add: what is rejected never gets in, what is sound does, nothing runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lorry.ops.judging.findings import ACCEPT, REJECT
from lorry_registry import Registry
from lorry_registry.adding.add import ADDED, Wishes

from .attack import MARKER, Attack
from .corpus import CORPUS

WHOLE, FEW = ("contents", "folders"), 5
"""Rooms that are taken whole; of the others, which the reader's own test opens one by one, a few are enough here."""

REFUSED = {"a pipe beside the weights"}
"""What may be read, and is not taken in: a folder is taken whole or not at all."""

ENTRIES = [
    pytest.param(name, each, id=f"{room}-{name}")
    for room, table in CORPUS.items()
    for name, each in (table.items() if room in WHOLE else [*table.items()][:FEW])
]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs links and pipes")
@pytest.mark.parametrize(("name", "attack"), ENTRIES)
def test_an_attack_gets_in_only_where_nothing_is_wrong(
    name: str, attack: Attack, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    registry = Registry(home)
    (outcome,) = registry.add([str(attack.put(tmp_path))], "demo/a@1.0.0", Wishes(warned=True))
    if attack.verdict == REJECT or name in REFUSED:
        assert (outcome.outcome, registry.ls()) == ("refused", [])
    elif attack.verdict == ACCEPT:
        assert outcome.outcome == ADDED, outcome.why
    assert not list(home.rglob("*.part"))
    assert not Path(MARKER).exists()
