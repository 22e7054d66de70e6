"""diffusers of 2023, before peft: LoRAs in attention processors, later in a layer beside each module. No scale.

    unet.….attn1.processor.to_q_lora.down.weight        0.11 to 0.20; as a .bin also without "unet."
    unet.….attn1.to_q.lora.down.weight                  0.20 and 0.21
    text_encoder.….self_attn.to_q_lora.down.weight      0.16 and 0.17
    text_encoder.….self_attn.q_proj.lora_linear_layer.down.weight

Source: diffusers loaders.py of v0.12, v0.17 and v0.21 (`save_attn_procs`, `save_lora_weights`).
"""

from __future__ import annotations

from collections.abc import Callable

from lorry.ir import TensorMap
from lorry.plugin import Dialect, hookimpl

LORRY_API = 1

_PROCESSORS = ("_lora.down.weight", "_lora.up.weight")
_LAYERS = (".lora.down.weight", ".lora_linear_layer.down.weight")


def _refuse_processors(source: TensorMap) -> str | None:
    return None if source.ends(*_PROCESSORS) else f"no key ends with {' or '.join(_PROCESSORS)}"


def _refuse_layers(source: TensorMap) -> str | None:
    if source.ends(*_PROCESSORS):
        return "it has LoRAs in attention processors"
    return None if source.ends(*_LAYERS) else f"no key ends with {' or '.join(_LAYERS)}"


def _dialect(name: str, title: str, refuse: Callable[[TensorMap], str | None]) -> Dialect:
    return Dialect(
        name=name,
        title=title,
        containers=("safetensors", "ckpt"),
        naming=name,
        spellings=("processor",),
        refuse=refuse,
        metadata={"format": "pt"},
    )


@hookimpl
def lorry_dialects() -> list[Dialect]:
    """Offer both."""
    return [
        _dialect("attn-procs", "diffusers until 0.20 (attention processors)", _refuse_processors),
        _dialect("lora-layers", "diffusers 0.20 and 0.21 (lora and lora_linear_layer)", _refuse_layers),
    ]
