"""The LyCORIS dialect: `lycoris_` and the module's own name flattened, of whatever model was wrapped."""

from __future__ import annotations

from lorry.ir import TensorMap
from lorry.plugin import Dialect, hookimpl

LORRY_API = 1

_LEAD = "lycoris_"


def _refuse(source: TensorMap) -> str | None:
    return None if source.begins(_LEAD) else f"no key starts with {_LEAD}"


@hookimpl
def lorry_dialects() -> list[Dialect]:
    """Offer the dialect."""
    return [
        Dialect(
            name="lycoris",
            title="LyCORIS wrapper (SimpleTuner, LyCORIS in a script)",
            lead=_LEAD,
            separator="_",
            spellings=("kohya",),
            refuse=_refuse,
        )
    ]
