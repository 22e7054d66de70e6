"""diffusers itself, in a process of its own, with HF_ENDPOINT at a served registry.

python loading.py REPOSITORY REVISION…     prints, as JSON, hashes of the tensors that each revision gives

online by the repository's name alone; offline, from the cache, with the name of the file; and how many of the
weights of a pipeline were filled by load_lora_weights.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import diffusers as untyped_diffusers
import huggingface_hub
import torch

from lorry_plugins.backends.toybox import bases

diffusers: Any = untyped_diffusers
FILE = "pytorch_lora_weights.safetensors"


def digests(repository: str, revisions: list[str], **options: str) -> list[str]:
    return [digest(repository, revision=revision or None, **options) for revision in revisions]


def digest(repository: str, **options: str | None) -> str:
    tensors = diffusers.loaders.StableDiffusionLoraLoaderMixin.lora_state_dict(repository, **options)[0]
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode() + tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def main(repository: str, revisions: list[str]) -> None:
    online = digests(repository, revisions)
    pipeline = diffusers.DiffusionPipeline.from_pretrained(bases()["toybox-sd"])
    pipeline.load_lora_weights(repository)
    weights = (value for key, value in pipeline.unet.state_dict().items() if ".lora_" in key)
    filled = sum(bool(value.any()) for value in weights)
    huggingface_hub.constants.HF_HUB_OFFLINE = True  # what the variable of that name sets, without a second process
    offline = digests(repository, revisions, weight_name=FILE)
    sys.stdout.write(json.dumps({"online": online, "offline": offline, "filled": filled}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
