"""peft: `PeftModel.from_pretrained` on one model, of its own folders."""

from __future__ import annotations

from lorry.plugin import Loader, Rule
from lorry.plugin.loader import BAKE, LOADS, NOT

_OWN = "it reads folders with adapter_config.json alone"

PEFT = Loader(
    name="peft",
    title="peft",
    version="0.21.2",
    evidence="measured",
    rules=(
        Rule(
            "dialect=peft component=text_encoder key~.text_model.",
            NOT,
            "the names of CLIP's layers have lost text_model. in transformers 5, and it raises",
            BAKE,
        ),
        Rule("dialect=peft", LOADS),
        Rule("tokens=only|beside", NOT, _OWN, BAKE),
        Rule(
            "kind<lora|dora|loha|lokr !slot=mid !slot=magnitude_in !slot=t1|t2 !component~text_encoder",
            NOT,
            _OWN,
            "peft",
        ),
        Rule("", NOT, _OWN, BAKE),
    ),
)
