"""What people do with a pushed version, in a process of its own: diffusers reads its settings when it is imported.

python loading.py FOLDER        pushes demo/cat@1.0.0 to the Hub that HF_ENDPOINT names, loads it in a toy pipeline by
                                name, tag and commit, then does so again without a network; prints what it loaded
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

import torch
from huggingface_hub import HfApi, constants

import lorry
from lorry_registry import Registry
from tests.peers.adapters import adapter
from tests.peers.pipelines import Toy, no_complaints, own_name, toy

FILE = "pytorch_lora_weights.safetensors"


def weights(base: Toy, **where: Any) -> Mapping[str, torch.Tensor]:
    """Return every weight with the pushed adapter loaded and fused by diffusers."""
    try:
        with no_complaints():
            base.pipeline.load_lora_weights("demo/cat", **where)
            base.pipeline.fuse_lora(components=[name for name in base.models if name in base.lora_components])
        return {
            own_name(name, key): tensor.clone()
            for name, model in base.models.items()
            for key, tensor in model.state_dict().items()
            if ".lora_" not in key
        }
    finally:
        base.pipeline.unload_lora_weights()
        for name, model in base.models.items():
            model.load_state_dict(base.pristine[name])


def main(folder: Path) -> None:
    base = toy("sd1", folder / "base")
    made = adapter(base.base, "kohya", "lora", scales=(0.5,))
    saved = lorry.save(made, folder / "cat.safetensors", "kohya")
    registry = Registry(folder / "home")
    registry.publish("demo/cat@1.0.0", [saved.path])
    registry.push("demo/cat", "hf://demo/cat")
    commit = HfApi().model_info("demo/cat").sha
    expected = base.baked(made)

    def right(**where: Any) -> bool:
        found = weights(base, **where)
        shared = found.keys() & expected.keys()
        return bool(shared) and all(
            torch.allclose(found[name], expected[name], rtol=1e-4, atol=1e-4) for name in shared
        )

    named = {"weight_name": FILE}
    told = {
        "pristine weights are others": not all(
            torch.equal(tensor, expected[own_name(part, key)])
            for part, model in base.models.items()
            for key, tensor in model.state_dict().items()
            if own_name(part, key) in expected
        ),
        "by name": right(),
        "by tag": right(revision="v1.0.0", **named),
        "by commit": right(revision=commit, **named),
    }
    constants.HF_HUB_OFFLINE = True
    told |= {
        "by tag, offline": right(revision="v1.0.0", **named),
        "by commit, offline": right(revision=commit, **named),
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
