"""Where peft keeps the configuration: adapter_config.json beside the weights of one model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lorry.errors import InvalidFile, NotRepresentable
from lorry.ir import TensorMap
from lorry.plugin import HeaderFields, NamedLayer
from lorry.plugin.dialect import Scale
from lorry_plugins.formats.peft.config import PeftConfig, fields

CONFIG_NAME = "adapter_config.json"


def refuse_folder(source: TensorMap) -> str | None:
    """Say why this is no LoRA folder of peft's."""
    if CONFIG_NAME not in source.sides:
        return f"no {CONFIG_NAME} beside the weights"
    kind = _config(source).get("peft_type")
    return None if kind == "LORA" else f"peft_type is {kind}, and no installed kind reads that"


def read_config(source: TensorMap) -> Scale | None:
    """Return the scale by module name, or None where there is no configuration."""
    if CONFIG_NAME not in source.sides:
        return None
    config = PeftConfig.read(_config(source), CONFIG_NAME)

    def scale(prefix: str, module: str, rank: int) -> float:  # noqa: ARG001  one model, so no prefix
        return config.scale(module, rank)

    return scale


def write_config(layers: Sequence[NamedLayer]) -> HeaderFields:
    """Record every layer's scale; raise NotRepresentable for layers of more than one component."""
    components = sorted({named.path.component for named in layers})
    if len(components) > 1:
        others = {
            str(named.path): f"a peft folder holds one model, here {components[0]}"
            for named in layers
            if named.path.component != components[0]
        }
        raise NotRepresentable("a peft folder", others)
    text = json.dumps({"base_model_name_or_path": None, **fields(layers)}, indent=2, sort_keys=True)
    return HeaderFields(metadata={}, sides={CONFIG_NAME: text.encode()})


def _config(source: TensorMap) -> dict[str, Any]:
    try:
        config = json.loads(source.sides[CONFIG_NAME])
    except (ValueError, RecursionError) as error:
        raise InvalidFile(f"{CONFIG_NAME} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise InvalidFile(f"{CONFIG_NAME} must be a JSON object")
    return config
