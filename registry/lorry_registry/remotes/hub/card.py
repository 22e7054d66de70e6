"""The model card: README.md of a repository on the Hub, written from a version's manifest and nothing else.

The front matter has the fields that diffusers' training scripts write (examples/dreambooth, `save_model_card`) and
those that tie an adapter to its base (huggingface.co/docs/hub/model-cards). Nothing of it is believed when it is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from lorry_registry.lineage.ancestry import in_words
from lorry_registry.remotes.hub.markdown import code, code_block, escape, escape_lines, one_line, table
from lorry_registry.version.manifest import Manifest, Parent

_NOTHING: Mapping[str, str] = MappingProxyType({})
_LICENSES = {
    "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear",
    "bsl-1.0", "cc", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0",
    "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0",
    "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0", "creativeml-openrail-m", "ecl-2.0", "epl-1.0", "epl-2.0", "eupl-1.1",
    "eupl-1.2", "gpl", "gpl-2.0", "gpl-3.0", "isc", "lgpl", "lgpl-2.1", "lgpl-3.0", "mit", "mpl-2.0", "ms-pl", "ncsa",
    "odbl", "ofl-1.1", "openrail", "openrail++", "osl-3.0", "pddl", "postgresql", "unlicense", "wtfpl", "zlib",
}  # fmt: skip
"""Licences that the Hub knows by name (huggingface.co/docs/hub/repositories-licenses); any other one is "other"."""

_LONGEST_CELL = 200


def model_card(
    manifest: Manifest, repository: str, *, base_model: str = "", loaded: Mapping[str, str] = _NOTHING
) -> str:
    """Return the card of a version in the repository "owner/name".

    base_model: the base's repository, "" where it is not known. loaded: by tool ("diffusers", "ComfyUI") the file of
    the repository that it loads as it is, "" where there is none.
    """
    sections = [
        _front_matter(manifest, base_model, loaded.get("diffusers", "")),
        f"# {escape(manifest.id.title) or escape(str(manifest.reference.adapter))}",
        escape_lines(manifest.id.description),
        _words(manifest),
        "<Gallery />" if _previews(manifest) else "",
        *_diffusers(manifest, repository, base_model, loaded.get("diffusers", "")),
        *_comfy(manifest, loaded.get("ComfyUI", "")),
        *_lorry(manifest, repository),
        *_facts(manifest),
        *_lineage(manifest),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(manifest: Manifest, base_model: str, for_diffusers: str) -> str:
    import yaml

    told = manifest.id
    library = ["diffusers"] if for_diffusers else []
    gallery = ["template:sd-lora"] if manifest.adapter.layers else []
    tags = ["text-to-image", *library, *manifest.adapter.kinds, *gallery, _family(manifest), "lorry"]
    prompt = one_line(", ".join(manifest.adapter.trigger_words))
    fields: dict[str, Any] = {
        **({"base_model": base_model, "base_model_relation": "adapter"} if base_model else {}),
        **({"library_name": "diffusers"} if library else {}),
        **_license(one_line(told.license)),
        "pipeline_tag": "text-to-image",
        **({"instance_prompt": prompt} if prompt else {}),
        "tags": list(dict.fromkeys(filter(None, [*tags, *map(one_line, told.tags)]))),
        "widget": [
            {"text": prompt or one_line(told.title) or told.name, "output": {"url": path}}
            for path in _previews(manifest)
        ],
    }
    known = {name: value for name, value in fields.items() if value}
    return f"---\n{yaml.safe_dump(known, sort_keys=False, allow_unicode=True, width=1 << 20)}---"


def _license(text: str) -> dict[str, str]:
    """Return the front matter's fields; the Hub takes names of its own list, and "other" with one more field."""
    if not text or text.lower() in _LICENSES:
        return {"license": text.lower()} if text else {}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.+-]+", "-", text.lower()).strip("-") or "other"}


def _previews(manifest: Manifest) -> list[str]:
    return [file.path for file in manifest.files if file.role == "preview"]


def _embeddings(manifest: Manifest) -> list[str]:
    return [file.path for file in manifest.files if file.role == "embedding"]


def _family(manifest: Manifest) -> str:
    return manifest.base.id.partition("@")[0]


