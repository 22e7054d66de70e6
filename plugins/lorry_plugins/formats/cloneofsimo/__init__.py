"""cloneofsimo/lora, the first LoRA trainer for Stable Diffusion: layers by number, tokens by their own text.

It keeps no scale: what it trained at another one than 1 is read at 1 by itself too.
"""

from __future__ import annotations

from lorry.plugin import Dialect, Renaming, hookimpl
from lorry_plugins.formats.cloneofsimo.files import read, read_list, refuse, refuse_list, write, write_list

LORRY_API = 1


@hookimpl
def lorry_dialects() -> list[Dialect]:
    """Offer both."""
    return [
        Dialect(
            name="cloneofsimo",
            title="cloneofsimo/lora (safetensors with numbered layers and tokens)",
            naming="cloneofsimo",
            spellings=("cloneofsimo",),
            tokens=("cloneofsimo",),
            refuse=refuse,
            renaming=Renaming(read=read, write=write),
        ),
        Dialect(
            name="cloneofsimo-list",
            title="cloneofsimo/lora (a list in a .pt or JSON file)",
            containers=("json", "ckpt"),
            naming="cloneofsimo",
            spellings=("cloneofsimo",),
            refuse=refuse_list,
            companions=(("{}.pt", "{}.text_encoder.pt", "{}.ti.pt"),),
            renaming=Renaming(read=read_list, write=write_list),
        ),
    ]
