"""InvokeAI: backend/patches. Read there, not run."""

from __future__ import annotations

from lorry.plugin import Loader, Rule
from lorry.plugin.loader import BAKE, LOADS, NOT, WRONG

_OWN = "of SD and SDXL it knows kohya's keys alone"
_FLUX = "of FLUX.1 it knows kohya, diffusers, OneTrainer, XLabs, ai-toolkit and control LoRAs"

INVOKEAI = Loader(
    name="invokeai",
    title="InvokeAI",
    version="8e71a8a",
    evidence="from source, untested",
    rules=(
        Rule("tokens=only dialect=kohya-embedding", NOT, "it knows no emb_params"),
        Rule("tokens=only", LOADS, "as a textual inversion"),
        Rule("!kind<lora|dora|loha|lokr|diff|ia3|set|wide-lora", NOT, "it knows no such kind, and raises", BAKE),
        Rule(
            "dialect=kohya|lycoris|comfy slot=magnitude",
            WRONG,
            "DoRA is normed per input, and this one is per output",
            BAKE,
        ),
        Rule("base~sd !dialect=kohya kind=dora", NOT, _OWN, BAKE),
        Rule("base~sd dialect=peft kind=ia3", NOT, _OWN, BAKE),
        Rule("base~sd !dialect=kohya", NOT, _OWN, "kohya"),
        Rule("base~sd tokens=beside", LOADS, "but not the learned tokens in the file"),
        Rule("base~sd", LOADS),
        Rule("base=flux1 dialect=kohya key~_final_layer scaled=yes", WRONG, "the final layer is left out", BAKE),
        Rule("base=flux1 dialect=kohya key~_final_layer", WRONG, "the final layer is left out", "diffusers"),
        Rule(
            "base=flux1 dialect=diffusers scaled=yes !key~.alpha$",
            WRONG,
            "the alpha in the header is not read",
            "kohya",
        ),
        Rule("base=flux1 dialect=kohya|diffusers|onetrainer|xlabs|ai-toolkit|bfl-control", LOADS),
        Rule("base=flux1 kind=lokr|dora", NOT, _FLUX, BAKE),
        Rule("base=flux1", NOT, _FLUX, "kohya"),
    ),
)
