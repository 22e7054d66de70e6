"""AUTOMATIC1111's web UI: `<lora:…>` by extensions-builtin/Lora, and embeddings. Read there, not run."""

from __future__ import annotations

from lorry.plugin import Loader, Rule
from lorry.plugin.loader import BAKE, LOADS, NOT, WRONG

_OWN = "it knows kohya's keys alone"

A1111 = Loader(
    name="a1111",
    title="A1111",
    version="1.10",
    evidence="from source, untested",
    layers="models/Lora",
    tokens="embeddings",
    side=".json",
    rules=(
        Rule("base~flux", NOT, "it has no FLUX; Forge has"),
        Rule("tokens=only", LOADS, "from embeddings/, by its file's name in the prompt"),
        Rule("kind=vera|oft|input-boft|tlora", NOT, "it knows no such kind", BAKE),
        Rule("!dialect=kohya kind=dora", NOT, _OWN, BAKE),
        Rule("dialect=peft kind=ia3", NOT, _OWN, BAKE),
        Rule("!dialect=kohya", NOT, _OWN, "kohya"),
        Rule("slot=magnitude", WRONG, "DoRA is normed per input, and this one is per output", BAKE),
        Rule(
            "kind<lora|dora|loha|lokr|loha-dora|lokr-dora|diff|ia3|glora|diag-oft|boft key~^emb_params",
            LOADS,
            "but not the learned tokens in the file",
        ),
        Rule("kind<lora|dora|loha|lokr|loha-dora|lokr-dora|diff|ia3|glora|diag-oft|boft", LOADS),
    ),
)
