"""Where diffusers keeps the configuration: one JSON text in the header, its keys led by the component.

Source: diffusers src/diffusers/loaders/lora_base.py, `_pack_dict_with_prefix` and LORA_ADAPTER_METADATA_KEY.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lorry.errors import InvalidFile
from lorry.ir import TensorMap
from lorry.plugin import HeaderFields, NamedLayer
from lorry.plugin.dialect import Scale
from lorry_plugins.formats.peft.config import PeftConfig
from lorry_plugins.formats.peft.tuners import configuration

METADATA_KEY = "lora_adapter_metadata"

_LEVEL = "text_model."
"""A level of CLIP's names that transformers 5 dropped; peft takes endings, and a name without it ends both."""


def read_metadata(source: TensorMap) -> Scale | None:
    """Return the scale by component and module name, or None where the header has no configuration."""
    text = source.metadata.get(METADATA_KEY)
    if text is None:
        return None
    try:
        packed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidFile(f"{METADATA_KEY} in the header is not JSON: {error}") from error
    if not isinstance(packed, dict):
        raise InvalidFile(f"{METADATA_KEY} in the header must be a JSON object")
    unpacked: dict[str, dict[str, Any]] = {}
    for key, value in packed.items():
        component, _, name = key.partition(".")
        unpacked.setdefault(component, {})[name] = value
    configs = {
        component: PeftConfig.read(config, f"{METADATA_KEY} of {component}")
        for component, config in unpacked.items()
        if "lora_alpha" in config
    }

    def scale(prefix: str, module: str, rank: int) -> float | None:
        config = configs.get(prefix)
        return config.scale(module, rank) if config else None

    return scale


def write_metadata(layers: Sequence[NamedLayer]) -> HeaderFields:
    """Record every layer's scale, one configuration a component."""
    packed = {
        f"{prefix}.{name}": value
        for prefix in sorted({named.prefix for named in layers})
        for name, value in _shortened(configuration([named for named in layers if named.prefix == prefix])).items()
    }
    return HeaderFields(metadata={METADATA_KEY: json.dumps(packed, indent=2, sort_keys=True)}, sides={})


def _shortened(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Name CLIP's modules as every version of transformers knows them."""
    patterns = {
        name: {pattern.removeprefix(f"^{_LEVEL}"): value for pattern, value in fields[name].items()}
        for name in ("alpha_pattern", "rank_pattern")
        if name in fields
    }
    return {**fields, **patterns, "target_modules": [name.removeprefix(_LEVEL) for name in fields["target_modules"]]}
