"""ComfyUI: the LoRA loader, and embeddings in the prompt.

Source: comfy/lora.py, comfy/lora_convert.py and comfy/weight_adapter, and what they did with the sample files.
"""

from __future__ import annotations

from lorry.plugin import Loader, Rule
from lorry.plugin.loader import BAKE, LOADS, NOT, WRONG

_NORM = "DoRA per output is normed with the weight alone, or along the wrong axis"
_NO_NAMES = "it has no map of these names, and skips them with a line in the log"
_ATTENTION = "attention layers of the U-Net are skipped: their names are unknown"
_BESIDE_ATTENTION = "key~.ff.|.proj_in.|.proj_out.|.conv|.time_emb|^text_encoder.text_model|^text_encoder_2.text_model"

COMFYUI = Loader(
    name="comfyui",
    title="ComfyUI",
    version="a125cd84 (October 2025)",
    evidence="measured",
    layers="models/loras",
    tokens="models/embeddings",
    rules=(
        Rule("tokens=only", LOADS, "from models/embeddings, by its file's name in the prompt"),
        Rule("base=flux2", NOT, "this version is older than FLUX.2; update it"),
        # dialects it has no names for
        Rule("dialect=peft|cloneofsimo|cloneofsimo-list kind=ia3|oft|vera|input-boft|dora", NOT, _NO_NAMES, BAKE),
        Rule("dialect=cloneofsimo|cloneofsimo-list", NOT, "it knows no list of numbered layers", "kohya"),
        Rule("dialect=peft|peft-named|diffsynth|omi|xlabs|fal", NOT, _NO_NAMES, "kohya"),
        Rule("dialect=bfl", NOT, _NO_NAMES, "kohya"),
        Rule("dialect=bfl-control", LOADS, "as a control LoRA"),
        # diffusers of SD: everything but attention has names
        Rule(f"base~sd dialect=diffusers slot=magnitude {_BESIDE_ATTENTION}", WRONG, _ATTENTION, BAKE),
        Rule("base~sd dialect=diffusers slot=magnitude", NOT, _ATTENTION, BAKE),
        Rule(f"base~sd dialect=diffusers {_BESIDE_ATTENTION}", WRONG, _ATTENTION, "kohya"),
        Rule("base~sd dialect=diffusers", NOT, _ATTENTION, "kohya"),
        Rule("dialect=attn-procs component~text_encoder", WRONG, "the layers of the text encoder are skipped", "kohya"),
        Rule("dialect=lora-layers component~text_encoder", WRONG, "the layers of the U-Net are skipped", "kohya"),
        Rule("dialect=lora-layers", NOT, _NO_NAMES, "kohya"),
        # kinds
        Rule("kind=ia3", NOT, "it knows no (IA)³", BAKE),
        Rule("key~^oft_unet_", NOT, "it knows no oft_unet_ keys", BAKE),
        Rule("kind=lokr slot=t2", NOT, "it fails at LoKr in Tucker form, and goes on without", BAKE),
        Rule("slot=magnitude", WRONG, _NORM, BAKE),
        Rule("kind=diag-oft slot=constraint", WRONG, "the constraint is not multiplied by the width", BAKE),
        Rule("kind=diag-oft slot=rescale", WRONG, "rescale is ignored", BAKE),
        Rule("base=flux1 key~query_norm.diff|key_norm.diff", WRONG, "the norms of query and key are skipped", BAKE),
        # diffusers of FLUX.1
        Rule("dialect=diffusers key~lora_B.bias", WRONG, "the bias is left out", BAKE),
        Rule("dialect=diffusers scaled=yes !key~.alpha$", WRONG, "the alpha in the header is not read", "kohya"),
        Rule(
            "dialect=diffusers key~^text_encoder.encoder.",
            WRONG,
            "the layers of the text encoder are skipped: transformers 5 named them",
            "kohya",
        ),
        Rule(
            "kind<lora|dora|loha|lokr|loha-dora|lokr-dora|diff|glora|diag-oft|boft tokens=beside",
            LOADS,
            "but not the learned tokens: they belong into models/embeddings",
        ),
        Rule(
            "kind<lora|dora|loha|lokr|loha-dora|lokr-dora|diff|glora|diag-oft|boft"
            " dialect=kohya|lycoris|comfy|ai-toolkit|onetrainer|attn-procs|diffusers",
            LOADS,
        ),
    ),
)
