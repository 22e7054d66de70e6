"""The dialects that OneTrainer alone writes; it also writes kohya's, ComfyUI's, diffusers' and BFL's.

Source: OneTrainer modules/util/convert/lora/convert_flux_lora.py and convert_lora_util.py (`LoraConversionKeySet`).
"""

from __future__ import annotations

from collections.abc import Callable

from lorry.ir import TensorMap
from lorry.plugin import Dialect, hookimpl

LORRY_API = 1

_LEGACY = ("lora_transformer_",)
_OMI = ("transformer.", "unet.", "clip_l.", "clip_g.", "clip_h.", "t5.")
_DOTTED = ("transformer.", "unet.", "text_encoder.", "text_encoder_2.")


def _starting(leads: tuple[str, ...], *, without: str = "") -> Callable[[TensorMap], str | None]:
    def refuse(source: TensorMap) -> str | None:
        if not source.begins(*leads):
            return f"no key starts with {', '.join(leads)}"
        found = next((key for key in source.tensors if without in key), None) if without else None
        return f"{found!r} has {without}" if found else None

    return refuse


@hookimpl
def lorry_dialects() -> list[Dialect]:
    """Offer them."""
    return [
        Dialect(
            name="onetrainer",
            title="OneTrainer LEGACY (lora_transformer_; FLUX.1)",
            naming="onetrainer",
            separator="_",
            spellings=("kohya",),
            tokens=("bundle_emb",),
            refuse=_starting(_LEGACY),
        ),
        Dialect(
            name="onetrainer-dotted",
            title="OneTrainer LEGACY (diffusers' names with lora_down and lora_up; FLUX.2)",
            naming="diffusers",
            spellings=("kohya",),
            tokens=("bundle_emb",),
            refuse=_starting(_DOTTED, without=".lora_A."),
        ),
        Dialect(
            name="omi",
            title="OMI (OneTrainer 2025, InvokeAI): the single-file names, every part by itself",
            naming="omi",
            spellings=("kohya",),
            tokens=("bundle_emb",),
            refuse=_starting(_OMI, without=".lora_A."),
        ),
    ]
