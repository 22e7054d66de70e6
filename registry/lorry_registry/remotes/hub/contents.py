"""The files of a version's commit: its own at their paths, and beside them what tools and people look for.

What the version brings itself stands as it is; what it does not bring is written: the weights in the root under the
name and in the dialect that diffusers looks for, other dialects on request, the recipe, and a model card.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from shutil import copyfile
from typing import NamedTuple

from lorry.errors import Incompatible, InvalidFile, LorryWarning, MissingExtra
from lorry.ir import Adapter
from lorry.ops.judging.loaders import loads
from lorry.ops.reading.identify import target_shapes, variants
from lorry.ops.reading.read import open_adapter
from lorry.ops.writing.convert import convert
from lorry.ops.writing.write import chosen
from lorry.plugin.host import Host, host
from lorry.plugin.loader import LOADS
from lorry_registry.home.view import ADAPTER_ROLES
from lorry_registry.references.names import same_file_key
from lorry_registry.remotes.hub.card import model_card
from lorry_registry.remotes.hub.versions import MANIFEST
from lorry_registry.version.manifest import Manifest

CARD = "README.md"
RECIPE = "recipe.json"
ALIASES = "aliases.json"
NOTES = "notes.json"
DIFFUSERS = "pytorch_lora_weights.safetensors"
"""The name that diffusers' load_lora_weights looks for (diffusers, loaders/lora_base.py, LORA_WEIGHT_NAME_SAFE)."""

_FORMAT = "diffusers+safetensors"
_TAKEN = frozenset({MANIFEST, ALIASES, NOTES, ".gitattributes"})
_TOOLS = ("diffusers", "ComfyUI")


class Wishes(NamedTuple):
    """What may be said of a publish: `public` None leaves that to the Hub's settings, and makes private what is new.

    also: formats to put beside the file in the root. base_model: the base's repository; as its table says if "".
    """

    public: bool | None = None
    also: tuple[str, ...] = ()
    base_model: str = ""


def contents(  # noqa: PLR0913  what a commit is made of
    manifest: Manifest, data: bytes, blobs: Mapping[str, Path], folder: Path, *, repository: str, wishes: Wishes
) -> dict[str, Path | bytes]:
    """Return the files of a version's commit by path; what has to be made is made in `folder`.

    `data` are the manifest's bytes, `blobs` the version's files by sha256. What diffusers' dialect cannot hold is said
    in a LorryWarning; NotRepresentable is raised for a format that was wished for.
    """
    plugins = host()
    own = {file.path: blobs[file.sha256] for file in manifest.files}
    _refuse_taken(manifest, own)
    named = _named(own, folder / "own")
    adapter = open_adapter([named[file.path] for file in manifest.files if file.role in ADAPTER_ROLES])
    beside = folder / "beside"
    beside.mkdir()
    made = {**dict(_root(manifest, adapter, beside)), **dict(_wished(manifest, adapter, wishes.also, beside, plugins))}
    files: dict[str, Path | bytes] = {**made, **own, MANIFEST: data}
    if manifest.lineage and manifest.lineage.recipe and RECIPE not in own:
        files[RECIPE] = json.dumps(manifest.lineage.recipe, indent=2, ensure_ascii=False, sort_keys=True).encode()
    if CARD not in own:
        weights = [file.path for file in manifest.files if file.role in ADAPTER_ROLES]
        tools = {tool: _loaded_by(tool, {**made, **{path: named[path] for path in weights}}) for tool in _TOOLS}
        base = wishes.base_model or base_repository(adapter, plugins)
        files[CARD] = model_card(manifest, repository, base_model=base, loaded=tools).encode()
    return files


def left_behind(manifest: Manifest, paths: Iterable[str]) -> set[str]:
    """Return those of a commit's paths that a version put there; what people added on the Hub stays."""
    own = {file.path for file in manifest.files} | {RECIPE, DIFFUSERS}
    beside = tuple(f"{dialect}/{manifest.id.name}{mark}" for dialect in host().dialects() for mark in "./")
    return {path for path in paths if path in own or path.startswith(beside)}


def base_repository(adapter: Adapter, plugins: Host) -> str:
    """Return the Hub's repository of the base: of the variant where the tensors tell it, else of the family; or ""."""
    base = plugins.base_models()[adapter.base]
    usual = base.hub.get("", "")
    fitting = {base.hub.get(name, usual) for name in variants(base, target_shapes(adapter.layers, plugins))}
    return fitting.pop() if len(fitting) == 1 else usual


def _refuse_taken(manifest: Manifest, own: Iterable[str]) -> None:
    taken = next((path for path in own if same_file_key(path) in _TAKEN), None)
    if taken:
        raise InvalidFile(
            f"{manifest.reference} has a file {taken}, and on the Hub lorry keeps something else under that name; "
            "publish a version where it has another one"
        )


def _named(own: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    """Give blobs their own names, which formats go by."""
    named = {path: folder / path for path in own}
    for path, blob in own.items():
        named[path].parent.mkdir(parents=True, exist_ok=True)
        try:
            named[path].symlink_to(blob)
        except OSError:  # Windows without the right to make links
            copyfile(blob, named[path])
    return named


def _root(manifest: Manifest, adapter: Adapter, folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the file in the root that diffusers finds by itself: the published one where it is so already."""
    frames = [frame for frame in adapter.origin if frame.layers]
    if not frames:
        return
    if len(frames) == 1 and f"{frames[0].dialect}+{frames[0].container}" == _FORMAT:
        yield DIFFUSERS, frames[0].path
        return
    try:
        convert(replace(adapter, tokens={}), folder / DIFFUSERS, _FORMAT)
    except MissingExtra:
        raise
    except Incompatible as error:
        warnings.warn(
            f"{manifest.reference} goes to the Hub as it is, without {DIFFUSERS}: {error}", LorryWarning, stacklevel=2
        )
    else:
        yield DIFFUSERS, folder / DIFFUSERS


def _wished(
    manifest: Manifest, adapter: Adapter, formats: Iterable[str], folder: Path, plugins: Host
) -> Iterator[tuple[str, Path]]:
    """Yield the adapter in other formats, each in a folder of the dialect's name."""
    for each in formats:
        dialect, container = chosen(each, plugins)
        target = folder / dialect.name / f"{manifest.id.name}{''.join(container.suffixes[:1])}"
        target.parent.mkdir(exist_ok=True)
        convert(adapter, target, each)
        written = sorted(path for path in target.rglob("*") if path.is_file()) if target.is_dir() else [target]
        yield from ((path.relative_to(folder).as_posix(), path) for path in written)


def _loaded_by(tool: str, files: Mapping[str, Path]) -> str:
    """Return the first file that a tool loads as it is; "" where it is known to load none."""
    for path, file in files.items():
        with suppress(Incompatible, InvalidFile):
            if any(each.tool == tool and each.verdict == LOADS for each in loads(open_adapter(file))):
                return path
    return ""
