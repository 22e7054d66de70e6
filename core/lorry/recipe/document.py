"""What a recipe says: an operation, what goes into it, how it is done and how the result is written.

A recipe names operations that lorry has; it holds no code, and no path that is ever written to.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (  # noqa: TID253  this module is only loaded where recipes are read
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    TypeAdapter,
    model_validator,
)

from lorry.ops.headers.recipe import SCHEMA
from lorry.plugin.merge_method import Value
from lorry.recipe.fields import Digest, Dtype, Files, Flag, Number, Rank, Text, Weights

MOST_INPUTS = 1000


def _place(given: Any) -> Any:  # noqa: ANN401  checked by pydantic
    return {"path": given} if isinstance(given, str) else given


def _adapter(given: Any) -> Any:  # noqa: ANN401  checked by pydantic
    return {"adapter": given} if isinstance(given, str) else given


class Part(BaseModel):
    """A part of a recipe; what it does not know is refused, so that nothing that was asked for is left undone."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Version(Part):
    """A version that a store answered a reference with: its exact reference, and the digest of all of it."""

    reference: Text
    digest: Digest


class Input(Part):
    """An adapter, and its weight; a text alone is its path or reference.

    adapter: a path as seen from the recipe, a reference that a store answers, or the name it had.
    files: the digest of each of its files, by which it is found under any name; another file is refused.
    version: which published version that was, where it was opened by a reference.
    recipe: how it is made where it is not found. changed: it was changed in memory before it went in, so that nothing
    tells what went in.
    """

    adapter: Text = ""
    files: Annotated[Files, Field(max_length=MOST_INPUTS)] = {}
    version: Version | None = None
    recipe: Recipe | None = None
    weight: Number = 1.0
    changed: Flag = False

    @model_validator(mode="after")
    def _say_what(self) -> Self:
        if not (self.adapter or self.files or self.recipe):
            raise ValueError("an input needs an adapter, files or a recipe; one that stood in no file cannot be found")
        return self


class Model(Part):
    """A base model, or a folder of its configurations; a text alone is its path or name.

    path: as seen from the recipe, or a name that a store knows (lorry base ls). name: of its file or folder.
    files: the digest of each of its files, "" for a model in a single one. recipe: what makes it, a bake or a
    conversion.
    """

    path: Text = ""
    name: Text = ""
    id: Text = ""
    files: Annotated[Files, Field(max_length=100_000)] = {}
    recipe: Recipe | None = None

    @model_validator(mode="after")
    def _say_what(self) -> Self:
        if not (self.path or self.name or self.recipe):
            raise ValueError("a model needs a path, a name or a recipe")
        return self


Adapter = Annotated[Input, BeforeValidator(_adapter, json_schema_input_type=str | Input)]
Base = Annotated[Model, BeforeValidator(_place, json_schema_input_type=str | Model)]


class Output(Part):
    """How an adapter is written: format, that of the first input if not given, and dtype to round to."""

    format: Text | None = None
    dtype: Dtype | None = None


class BakedOutput(Part):
    """How a baked model is written: layout and dtype, both the base's own if not given."""

    layout: Text | None = None
    dtype: Dtype | None = None


class ConvertedOutput(Part):
    """How a base model is written in another layout: which, and for folders the most bytes of a shard."""

    layout: Text
    shard_size: Rank | Text | None = None


class Expected(Part):
    """What the result must be: the digest of its tensors, see `lorry.ops.disk.tensor_digest`."""

    tensor_digest: Annotated[str, Field(pattern=r"^blake3:[0-9a-f]{64}$")]


class By(Part):
    """What made it the first time: versions, the kind of device that computed, and the number of its threads.

    The last bits of a decomposition depend on that number, so that as many are at work again.
    """

    model_config = ConfigDict(extra="allow")

    lorry: Text = ""
    torch: Text = ""
    device: Text = ""
    threads: Annotated[int, Strict(), Field(ge=1, le=256)] | None = None


class Ranks(Part):
    """What decides ranks, as in lorry extract: one of these, or rank 32."""

    rank: Rank | None = None
    energy: Number | None = None
    error: Number | None = None
    size: Rank | Text | None = None


