"""sd-scripts: network_weights and merging in networks/lora.py and networks/lora_flux.py.

Source: kohya-ss/sd-scripts, and what it did with the sample files.
"""

from __future__ import annotations

from lorry.plugin import Loader, Rule
from lorry.plugin.loader import BAKE, LOADS, NOT, WRONG

_LORA_ALONE = "networks.lora knows LoRA alone"
_OUTSIDE = (
    "module~^transformer.norm_out|^transformer.proj_out"
    "|^unet.conv_in|^unet.conv_out|^unet.time_embedding|^unet.add_embedding"
)

SD_SCRIPTS = Loader(
    name="sd-scripts",
    title="sd-scripts",
    version="48d368fa (February 2026)",
    evidence="measured",
    rules=(
        Rule(
            "tokens=only dialect=kohya-embedding|encoder-embedding|a1111-embedding",
            LOADS,
            "by --token_string (from source, untested)",
        ),
        Rule("base=flux2", NOT, "it has no FLUX.2; musubi-tuner has"),
        Rule("dialect=onetrainer key~^lora_te1_", WRONG, "of its keys only those of CLIP are known", "kohya"),
        Rule(
            f"!dialect=kohya kind<lora {_OUTSIDE}",
            NOT,
            "it knows kohya's keys alone, and of layers those in blocks",
            BAKE,
        ),
        Rule("!dialect=kohya kind<lora !slot=mid", NOT, "it knows kohya's keys alone", "kohya"),
        Rule("!dialect=kohya", NOT, "it knows kohya's keys alone, and of kinds LoRA alone", BAKE),
        Rule("slot=mid", WRONG, "lora_mid is ignored", BAKE),
        Rule("kind=dora", WRONG, "dora_scale is ignored", BAKE),
        Rule("kind=lora !kind<lora", WRONG, f"{_LORA_ALONE}: the other layers are left out", BAKE),
        Rule("!kind<lora", NOT, _LORA_ALONE, BAKE),
        Rule("base=flux1 !key~.alpha$", NOT, "it raises where alpha is missing", BAKE),
        Rule("base=flux1 key~^lora_te2_", WRONG, "T5 is lora_te3_ here, and lora_te2_ is left out", BAKE),
        Rule(_OUTSIDE, WRONG, "layers outside the blocks are left out", BAKE),
        Rule("tokens=beside", LOADS, "but not the learned tokens in the file"),
        Rule("", LOADS),
    ),
)
