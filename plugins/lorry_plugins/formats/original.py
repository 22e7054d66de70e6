"""Single-file names as they are (`double_blocks.0.img_attn.qkv`, `input_blocks.4.1.…`), bare or in a peft model.

Source: Black Forest Labs flux/util.py and flux/modules/lora.py; diffusers loaders/lora_conversion_utils.py,
`_convert_bfl_flux_control_lora_to_diffusers` and `_convert_fal_kontext_lora_to_diffusers`.
"""

from __future__ import annotations

from lorry.ir import TensorMap
from lorry.plugin import Dialect, hookimpl
from lorry_plugins.formats.scale_doubt import without_alpha

LORRY_API = 1

_FAL = "base_model.model."
_SIDES = "adapter_config.json"
_TOPS = (
    "double_blocks.", "single_blocks.", "img_in.", "txt_in.", "time_in.", "vector_in.", "guidance_in.", "final_layer.",
    "double_stream_modulation_", "single_stream_modulation.",
    "input_blocks.", "middle_block.", "output_blocks.", "time_embed.", "label_emb.", "out.",
)  # fmt: skip
_REPLACED_NORM = ".key_norm.scale"
_POSITIONS = (".processor.", ".to_qkv_mlp.")


def _refuse(source: TensorMap) -> str | None:
    return None if _speaks(source, "") else f"no adapted module starts with {', '.join(_TOPS[:3])} …"


def _refuse_control(source: TensorMap) -> str | None:
    if "img_in.lora_A.weight" in source.tensors and source.ends(_REPLACED_NORM):
        return None
    return f"no img_in.lora_A.weight beside a {_REPLACED_NORM.removeprefix('.')}"


def _refuse_fal(source: TensorMap) -> str | None:
    if _SIDES in source.sides:
        return f"{_SIDES} makes it a peft folder"
    return None if _speaks(source, _FAL) else f"no adapted module starts with {_FAL}{_TOPS[0]} …"


def _speaks(source: TensorMap, lead: str) -> bool:
    return source.begins(*(lead + top for top in _TOPS)) and not source.mentions(*_POSITIONS)


@hookimpl
def lorry_dialects() -> list[Dialect]:
    """Offer all three."""
    return [
        Dialect(
            name="bfl-control",
            title="Black Forest Labs' control LoRAs (norms replaced, the image's input widened)",
            naming="original",
            spellings=("bfl-control",),
            refuse=_refuse_control,
        ),
        Dialect(
            name="bfl",
            title="Black Forest Labs (bare names; OneTrainer ORIGINAL)",
            naming="original",
            spellings=("peft", "kohya"),
            tokens=("bundle_emb",),
            refuse=_refuse,
        ),
        Dialect(
            name="fal",
            title="fal (base_model.model. and BFL's names; peft on BFL's code)",
            lead=_FAL,
            doubts=without_alpha("fal's trainer, whose alpha is its rank, is not the only one to save such names"),
            naming="original",
            spellings=("peft-bare", "peft", "kohya"),
            refuse=_refuse_fal,
        ),
    ]
