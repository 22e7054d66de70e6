"""LyCORIS: `create_lycoris_from_weights` on diffusers' models, and its `merge_to`.

Source: lycoris/wrapper.py and lycoris/modules, and what they did with the sample files under transformers 5.
"""

from __future__ import annotations

from lorry.plugin import Loader, Rule
from lorry.plugin.loader import BAKE, LOADS, NOT, WRONG

_TEXT_MODEL = "the names of CLIP's layers have lost text_model. in transformers 5, and it drops them"
_OWN_NAMES = "it knows lycoris_ keys, and kohya's with diffusers' names"
_SINGLE_FILE = "the names are those of the single file, which it finds no modules for"

LYCORIS = Loader(
    name="lycoris",
    title="LyCORIS",
    version="4.1.3",
    evidence="measured",
    rules=(
        Rule("dialect=onetrainer key~^lora_te2_", WRONG, "of its keys only those of T5 are known", BAKE),
        Rule("!dialect=kohya|lycoris kind=loha|lokr scaled=yes", NOT, _OWN_NAMES, BAKE),
        Rule(
            "!dialect=kohya|lycoris kind<lora|loha|lokr|dora !component~text_encoder !tokens=only|beside",
            NOT,
            _OWN_NAMES,
            "lycoris",
        ),
        Rule("!dialect=kohya|lycoris", NOT, _OWN_NAMES, BAKE),
        Rule("base~flux dialect=kohya component~text_encoder", NOT, _SINGLE_FILE, BAKE),
        Rule("base~flux dialect=kohya", NOT, _SINGLE_FILE, "lycoris"),
        Rule("key~_input_blocks_|_middle_block_|_output_blocks_ component=text_encoder_2", WRONG, _SINGLE_FILE, BAKE),
        Rule("key~_input_blocks_|_middle_block_|_output_blocks_", NOT, _SINGLE_FILE, "lycoris"),
        Rule("kind=ia3", NOT, "it raises for its own (IA)³ files", BAKE),
        Rule("kind=lokr slot=t2", NOT, "it raises for LoKr in Tucker form", BAKE),
        Rule("slot=magnitude_in", NOT, "it raises for DoRA per input", BAKE),
        Rule(
            "kind=lora|dora|loha|lokr|glora|loha-dora|lokr-dora !key~.alpha$",
            NOT,
            "it raises where alpha is missing",
            BAKE,
        ),
        Rule("kind=loha|lokr|loha-dora|lokr-dora scaled=yes", WRONG, "merge_to multiplies by the scale twice", BAKE),
        Rule("component=text_encoder component=unet", WRONG, _TEXT_MODEL, BAKE),
        Rule("component=text_encoder", NOT, _TEXT_MODEL, BAKE),
        Rule(
            "kind<lora|dora|loha|lokr|loha-dora|lokr-dora|diff|glora|diag-oft|boft|tlora tokens=beside",
            LOADS,
            "but not the learned tokens in the file",
        ),
        Rule("kind<lora|dora|loha|lokr|loha-dora|lokr-dora|diff|glora|diag-oft|boft|tlora", LOADS),
    ),
)
