"""What a header claims, held against the tensors: the base it names, and the hashes it tells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from lorry.ir.adapter import Adapter
from lorry.ir.frame import Frame
from lorry.ir.tensor import TensorRef
from lorry.ops.reading.identify import CLAIM_FIELDS, claimed_base, target_shapes, variants
from lorry.plugin.base_model import BaseModel
from lorry.plugin.host import Host

_MODEL_HASH, _LEGACY_HASH, _SPEC_HASH = "sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256"
_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""The sha256 of no bytes at all."""

_HASHES = {_MODEL_HASH, _LEGACY_HASH, _SPEC_HASH}


class Conflict(NamedTuple):
    """A header entry that the tensors contradict: what it says, what they say, and what it ought to say.

    `right` is "" where that is not known: a name of a base that no installed table goes by.
    """

    key: str
    says: str
    tensors: str
    right: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"the header says {self.says[:80]} ({self.key}), the tensors say {self.tensors}"


def conflicts(adapter: Adapter, plugins: Host, *, hashed: bool = False) -> tuple[Conflict, ...]:
    """Return every claim of an adapter's headers that its tensors contradict.

    A hash of nothing is seen without reading tensors; with `hashed` each file is read once, and every hash told
    is held against it.
    """
    found: dict[Conflict, None] = {}
    for frame in adapter.origin:
        found |= dict.fromkeys(base_conflicts(frame.source.metadata, adapter, plugins))
        found |= dict.fromkeys(hash_conflicts(frame.source.metadata, frame, _body(frame) if hashed else ""))
    return tuple(found)


def base_conflicts(metadata: Mapping[str, str], adapter: Adapter, plugins: Host) -> Iterator[Conflict]:
    """Yield what a header says of the base that names and shapes rule out."""
    base = plugins.base_models()[adapter.base]
    for key in CLAIM_FIELDS:
        said = metadata.get(key, "")
        known = claimed_base(said, plugins)
        if not said or known == base.id:
            continue
        right = {"ss_base_model_version": base.claims[0] if base.claims else ""}.get(
            key, architecture(adapter, plugins)
        )
        tensors = base.title if known else f"{base.title}, which does not go by that name"
        yield Conflict(key, said, tensors, right if known else "")


def hash_conflicts(metadata: Mapping[str, str], frame: Frame, body: str = "") -> Iterator[Conflict]:
    """Yield the hashes a header tells that are not those of its file, whose AutoV3 is `body`.

    Without `body`, only those of nothing, where there is something.
    """
    told = {key: metadata.get(key, "").lower() for key in _HASHES}
    for key in (
        (_MODEL_HASH, _SPEC_HASH) if not body and any(ref.numel for ref in frame.source.tensors.values()) else ()
    ):
        if told[key].removeprefix("0x") == _NOTHING:
            yield Conflict(key, told[key], "otherwise: that is the hash of no bytes at all", "")
    if not body:
        return
    from lorry.ops.disk.hashes import sshs_legacy_hash

    if told[_MODEL_HASH] not in ("", body):
        yield Conflict(_MODEL_HASH, metadata[_MODEL_HASH], body, body)
    legacy = sshs_legacy_hash(frame.source.paths[0], metadata) if told[_LEGACY_HASH] else None
    if legacy and legacy != told[_LEGACY_HASH]:
        yield Conflict(_LEGACY_HASH, metadata[_LEGACY_HASH], legacy, legacy)
    if told[_SPEC_HASH] not in ("", f"0x{body}") and told[_SPEC_HASH] not in _other_orders(frame):
        yield Conflict(_SPEC_HASH, metadata[_SPEC_HASH], f"0x{body}", f"0x{body}")


def architecture(adapter: Adapter, plugins: Host) -> str:
    """Return modelspec.architecture as it ought to be: of the variant where the tensors tell it, else of the family."""
    base = plugins.base_models()[adapter.base]
    if base.spec is None:
        return ""
    ids = base.spec.architectures
    fitting = {ids.get(name, ids[""]) for name in variants(base, target_shapes(adapter.layers, plugins))}
    known = fitting.pop() if len(fitting) == 1 else ids[""]
    return f"{known}/{'lora' if adapter.layers else 'textual-inversion'}"


def implementation(adapter: Adapter, plugins: Host) -> str:
    """Return modelspec.implementation: the code whose module names the file's dialect writes for this base."""
    base = plugins.base_models()[adapter.base]
    if base.spec is None:
        return ""
    own = all(
        _written(base, adapter, plugins.dialects()[frame.dialect].naming) == "diffusers" for frame in adapter.origin
    )
    return "diffusers" if own and adapter.layers else base.spec.implementation


def _written(base: BaseModel, adapter: Adapter, family: str) -> str:
    """Return the scheme in which a family of dialects names the first component of a base that is adapted."""
    first = next((each for each in base.components if each.name in adapter.components), None)
    naming = first.naming.get(family) if first else None
    return naming.schemes[0] if naming else "diffusers"


def _body(frame: Frame) -> str:
    """Return AutoV3 of a frame's file, "" where its header tells no hash that could be held against it."""
    from lorry.ops.disk.hashes import known_hashes

    told = _HASHES & frame.source.metadata.keys() and len(frame.source.paths) == 1
    return known_hashes(frame.source.paths[0]).autov3 if told else ""


def _other_orders(frame: Frame) -> Iterator[str]:
    """Yield the hashes of the tensors in the orders that a trainer may have held them in: of the header, of names.

    ModelSpec wants the hash of all that follows the header; sd-scripts hashes tensor by tensor before it writes.
    """
    tensors = frame.source.tensors
    yield _hash(tensors.values())
    yield _hash(tensors[key] for key in sorted(tensors))


def _hash(refs: Iterable[TensorRef]) -> str:
    import hashlib

    digest = hashlib.sha256()
    for ref in refs:
        digest.update(ref.tobytes())
    return f"0x{digest.hexdigest()}"
