"""What a manifest records about an adapter, found by reading its files and nothing else."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lorry.errors import InvalidFile
from lorry.ir import Adapter, Frame, TensorRef
from lorry.ops.disk.tensor_digest import tensor_digest
from lorry.ops.headers.triggers import triggers
from lorry.ops.reading.identify import target_shapes
from lorry.plugin.host import Host
from lorry_registry.version import canonical_json
from lorry_registry.version.manifest import AdapterFacts, Base

_ROLES = {
    ".json": "config", ".yaml": "config", ".toml": "config", ".md": "card", ".txt": "card",
    ".png": "preview", ".jpg": "preview", ".jpeg": "preview", ".webp": "preview",
}  # fmt: skip
_MEDIA_TYPES = {
    ".json": "application/json", ".yaml": "application/yaml", ".toml": "application/toml",
    ".md": "text/markdown", ".txt": "text/plain", ".png": "image/png", ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg", ".webp": "image/webp", ".safetensors": "application/vnd.safetensors",
}  # fmt: skip
# Not the mimetypes module: it reads each machine's own tables, and a manifest must not depend on those.


class FileFacts(NamedTuple):
    """What a file is for, and the digest of its tensors where it has any."""

    role: str
    media_type: str
    tensor_digest: str | None


def adapter_facts(adapter: Adapter, trigger_words: Sequence[str], plugins: Host) -> AdapterFacts:
    """Return kinds, format, ranks and sizes."""
    layers = [layer for stack in adapter.layers.values() for layer in stack]
    refs = [ref for layer in layers for ref in layer.slots.values()]
    refs += [ref for token in adapter.tokens.values() for ref in token.vectors.values()]
    kinds = plugins.kinds()
    ranks = Counter(rank(layer.slots) for layer in layers if (rank := kinds[layer.kind].rank))
    return AdapterFacts(
        kinds=adapter.kinds,
        format=", ".join(dict.fromkeys(f"{frame.dialect}+{frame.container}" for frame in adapter.origin)),
        components=adapter.components,
        layers=len(layers),
        ranks={str(rank): count for rank, count in sorted(ranks.items())},
        dtypes=tuple(sorted({ref.dtype for ref in refs})),
        n_params=sum(ref.numel for ref in _distinct(refs)),
        tokens=tuple(adapter.tokens),
        trigger_words=tuple(trigger_words),
        unmapped=len(adapter.report.unmapped),
    )


def base_facts(adapter: Adapter, plugins: Host) -> Base:
    """Return the base table's id, and the fingerprint of what the adapter touches in it.

    The fingerprint is the sha256 of the canonical JSON of the sorted list of [module path, weight shape],
    with -1 for a size that the layers do not tell, and of [component, width] for learned tokens.
    """
    touched = {(str(path), shape) for path, shape in target_shapes(adapter.layers, plugins).items()}
    touched |= {
        (component, ref.shape[1:]) for token in adapter.tokens.values() for component, ref in token.vectors.items()
    }
    fingerprint = hashlib.sha256(canonical_json.dump(sorted(touched))).hexdigest()
    return Base(id=f"{adapter.base}@{plugins.base_models()[adapter.base].version}", fingerprint=fingerprint)


def stated_words(adapter: Adapter) -> tuple[str, ...]:
    """Return the trigger words that its files state, but for learned tokens."""
    return tuple(each.text for each in triggers(adapter) if each.stated and each.text not in adapter.tokens)


def file_facts(path: Path, frames: Mapping[Path, Frame]) -> FileFacts:
    """Return what a file is for; raise InvalidFile for a pickle, which is never published."""
    suffix = PurePosixPath(path.name).suffix.lower()
    media_type = _MEDIA_TYPES.get(suffix, "application/octet-stream")
    frame = frames.get(path)
    if frame is None:
        refuse_pickle(path, "leave it out")
        return FileFacts(_ROLES.get(suffix, "extra"), media_type, None)
    convert = f"lorry convert {path.name} --to {frame.dialect}+safetensors -o {path.stem}.safetensors"
    refuse_pickle(path, f"convert it first, say: {convert}")
    role = "embedding" if frame.tokens and not frame.layers else "weights"
    return FileFacts(role, media_type, tensor_digest(frame.source.tensors))


def _distinct(refs: Iterable[TensorRef]) -> Iterable[TensorRef]:
    """Count once what the parts of a fused module share."""
    return {ref.segments: ref for ref in refs}.values()


def refuse_pickle(path: Path, advice: str) -> None:
    """Raise InvalidFile for a file that begins as a pickle does, or as the zip file that one comes in."""
    with path.open("rb") as file:
        head = file.read(8)
    zipped = head.startswith(b"PK") and head[2:3] < b" "  # else it is a text
    # The length of a safetensors header comes first, of which the higher bytes are 0: 640 bytes begin with 0x80 too.
    if (zipped or head.startswith(b"\x80")) and head[3:] != bytes(5):
        raise InvalidFile(f"{path.name} is a pickle, which some programs run as code when they open it; {advice}")