class MergeOptions(Part):
    """Options of lorry merge: the method with its own settings, weights by name, and a rank to cut to."""

    method: Text = "sum"
    settings: dict[Text, Value] = {}
    weights: Annotated[tuple[Weights, ...], Field(max_length=MOST_INPUTS)] = ()
    rank: Rank | None = None
    partial: Flag = False


class ExtractOptions(Ranks):
    """Options of lorry extract."""

    conv: Literal["linear", "1x1", "tucker", "full"] = "linear"
    full: Flag = False
    others: Flag = True


class ResizeOptions(Ranks):
    """Options of lorry resize."""

    ratio: Number | None = None
    partial: Flag = False


class ConvertOptions(Part):
    """Options of lorry convert."""

    lossy: Flag = False
    rank: Rank | None = None


class BakeOptions(Part):
    """Options of lorry bake."""

    partial: Flag = False
    lossy: Flag = False


class ConvertBaseOptions(Part):
    """Options of lorry convert-base."""

    lossy: Flag = False


class Told(Part):
    """What every recipe says beside its operation."""

    lorry: Literal[1] = SCHEMA
    expect: Expected | None = None
    by: By = By()


class Merge(Told):
    """Make one adapter of several. like: what the weights were learned from, which nothing needs again."""

    op: Literal["merge"]
    inputs: Annotated[tuple[Adapter, ...], Field(min_length=1, max_length=MOST_INPUTS)]
    base: Base | None = None
    like: Adapter | None = None
    options: MergeOptions = MergeOptions()
    output: Output = Output()


class Extract(Told):
    """Make an adapter of what a fine-tune changed."""

    op: Literal["extract"]
    inputs: ClassVar[tuple[Input, ...]] = ()
    tuned: Base
    base: Base
    options: ExtractOptions = ExtractOptions()
    output: Output = Output()


class Resize(Told):
    """Change the ranks of an adapter."""

    op: Literal["resize"]
    inputs: Annotated[tuple[Adapter, ...], Field(min_length=1, max_length=1)]
    base: Base | None = None
    options: ResizeOptions = ResizeOptions()
    output: Output = Output()


class Convert(Told):
    """Write an adapter in another format."""

    op: Literal["convert"]
    inputs: Annotated[tuple[Adapter, ...], Field(min_length=1, max_length=1)]
    base: Base | None = None
    options: ConvertOptions = ConvertOptions()
    output: Output = Output()


class Bake(Told):
    """Add adapters to a base model's weights. like: a folder of configurations, for another layout."""

    op: Literal["bake"]
    inputs: Annotated[tuple[Adapter, ...], Field(min_length=1, max_length=MOST_INPUTS)]
    base: Base
    like: Base | None = None
    options: BakeOptions = BakeOptions()
    output: BakedOutput = BakedOutput()


class ConvertBase(Told):
    """Write a base model in another layout. like: a folder of configurations."""

    op: Literal["convert-base"]
    inputs: ClassVar[tuple[Input, ...]] = ()
    base: Base
    like: Base | None = None
    options: ConvertBaseOptions = ConvertBaseOptions()
    output: ConvertedOutput


Recipe = Annotated[Merge | Extract | Resize | Convert | Bake | ConvertBase, Field(discriminator="op")]
"""Any recipe."""

RECIPE: TypeAdapter[Merge | Extract | Resize | Convert | Bake | ConvertBase]

for _part in (Input, Model, Merge, Extract, Resize, Convert, Bake, ConvertBase):
    _part.model_rebuild()
RECIPE = TypeAdapter(Recipe)


def schema() -> dict[str, Any]:
    """Return the JSON schema of a recipe."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lorry recipe",
        **RECIPE.json_schema(),
    }


def canonical(recipe: Merge | Extract | Resize | Convert | Bake | ConvertBase) -> str:
    """Write a recipe down in the one way that is compared and hashed; what is not said is left out."""
    return json.dumps(recipe.model_dump(mode="json", exclude_defaults=True), sort_keys=True, separators=(",", ":"))