def _words(manifest: Manifest) -> str:
    words = [*manifest.adapter.trigger_words, *manifest.adapter.tokens]
    return f"Trigger words: {', '.join(map(code, words))}" if words else ""


def _diffusers(manifest: Manifest, repository: str, base_model: str, file: str) -> Iterator[str]:
    """Yield how to load it in diffusers: by name and revision, so that it works without a network too."""
    if not file:
        return
    folder, _, name = file.rpartition("/")
    where = {
        "weight_name": name,
        **({"subfolder": folder} if folder else {}),
        "revision": f"v{manifest.id.version}",
    }
    said = ", ".join([_literal(repository), *(f"{key}={_literal(value)}" for key, value in where.items())])
    load = "load_lora_weights" if manifest.adapter.layers else "load_textual_inversion"
    prompt = ", ".join([*manifest.adapter.trigger_words, *manifest.adapter.tokens]) or manifest.id.name
    yield "## diffusers"
    yield code_block(
        "from diffusers import AutoPipelineForText2Image\n\n"
        f"pipeline = AutoPipelineForText2Image.from_pretrained({_literal(base_model or 'THE/BASE')})\n"
        f"pipeline.{load}({said})\n"
        f"image = pipeline({_literal(prompt)}).images[0]",
        "python",
    )
    if manifest.adapter.layers and _embeddings(manifest):
        files = ", ".join(map(code, _embeddings(manifest)))
        yield f"The learned tokens are in {files}; `load_textual_inversion` takes them, for one text encoder at a time."


def _comfy(manifest: Manifest, file: str) -> Iterator[str]:
    if not file:
        return
    yield "## ComfyUI"
    if manifest.adapter.layers:
        yield f"Put {code(file)} into `ComfyUI/models/loras`, and load it with the node *Load LoRA*."
    for path in _embeddings(manifest):
        name = PurePosixPath(path).stem
        yield f"Put {code(path)} into `ComfyUI/models/embeddings`, and write {code(f'embedding:{name}')} in the prompt."


def _lorry(manifest: Manifest, repository: str) -> Iterator[str]:
    yield "## lorry"
    yield code_block(f"lorry clone hf://{repository}@v{manifest.id.version}\nlorry show {manifest.reference}", "sh")


def _facts(manifest: Manifest) -> Iterator[str]:
    told, adapter = manifest.id, manifest.adapter
    facts = {
        "version": str(manifest.reference),
        "authors": ", ".join(told.authors),
        "licence": told.license,
        "kind": ", ".join(adapter.kinds),
        "base": f"{manifest.base.id} (fingerprint {manifest.base.fingerprint[:12]})",
        "format": adapter.format,
        "components": ", ".join(adapter.components),
        "ranks": ", ".join(f"{rank} in {layers}" for rank, layers in adapter.ranks.items()),
        "numbers": f"{adapter.n_params:,} in {', '.join(adapter.dtypes)}",
        "manifest": f"sha256:{manifest.digest()}",
    }
    yield "## What it is"
    yield table(("", ""), [(name, _cell(value)) for name, value in facts.items() if value])


def _lineage(manifest: Manifest) -> Iterator[str]:
    """Yield what it was made from, and the options of the recipe, which stands in recipe.json as a whole."""
    lineage = manifest.lineage
    if lineage is None:
        return
    yield f"## Made by {escape(lineage.op)}"
    if lineage.parents:
        yield table(("from", "strength", "file", "sha256"), map(_parent, lineage.parents))
    options = lineage.recipe.get("options")
    if isinstance(options, dict) and options:
        rows = [(_cell(str(name)), _cell(json.dumps(value))) for name, value in options.items()]
        yield table(("option", "value"), rows)


def _parent(parent: Parent) -> tuple[str, ...]:
    weight = "" if parent.weight is None else f"{parent.weight:g}"
    made = parent.reference or (in_words(parent) if parent.op else "")
    return (_cell(made), weight, _cell(parent.name), (parent.sha256 or "")[:12])


def _cell(text: str) -> str:
    return escape(text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…")


def _literal(text: str) -> str:
    """Return a string of Python's."""
    return json.dumps(one_line(text), ensure_ascii=False)
