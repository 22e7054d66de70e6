"""Names for what comes without one of lorry's: from its title, or from the name of its file."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from lorry.errors import InvalidArgument
from lorry_registry.references.names import check_name
from lorry_registry.references.reference import Reference
from lorry_registry.references.semver import Version

FIRST = "1.0.0"
_LONGEST = 64
_SAY_NOTHING = {
    "adapter_model",
    "learned_embeds",
    "lora",
    "lora_weight",
    "model",
    "pytorch_lora_weights",
    "pytorch_model",
}
"""Names that tools give to every file: what tells one from another is their folder."""

_KINDS_OF_FILES = re.compile(r"\.(safetensors|ckpt|pth|pt|bin|json)$", re.IGNORECASE)


def named(namespace: str, title: str, sha256: str) -> Reference:
    """Return the reference for something called `title`, by its bytes where nothing of that can be a name."""
    plain = unicodedata.normalize("NFKD", _KINDS_OF_FILES.sub("", title)).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9._]+", "-", plain)
    name = re.sub(r"\.\.+", ".", words)[:_LONGEST].strip("._-")
    version = Version.parse(FIRST)
    try:
        return Reference(check_name(namespace, "namespace"), check_name(name, "name"), version)
    except InvalidArgument:
        return Reference(check_name(namespace, "namespace"), f"adapter-{sha256[:12]}", version)


def title_of(path: Path) -> str:
    """Return what a file or folder is called: by its folder where its own name is everybody's."""
    return path.absolute().parent.name if path.stem in _SAY_NOTHING else path.name


def exact(text: str) -> Reference | None:
    """Return the reference that a text is where it names exactly one version, None for anything else."""
    try:
        reference = Reference.parse(text)
    except InvalidArgument:
        return None
    return reference if isinstance(reference.selector, Version) else None
