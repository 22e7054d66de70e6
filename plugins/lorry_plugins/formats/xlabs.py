"""The XLabs dialect: LoRAs kept in the attention processors of FLUX.1, `double_blocks.0.processor.qkv_lora1`.

Attention alone, and no scale. Source: x-flux src/flux/modules/layers.py, `DoubleStreamBlockLoraProcessor`.
"""

from __future__ import annotations

from lorry.ir import TensorMap
from lorry.plugin import Dialect, hookimpl

LORRY_API = 1

_PARTS = (".processor.qkv_lora", ".processor.proj_lora")


def _refuse(source: TensorMap) -> str | None:
    if source.mentions(*_PARTS):
        return None
    return f"no key has {' or '.join(_PARTS)}"


@hookimpl
def lorry_dialects() -> list[Dialect]:
    """Offer the dialect."""
    return [
        Dialect(
            name="xlabs",
            title="XLabs (x-flux, USO)",
            naming="xlabs",
            spellings=("processor",),
            refuse=_refuse,
        )
    ]
