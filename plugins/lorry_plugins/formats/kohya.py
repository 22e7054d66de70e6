"""The kohya dialect: `lora_unet_` and the module name flattened with underscores, alpha as a tensor.

Written by sd-scripts, LyCORIS, OneTrainer and most of Civitai. Learned tokens travel in the same file as
`bundle_emb` keys, which A1111, Forge and ComfyUI read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from lorry.ir import TensorMap
from lorry.plugin import Dialect, hookimpl

LORRY_API = 1

_PREFIXES = ("lora_unet_", "lora_te", "oft_unet_", "bundle_emb.")


def _refuse(source: TensorMap) -> str | None:
    if source.begins(*_PREFIXES):
        return None
    return f"no key starts with {', '.join(_PREFIXES)}"


def _facts(source: TensorMap) -> Mapping[str, Any]:
    """Tell whether LyCORIS was asked for rs_lora: it does not fold it into every kind's alpha."""
    return {"rs_lora": True} if _asked(source, "rs_lora") else {}


def _doubts(source: TensorMap) -> Iterator[tuple[str, str]]:
    """Yield what sd-scripts' split_qkv leaves open; source: networks/lora_flux.py, `split_dims`."""
    if _asked(source, "split_qkv"):
        why = (
            "it was trained with split_qkv, where sd-scripts stores a module's parts as one of three or four times the "
            "rank with the alpha of a part, so that what was trained may have been that many times stronger; read as "
            "alpha / rank, as every tool reads it"
        )
        yield "scale", why


def _asked(source: TensorMap, option: str) -> bool:
    """Tell whether the trainer's arguments switch an option on."""
    try:
        arguments = json.loads(source.metadata.get("ss_network_args", "{}"))
    except (ValueError, RecursionError):  # a stranger's note, which nothing else depends on
        return False
    return isinstance(arguments, dict) and str(arguments.get(option)).lower() in ("true", "1")


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
            doubts=_doubts,
        )
    ]
