"""Where peft keeps the configuration: adapter_config.json beside the weights of one model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lorry.errors import InvalidFile, NotRepresentable
from lorry.ir import TensorMap
from lorry.plugin import HeaderFields, NamedLayer
from lorry.plugin.dialect import Scale
from lorry_plugins.formats.peft.config import PeftConfig
from lorry_plugins.formats.peft.tuners import configuration

CONFIG_NAME = "adapter_config.json"

_MOST_TERMS = 100

_TYPES = ("LORA", "LOHA", "LOKR", "IA3", "OFT", "BOFT", "VERA")


def refuse_folder(source: TensorMap) -> str | None:
    """Say why this is no folder of peft's, or of a type that no kind reads."""
    if CONFIG_NAME not in source.sides:
        return f"no {CONFIG_NAME} beside the weights"
    kind = _config(source).get("peft_type")
    return None if kind in _TYPES else f"peft_type is {kind}, and no installed kind reads that"


def read_config(source: TensorMap) -> Scale | None:
    """Return the scale by module name, or None where there is no configuration."""
    if CONFIG_NAME not in source.sides:
        return None
    fields = _config(source)
    if not PeftConfig.has_scale(fields):
        return None
    config = PeftConfig.read(fields, CONFIG_NAME)

    def scale(prefix: str, module: str, rank: int) -> float:  # noqa: ARG001  one model, so no prefix
        return config.scale(module, rank)

    return scale


def read_facts(source: TensorMap) -> Mapping[str, Any]:
    """Return what the configuration says of all layers beside their scale: how OFT rotates, what IA3 multiplies."""
    fields = _config(source) if CONFIG_NAME in source.sides else {}
    if fields.get("peft_type") == "IA3":
        return {"ia3_feedforward": bool(fields.get("feedforward_modules"))}
    if fields.get("peft_type") != "OFT":
        return {}
    terms = fields.get("num_cayley_neumann_terms", 5) if fields.get("use_cayley_neumann") else 0
    limit = fields.get("eps", 6e-5) if fields.get("coft") else 0.0
    if not isinstance(terms, int) or not 0 <= terms <= _MOST_TERMS or not isinstance(limit, int | float):
        raise InvalidFile(f"{CONFIG_NAME}: num_cayley_neumann_terms {terms!r} or eps {limit!r} makes no sense")
    return {"oft": {"terms": terms, "limit": limit}}


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
    text = json.dumps({"base_model_name_or_path": None, **configuration(layers)}, indent=2, sort_keys=True)
    return HeaderFields(metadata={}, sides={CONFIG_NAME: text.encode()})


def _config(source: TensorMap) -> dict[str, Any]:
    try:
        config = json.loads(source.sides[CONFIG_NAME])
    except (ValueError, RecursionError) as error:
        raise InvalidFile(f"{CONFIG_NAME} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise InvalidFile(f"{CONFIG_NAME} must be a JSON object")
    return config
