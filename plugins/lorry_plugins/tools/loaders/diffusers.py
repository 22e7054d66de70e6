"""diffusers: `load_lora_weights` and `load_textual_inversion` of the pipelines of SD, SDXL, FLUX.1 and FLUX.2.

Source: loaders/lora_pipeline.py and loaders/lora_conversion_utils.py, and what they did with the sample files.
"""

from __future__ import annotations

from lorry.plugin import Loader, Rule
from lorry.plugin.loader import BAKE, LOADS, NOT, WRONG

_UNTOLD = "if its alpha was not its rank: the file does not tell the scale, and it is taken as 1"
_OTHER_KINDS = "it knows LoRA and DoRA alone, and raises for the keys of other kinds"
_NO_LORA = "no key it looks for is in the file"
_NO_MAGNITUDE = "dora_scale is left out with a warning"
_BESIDE_ATTENTION = ".ff.|.ff_context.|.norm1.|.norm1_context.|.norm.|.proj_mlp|" + "|".join(
    f"{digit}.proj_out" for digit in range(10)
)
_FUSED_TOPS = "modules outside the blocks are left out without a word"

DIFFUSERS = Loader(
    name="diffusers",
    title="diffusers",
    version="0.42.1",
    evidence="measured",
    rules=(
        # learned tokens alone
        Rule("tokens=only dialect=a1111-embedding|diffusers-embedding", LOADS, "by load_textual_inversion"),
        Rule("tokens=only dialect=kohya-embedding", WRONG, "the token is named emb_params", "diffusers-embedding"),
        Rule("tokens=only", NOT, "load_textual_inversion takes vectors for one text encoder alone", BAKE),
        # what no pipeline reads
        Rule("dialect=cloneofsimo|cloneofsimo-list tokens=beside", NOT, "it knows no list of numbered layers", BAKE),
        Rule("dialect=cloneofsimo|cloneofsimo-list", NOT, "it knows no list of numbered layers", "diffusers"),
        Rule("key~^emb_params|^bundle_emb", NOT, "it raises for the keys of learned tokens in a LoRA file", BAKE),
        # FLUX.2
        Rule("base=flux2 dialect=lycoris kind<lokr", LOADS),
        Rule("base=flux2 dialect=lycoris kind<lora", NOT, "lycoris_ keys are dropped without a word", "diffusers"),
        Rule(
            "base=flux2 dialect=comfy|ai-toolkit key~adaLN", WRONG, "final_layer.adaLN keeps its halves swapped", BAKE
        ),
        Rule("base=flux2 dialect=comfy kind<lokr", LOADS),
        Rule(
            "base=flux2 dialect=peft kind<lora|dora scaled=yes",
            WRONG,
            "it ignores adapter_config.json and so alpha",
            "diffusers",
        ),
        Rule("base=flux2 dialect=fal key~adaLN", WRONG, "final_layer.adaLN keeps its halves swapped", "diffusers"),
        Rule("base=flux2 dialect=fal key~dora_scale", WRONG, _NO_MAGNITUDE, "diffusers"),
        Rule(
            "base=flux2 dialect=peft key~_embedder.|_modulation|norm_out|base_model.model.proj_out",
            NOT,
            "it raises for modules outside the blocks",
            "diffusers",
        ),
        Rule("base=flux2 dialect=peft|fal kind<lora|dora", LOADS),
        Rule("base=flux2 dialect=peft", NOT, "it raises for the keys that are left", BAKE),
        Rule("base=flux2 !kind<lora|dora", NOT, "it knows LoRA, DoRA and some LoKr alone on FLUX.2", BAKE),
        Rule("base=flux2 dialect=ai-toolkit|comfy|diffusers key~.alpha$", NOT, "it raises for alpha tensors", "kohya"),
        Rule(
            "base=flux2 dialect=kohya key~_modulation_|_guidance_in|adaLN",
            WRONG,
            "modulation, guidance and adaLN are left out",
            "diffusers",
        ),
        Rule("base=flux2 dialect=kohya kind=dora", WRONG, _NO_MAGNITUDE, "diffusers"),
        Rule("base=flux2 dialect=kohya|ai-toolkit", LOADS),
        Rule("base=flux2 dialect=onetrainer-dotted", NOT, "its keys are dropped without a word", "diffusers"),
        # FLUX.1
        Rule("base=flux1 component=text_encoder_2 dialect=onetrainer|omi", NOT, "it raises for keys of T5", BAKE),
        Rule("base=flux1 component=text_encoder_2", WRONG, "the layers of T5 are left out", BAKE),
        Rule("base=flux1 dialect=bfl-control", WRONG, "the last modulation's down is swapped along with its up"),
        Rule(
            "base=flux1 dialect=kohya|comfy kind=lora kind<lora|diff key~diff_b !key~.diff$",
            WRONG,
            "biases are left out",
            BAKE,
        ),
        Rule("base=flux1 dialect=kohya kind<loha|lokr", NOT, "its keys are dropped without a word", BAKE),
        Rule("base=flux1 !kind<lora|dora", NOT, _OTHER_KINDS, BAKE),
        Rule("base=flux1 kind=dora key~dora_scale slot=magnitude_in", WRONG, _NO_MAGNITUDE, BAKE),
        Rule("base=flux1 dialect=kohya|comfy|xlabs kind=dora key~dora_scale", WRONG, _NO_MAGNITUDE, "diffusers"),
        Rule(
            "base=flux1 dialect=kohya key~_img_in|_txt_in|_time_in|_vector_in|_guidance_in|_final_layer",
            WRONG,
            _FUSED_TOPS,
            "diffusers",
        ),
        Rule(
            "base=flux1 dialect=comfy key~.img_in|.txt_in|.time_in|.vector_in|.guidance_in|.final_layer",
            WRONG,
            _FUSED_TOPS,
            "diffusers",
        ),
        Rule(
            f"base=flux1 dialect=onetrainer module~{_BESIDE_ATTENTION}",
            NOT,
            "of the blocks it knows attention alone, and raises for the other layers",
            "diffusers",
        ),
        Rule("base=flux1 dialect=kohya|comfy|onetrainer|xlabs", LOADS),
        Rule(
            "base=flux1 dialect=fal kind<lora key~_mod.lin key~modulation.lin key~img_mlp.2 key~final_layer.linear"
            " !key~_in.|adaLN",
            LOADS,
        ),
        Rule(
            "base=flux1 dialect=fal|peft",
            NOT,
            "it raises unless every module of the blocks, final_layer.linear and nothing else is adapted",
            "diffusers",
        ),
        Rule(
            "base=flux1 dialect=ai-toolkit|bfl|diffsynth|peft-named",
            NOT,
            "its keys are dropped without a word",
            "diffusers",
        ),
        Rule("base=flux1 dialect=lycoris|omi", NOT, _NO_LORA, "diffusers"),
        # SD and SDXL
        Rule("base~sd !kind<lora|dora", NOT, _OTHER_KINDS, BAKE),
        Rule("base~sd slot=mid", NOT, "it raises for lora_mid", BAKE),
        Rule("base~sd slot=magnitude_in", WRONG, _NO_MAGNITUDE, BAKE),
        Rule("base~sd dialect=kohya|lora-layers|attn-procs kind=dora", WRONG, _NO_MAGNITUDE, "diffusers"),
        Rule(
            "base~sd dialect=kohya uneven~.attn1.|.attn2.|^text_encoder",
            WRONG,
            "attention layers whose alpha is not the commonest get the commonest one",
            "diffusers",
        ),
        Rule("base~sd dialect=kohya|lora-layers", LOADS),
        Rule(
            "base~sd dialect=attn-procs !key~^unet.|^text_encoder",
            NOT,
            "keys without unet. are dropped without a word",
            "diffusers",
        ),
        Rule("base~sd dialect=attn-procs", LOADS),
        Rule("base~sd dialect=peft|peft-named", NOT, "its keys are dropped without a word", "diffusers"),
        Rule("base~sd dialect=comfy|omi|lycoris|ai-toolkit|bfl", NOT, _NO_LORA, "diffusers"),
        # its own
        Rule(
            "dialect=diffusers kind=dora component~text_encoder !key~lora_magnitude_vector.weight$",
            WRONG,
            "transformers 5 takes the magnitudes of text encoders anew from the base",
            BAKE,
        ),
        Rule("dialect=diffusers doubt=scale kind<lora|dora", LOADS, f"at the wrong strength {_UNTOLD}"),
        Rule("dialect=diffusers kind<lora|dora", LOADS),
    ),
)
