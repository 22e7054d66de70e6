"""What no registry lets in or out: an adapter that `lorry validate` rejects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lorry.errors import InvalidFile
from lorry.ir import Adapter
from lorry.ops.findings import REJECT
from lorry.ops.validate import validate
from lorry_registry.reference import Reference


def admit(reference: Reference, adapter: Adapter | Sequence[Path]) -> None:
    """Look at an adapter, or at the files of one; raise InvalidFile for one that is not let in anywhere."""
    verdict = validate(adapter)
    if verdict.verdict == REJECT:
        worst = next(each for each in verdict.findings if each.level == REJECT)
        raise InvalidFile(f"{reference} is not let in: {worst.where}: {worst.what}; lorry validate tells all of it")
