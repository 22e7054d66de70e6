"""Forge: packages_3rdparty/comfyui_lora_collection/lora.py, ComfyUI's loader of 2024. Read there, not run."""

from __future__ import annotations

from lorry.plugin import Loader, Rule
from lorry.plugin.loader import BAKE, LOADS, NOT, WRONG

_NO_NAMES = "it has no map of these names"
_ATTENTION = "attention layers of the U-Net are skipped: their names are unknown"
_BESIDE_ATTENTION = "key~.ff.|.proj_in.|.proj_out.|.conv|.time_emb|^text_encoder.text_model|^text_encoder_2.text_model"

FORGE = Loader(
    name="forge",
    title="Forge",
    version="2 (comfyui_lora_collection 00f1cd36)",
    evidence="from source, untested",
    layers="models/Lora",
    tokens="embeddings",
    side=".json",
    rules=(
        Rule("base=flux2", NOT, "it has no FLUX.2"),
        Rule("tokens=only", LOADS, "from embeddings/, by its file's name in the prompt"),
        Rule("!kind<lora|dora|loha|lokr|loha-dora|lokr-dora|diff|glora", NOT, "it knows no such kind", BAKE),
        Rule("base~sd dialect=diffusers|lora-layers slot=magnitude", NOT, _ATTENTION, BAKE),
        Rule(f"base~sd dialect=diffusers {_BESIDE_ATTENTION}", WRONG, _ATTENTION, "kohya"),
        Rule("base~sd dialect=diffusers|lora-layers", NOT, _ATTENTION, "kohya"),
        Rule("dialect=attn-procs component~text_encoder", WRONG, "the layers of the text encoder are skipped", "kohya"),
        Rule("!dialect=kohya|comfy|ai-toolkit|diffusers|attn-procs slot=magnitude", NOT, _NO_NAMES, BAKE),
        Rule("!dialect=kohya|comfy|ai-toolkit|diffusers|attn-procs base~flux kind=lokr", NOT, _NO_NAMES, BAKE),
        Rule("!dialect=kohya|comfy|ai-toolkit|diffusers|attn-procs", NOT, _NO_NAMES, "kohya"),
        Rule("slot=magnitude", WRONG, "DoRA is normed per input, and this one is per output", BAKE),
        Rule("base=flux1 component=text_encoder_2 !key~^lora_te3_", WRONG, "T5 is known as lora_te3_ alone", BAKE),
        Rule(
            "dialect=comfy|ai-toolkit component~text_encoder",
            WRONG,
            "the layers of the text encoder are skipped",
            "kohya",
        ),
        Rule("dialect=diffusers key~lora_B.bias", WRONG, "the bias is left out", BAKE),
        Rule("dialect=diffusers scaled=yes !key~.alpha$", WRONG, "the alpha in the header is not read", "kohya"),
        Rule(
            "dialect=diffusers key~^text_encoder.encoder.",
            WRONG,
            "the layers of the text encoder are skipped: transformers 5 named them",
            "kohya",
        ),
        Rule("tokens=beside", LOADS, "but not the learned tokens in the file"),
        Rule("", LOADS),
    ),
)
