"""Single-file names after `diffusion_model.`: with kohya's slots as ComfyUI writes them, or peft's as ai-toolkit does.

Source: ComfyUI comfy/lora.py, `model_lora_keys_unet` and `model_lora_keys_clip`.
"""

from __future__ import annotations

from lorry.ir import TensorMap
from lorry.plugin import Dialect, hookimpl

LORRY_API = 1

_LEADS = ("diffusion_model.", "text_encoders.")


def _refuse_comfy(source: TensorMap) -> str | None:
    if not source.begins(*_LEADS):
        return f"no key starts with {' or '.join(_LEADS)}"
    return "lora_A without lora_down is ai-toolkit's" if _is_peft(source) else None


def _refuse_ai_toolkit(source: TensorMap) -> str | None:
    if not source.begins(*_LEADS):
        return f"no key starts with {' or '.join(_LEADS)}"
    return None if _is_peft(source) else "lora_down and lora_up are ComfyUI's"


def _is_peft(source: TensorMap) -> bool:
    return source.mentions(".lora_A.") and not source.mentions(".lora_down.")


@hookimpl
def lorry_dialects() -> list[Dialect]:
    """Offer both."""
    return [
        Dialect(
            name="comfy",
            title="ComfyUI (diffusion_model.; OneTrainer COMFY, ai-toolkit LoKr)",
            naming="comfy",
            spellings=("kohya", "peft"),
            tokens=("bundle_emb",),
            refuse=_refuse_comfy,
        ),
        Dialect(
            name="ai-toolkit",
            title="ai-toolkit (diffusion_model. with lora_A and lora_B)",
            naming="comfy",
            spellings=("peft-bare", "peft"),  # the trainer folds alpha in, and diffusers raises for it on FLUX.2
            tokens=("bundle_emb", "emb_params"),
            refuse=_refuse_ai_toolkit,
            metadata={"format": "pt"},
        ),
    ]
