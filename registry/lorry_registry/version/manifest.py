"""The manifest: everything a version is, in one canonical JSON document whose sha256 is its identity.

It holds facts that never change. What happens to a version later (who published it when, which aliases
point at it) stands in the log. A stored manifest is never rewritten. Strengths and weights are JSON numbers
in the form RFC 8785 gives them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import (  # noqa: TID253  this module is only loaded where manifests are read or written
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from lorry.errors import Incompatible, InvalidArgument, InvalidFile
from lorry_registry.references.names import check_name, check_path, same_file_key
from lorry_registry.references.reference import Reference
from lorry_registry.references.semver import Version
from lorry_registry.version import canonical_json

SCHEMA = 1
"""Version of this schema; a field may be added without a new one, since readers keep what they do not know."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, AfterValidator(lambda text: _unchanged(text, check_name(text, "name")))]
Text = Annotated[str, Field(max_length=65_536)]


class Block(BaseModel):
    """A part of a manifest. Unknown fields are an error when writing, and kept when reading."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    @model_validator(mode="after")
    def _know_what_is_written(self, info: ValidationInfo) -> Self:
        if self.model_extra and not (info.context or {}).get("reading"):
            raise ValueError(f"unknown field {', '.join(map(repr, self.model_extra))}")
        return self


class Id(Block):
    """What it is called, and what its author says of it."""

    namespace: Name
    name: Name
    version: Annotated[str, AfterValidator(lambda text: _unchanged(text, str(Version.parse(text))))]
    title: Text = ""
    description: Text = ""
    license: Text = ""
    authors: tuple[Text, ...] = ()
    tags: tuple[Text, ...] = ()


class File(Block):
    """One file.

    role: weights, embedding, config, card, preview or extra; the first three make up the adapter.
    tensor_digest: see `lorry.ops.disk.tensor_digest`; None for a file without tensors.
    """

    path: Annotated[str, AfterValidator(check_path)]
    role: Text
    media_type: Text
    size: Annotated[int, Field(ge=0)]
    sha256: Sha256
    tensor_digest: Text | None = None


class AdapterFacts(Block):
    """What reading the files showed.

    format: "dialect+container". ranks: number of layers by rank. n_params: numbers in all layers and tokens.
    tokens: texts of learned tokens. trigger_words: plain words its author trained it on. unmapped: number of
    keys that no installed plugin understood.
    """

    kinds: tuple[Text, ...]
    format: Text
    components: tuple[Text, ...]
    layers: Annotated[int, Field(ge=0)]
    ranks: dict[str, int]
    dtypes: tuple[Text, ...]
    n_params: Annotated[int, Field(ge=0)]
    tokens: tuple[Text, ...] = ()
    trigger_words: tuple[Text, ...] = ()
    unmapped: Annotated[int, Field(ge=0)] = 0


class Base(Block):
    """The base it is for: "id@version" of the base table, and a hash of which modules of which shapes it touches."""

    id: Text
    fingerprint: Sha256


class Parent(Block):
    """One file this one was made from, or a step on the way to it.

    name, sha256: the input as the recipe recorded it. reference, manifest: the published version that holds
    it, where the registry has one. role: its part in the operation. weight: its strength there. op, parents: of what
    is published nowhere here and tells its own recipe, the operation and what that was done to; else left out.
    """

    name: Text = ""
    sha256: Sha256 | None = None
    reference: Text | None = None
    manifest: Sha256 | None = None
    role: Text = "input"
    weight: float | None = None
    op: Text | None = None
    parents: tuple[Parent, ...] | None = None


class Lineage(Block):
    """How it came to be: the operation, its whole recipe, and what it was made from."""

    op: Text
    recipe: dict[str, Any] = Field(default_factory=dict)
    parents: tuple[Parent, ...] = ()

    def every(self) -> Iterator[Parent]:
        """Yield all parents, and behind each step on the way those that it was made from."""
        ahead = [*self.parents]
        while ahead:
            parent = ahead.pop(0)
            yield parent
            ahead = [*(parent.parents or ()), *ahead]


class Manifest(Block):
    """One version of one adapter."""

    schema_version: int = SCHEMA
    id: Id
    files: Annotated[tuple[File, ...], Field(min_length=1)]
    adapter: AdapterFacts
    base: Base
    lineage: Lineage | None = None

    @model_validator(mode="after")
    def _name_each_file_once(self) -> Self:
        keys = [same_file_key(file.path) for file in self.files]
        folders = {key[:at] for key in keys for at, letter in enumerate(key) if letter == "/"}
        clash = next((key for key, count in Counter([*keys, *folders]).items() if count > 1), None)
        if clash:
            raise ValueError(f"{clash!r} stands for two files, or for a file and a folder, on some disks")
        return self

    @property
    def reference(self) -> Reference:
        """The exact reference of this version."""
        return Reference(self.id.namespace, self.id.name, Version.parse(self.id.version))

    def to_bytes(self) -> bytes:
        """Write it down in canonical form; what is None is left out."""
        return canonical_json.dump(self.model_dump(exclude_none=True))

    def digest(self) -> str:
        """Return its identity: the sha256 of its canonical form."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @staticmethod
    def from_bytes(data: bytes) -> Manifest:
        """Read a stored manifest.

        Raises InvalidFile where it is no manifest or not in canonical form, Incompatible where its schema is
        newer than this lorry.
        """
        try:
            found = canonical_json.load(data)
            schema = found.get("schema_version") if isinstance(found, dict) else None
            if isinstance(schema, int) and schema > SCHEMA:
                raise Incompatible(f"the manifest has schema {schema}, this lorry knows {SCHEMA}; upgrade lorry")
            return Manifest.model_validate_json(data, context={"reading": True})
        except ValidationError as error:
            raise InvalidFile(f"not a manifest: {explain(error)}") from error
        except InvalidArgument as error:
            raise InvalidFile(f"not a manifest: {error}") from error


def explain(error: ValidationError) -> str:
    """Say in one line which field is wrong, and how."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else str(first["msg"])


def _unchanged(given: str, checked: str) -> str:
    if given != checked:
        raise ValueError(f"must be written {checked!r}")
    return given
