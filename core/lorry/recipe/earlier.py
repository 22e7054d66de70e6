"""Recipes that lorry 0.1 wrote into headers before recipes had a schema, in the form that they have now.

They told the version of lorry as "lorry" and inputs by name and sha256, of each file by itself. Of models they told
names alone unless something was baked, and nothing of the base of a merge or resize.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorry.ops.reading.read import SEVERAL

_SOURCES = ("tuned", "base", "like")


def upgraded(raw: Any) -> Any:  # noqa: ANN401  checked by pydantic afterwards
    """Return a recipe in today's form, those that are nested in it too; what is none is left for pydantic to refuse."""
    if not isinstance(raw, Mapping):
        return raw
    told = dict(raw) if not isinstance(raw.get("lorry"), str) else _upgraded(raw)
    if isinstance(told.get("inputs"), list | tuple):
        told["inputs"] = [_nested(each) for each in told["inputs"]]
    return told | {name: _nested(told[name]) for name in _SOURCES if name in told}


def _nested(source: Any) -> Any:  # noqa: ANN401  as above
    if not isinstance(source, Mapping) or "recipe" not in source:
        return source
    return {**source, "recipe": upgraded(source["recipe"])}


def _upgraded(raw: Mapping[str, Any]) -> dict[str, Any]:
    options = dict(raw["options"]) if isinstance(raw.get("options"), Mapping) else {}
    output = {name: options.pop(name) for name in ("format", "layout", "dtype") if name in options}
    told = {
        "op": raw.get("op"),
        "inputs": _inputs(raw.get("op"), raw.get("inputs")),
        "output": {name: value for name, value in output.items() if value is not None},
        "by": {"lorry": raw["lorry"]},
        **{key: value for key, value in raw.items() if key not in ("op", "inputs", "options", "lorry")},
    }
    for name in ("tuned", "base"):
        if name in options:
            told[name] = {"name": options.pop(name)}
    if "like" in options:
        told["like"] = {"adapter": options.pop("like")}
        options.pop("by_layer", None)
    if "options" in options:
        options["settings"] = options.pop("options")
    if "convolutions" in options:
        options["conv"] = options.pop("convolutions")
    if isinstance(aim := options.pop("ranks", None), str):
        name, _, value = aim.partition(" ")
        options[name] = value if name == "size" else _number(value)
    return {**{key: value for key, value in told.items() if value}, "options": options}


def _inputs(op: Any, listed: Any) -> Any:  # noqa: ANN401  as above
    """Name inputs by their files; those of an operation on one adapter are its files."""
    if not isinstance(listed, list) or not all(isinstance(each, Mapping) for each in listed):
        return listed
    made = [
        {
            "adapter": each.get("name", ""),
            "files": {each.get("name", ""): f"sha256:{each.get('sha256')}"},
            "weight": each.get("weight", 1.0),
        }
        for each in listed
    ]
    if op in ("merge", "bake") or len(made) < 2:  # noqa: PLR2004  one is one already
        return made
    names, files = [each["adapter"] for each in made], [each["files"] for each in made]
    return [{"adapter": SEVERAL.join(names), "files": {name: one for each in files for name, one in each.items()}}]


def _number(text: str) -> float | str:
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        return text
