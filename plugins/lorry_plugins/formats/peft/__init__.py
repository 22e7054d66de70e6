"""The two dialects that keep the scale in peft's configuration: diffusers' files and peft's own folders."""

from __future__ import annotations

from lorry.ir import TensorMap
from lorry.plugin import Dialect, Header, hookimpl
from lorry_plugins.formats.peft.diffusers import METADATA_KEY, read_metadata, write_metadata
from lorry_plugins.formats.peft.folder import CONFIG_NAME, read_config, read_facts, refuse_folder, write_config

LORRY_API = 1

_LEAD = "base_model.model."


def _refuse_diffusers(source: TensorMap) -> str | None:
    if CONFIG_NAME in source.sides:
        return f"{CONFIG_NAME} makes it a peft folder"
    if METADATA_KEY in source.metadata or source.mentions(".lora_A.") or source.mentions(".lora_embedding_A"):
        return None
    return "no key has .lora_A. or .lora_embedding_A"


@hookimpl
def lorry_dialects() -> list[Dialect]:
    """Offer both."""
    return [
        Dialect(
            name="diffusers",
            title="diffusers (save_lora_weights, ai-toolkit, SimpleTuner)",
            containers=("safetensors", "ckpt", "folder"),
            naming="diffusers",
            spellings=("peft", "peft-embedding"),
            lookups="peft-embedding",
            header=Header(
                read=read_metadata,
                write=write_metadata,
                silence=(
                    f"there is neither an alpha tensor nor {METADATA_KEY} in the header, so the scale the file was "
                    "trained with is not known; read as 1"
                ),
                metadata=(METADATA_KEY,),
            ),
            refuse=_refuse_diffusers,
            companions=(("pytorch_lora_weights.safetensors", "{}_emb.safetensors"),),
            metadata={"format": "pt"},
        ),
        Dialect(
            name="peft",
            title="peft folder (adapter_config.json beside the weights)",
            containers=("folder",),
            lead=_LEAD,
            spellings=("peft", "peft-folder", "peft-embedding"),
            lookups="peft-embedding",
            header=Header(
                read=read_config,
                write=write_config,
                silence=f"there is no {CONFIG_NAME}, so the scale is not known; read as 1",
                sides=(CONFIG_NAME,),
            ),
            refuse=refuse_folder,
            companions=(("unet", "transformer", "text_encoder", "text_encoder_2"),),
            facts=read_facts,
            metadata={"format": "pt"},
        ),
    ]
