"""The kohya dialect: `lora_unet_` and the module name flattened with underscores, alpha as a tensor.

Written by sd-scripts, LyCORIS, OneTrainer and most of Civitai. Learned tokens travel in the same file as
`bundle_emb` keys, which A1111, Forge and ComfyUI read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lorry.ir import TensorMap
from lorry.plugin import Dialect, hookimpl

LORRY_API = 1

_PREFIXES = ("lora_unet_", "lora_te", "oft_unet_", "bundle_emb.")


def _refuse(source: TensorMap) -> str | None:
    if any(key.startswith(_PREFIXES) for key in source.tensors):
        return None
    return f"no key starts with {', '.join(_PREFIXES)}"


def _facts(source: TensorMap) -> Mapping[str, Any]:
    """Tell whether LyCORIS was asked for rs_lora: it does not fold it into every kind's alpha."""
    try:
        arguments = json.loads(source.metadata.get("ss_network_args", "{}"))
    except (ValueError, RecursionError):  # a stranger's note, which nothing else depends on
        return {}
    asked = isinstance(arguments, dict) and str(arguments.get("rs_lora")).lower() in ("true", "1")
    return {"rs_lora": True} if asked else {}


@hookimpl
def lorry_dialects() -> list[Dialect]:
    """Offer the dialect."""
    return [
        Dialect(
            name="kohya",
            title="kohya (sd-scripts, LyCORIS, A1111, ComfyUI)",
            containers=("safetensors", "ckpt"),
            naming="kohya",
            separator="_",
            spellings=("kohya",),
            tokens=("bundle_emb", "emb_params"),
            refuse=_refuse,
            facts=_facts,
        )
    ]
