"""What Civitai's API says, read as what it is: tables that strangers filled.

Fields: https://developer.civitai.com/site/reference; side files of other tools hold the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorry.ops.headers import sides
from lorry.plugin.fetched import Facts
from lorry_registry.sources.air import Air
from lorry_registry.sources.plain import plain

TYPES = {"lora": "lora", "locon": "lycoris", "dora": "dora", "textualinversion": "embedding"}
"""Civitai's types of models that are adapters, with AIR's words for them."""

_ECOSYSTEMS = {"sd 1": "sd1", "sd 2": "sd2", "sdxl": "sdxl", "pony": "sdxl", "illustrious": "sdxl", "noobai": "sdxl",
               "flux.1": "flux1", "flux.2": "flux2"}  # fmt: skip


def side_facts(weights: Path) -> Facts | None:
    """Return what a side file of Civitai Helper, LoRA Manager or Stability Matrix says of a file, None without one.

    `cat.civitai.info` holds what the API tells of a version, `cat.metadata.json` the same under "civitai".
    """
    for side in sides.beside(weights):
        try:
            told = table(json.loads(side.read_bytes()))
        except (ValueError, RecursionError):
            continue
        version = table(told.get("civitai")) or told
        if isinstance(version.get("modelId"), int) and isinstance(version.get("id"), int):
            return facts({"id": version["modelId"], **table(version.get("model"))}, version)
    return None


def facts(model: Mapping[str, Any], version: Mapping[str, Any]) -> Facts:
    """Return what is said of a version of a model."""
    base = text(version, "baseModel")
    ecosystem = next((name for said, name in _ECOSYSTEMS.items() if base.lower().startswith(said)), "other")
    kind = TYPES.get(text(model, "type").lower(), "lora")
    creator = text(table(model.get("creator")), "username")
    about = "\n\n".join(filter(None, (plain(text(each, "description")) for each in (version, model))))
    return Facts(
        source=str(Air(ecosystem, kind, "civitai", str(model.get("id")), str(version.get("id")))),
        title=text(model, "name")[:200],
        description=about,
        license=_licence(model),
        authors=(creator[:200],) if creator else (),
        tags=texts(model, "tags"),
        trigger_words=texts(version, "trainedWords"),
        base=base[:200],
    )


def _licence(model: Mapping[str, Any]) -> str:
    """Say what Civitai's switches allow; "" where they are not told."""
    uses = model.get("allowCommercialUse")
    told = {
        "use without credit": model.get("allowNoCredit"),
        "derivatives": model.get("allowDerivatives"),
        "another licence for derivatives": model.get("allowDifferentLicense"),
        "commercial use": uses if isinstance(uses, list) else uses and [uses],
    }
    said = [f"{what}: {_allowed(value)}" for what, value in told.items() if value is not None]
    return f"Civitai; {'; '.join(said)}"[:400] if said else ""


def _allowed(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(each).lower() for each in value) or "none"
    return "yes" if value else "no"


def hashes_of(file: Mapping[str, Any]) -> dict[str, str]:
    """Return the hashes told of a file, by name."""
    return {name: digits for name, digits in table(file.get("hashes")).items() if isinstance(digits, str)}


def table(value: Any) -> Mapping[str, Any]:  # noqa: ANN401  whatever JSON holds
    """Return a table, an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def tables(holder: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return a table, an empty one in place of anything else."""
    found = holder.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def text(holder: Mapping[str, Any], key: str) -> str:
    """Return a text, "" in place of anything else."""
    found = holder.get(key)
    return found if isinstance(found, str) else ""


def texts(holder: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return the texts of a list, a hundred of 500 characters at most."""
    found = holder.get(key)
    texts = [each.strip()[:500] for each in found if isinstance(each, str)] if isinstance(found, list) else []
    return tuple(dict.fromkeys(filter(None, texts)))[:100]
