"""Replaying: making a version again by its recipe, from what it was made of, and comparing the tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from lorry.errors import NotFound
from lorry.ops.disk.tensor_digest import digest_of
from lorry.ops.writing.write import chosen
from lorry.plugin.host import Host, host
from lorry.recipe.comparing import Compared, compare_with
from lorry.recipe.document import Output, Recipe
from lorry.recipe.finding import Finder
from lorry.recipe.plan import plan
from lorry.recipe.reading import Read, parse
from lorry.recipe.running import Running
from lorry_registry.disk import durable
from lorry_registry.home.store import LocalStore, Resolved
from lorry_registry.home.view import ADAPTER_ROLES, adapter_files, file_of_digest
from lorry_registry.references.reference import Reference
from lorry_registry.version.manifest import Manifest, Parent


def replay(
    store: LocalStore,
    resolved: Resolved,
    *,
    inputs: Mapping[str, Path] | None = None,
    find_in: Sequence[Path] = (),
    device: str | None = None,
) -> Compared:
    """Make a version again from its parents, found by digest whatever became of their names, and compare the tensors.

    Raises NotFound where it has no recipe, or naming the digest of a parent that is neither here nor in `inputs` or
    `find_in`, and VerificationFailed where something else comes out.
    """
    manifest, plugins = store.manifest(resolved), host()
    if manifest.lineage is None or not manifest.lineage.recipe:
        raise NotFound(
            f"{resolved.reference} has no recipe, so that it cannot be made again; lorry verify alone reads it"
        )
    recipe = parse(manifest.lineage.recipe, f"what {resolved.reference} tells of how it was made")
    recipe = _pinned(recipe, {each.name: files for each in manifest.lineage.every() if (files := _files(store, each))})
    stored = partial(file_of_digest, store)
    store.layout.scratch.prepare()
    with durable.draft(store.layout.scratch.drafts) as folder:
        folder.mkdir()
        finder = Finder(plugins=plugins, folder=folder, given=inputs or {}, below=find_in, stored=stored)
        made = folder / _name(manifest, recipe, plugins)
        run = Running(Read(recipe, folder), plan(recipe, finder), made, device=device, plugins=plugins)
        for _ in run.run():
            pass
        digests = [file.tensor_digest for file in manifest.files if file.tensor_digest]
        found = digest_of(made, plugins)
        expected = found if found in digests else digests[0]
        compared = compare_with(expected, made, adapter_files(store, resolved), plugins)
    compared.check(f"{resolved.reference}, made again,")
    return compared


def _files(store: LocalStore, parent: Parent) -> Mapping[str, str]:
    """Return the files, by digest, of a parent that the recipe tells by reference alone; none where it tells them."""
    if parent.sha256 or not (parent.reference and parent.manifest):
        return {}
    held = store.manifest(Resolved(Reference.parse(parent.reference), parent.manifest)).files
    return {file.path: f"sha256:{file.sha256}" for file in held if file.role in ADAPTER_ROLES}


def _pinned(recipe: Recipe, known: Mapping[str, Mapping[str, str]]) -> Recipe:
    """Return a recipe whose references mean the versions that they meant when it was published."""
    if not recipe.inputs:
        return recipe
    inputs = [
        each.model_copy(
            update={
                "files": each.files or known.get(each.adapter, {}),
                "recipe": _pinned(each.recipe, known) if each.recipe else None,
            }
        )
        for each in recipe.inputs
    ]
    return recipe.model_copy(update={"inputs": tuple(inputs)})


def _name(manifest: Manifest, recipe: Recipe, plugins: Host) -> str:
    """Return what the result is called: as it was published, for a token may go by that name, unless it is a folder."""
    published = next(PurePosixPath(file.path).name for file in manifest.files if file.tensor_digest)
    format = recipe.output.format if isinstance(recipe.output, Output) else None
    suffixes = chosen(format, plugins)[1].suffixes if format else (PurePosixPath(published).suffix,)
    return (
        published
        if PurePosixPath(published).suffix in suffixes
        else f"{PurePosixPath(published).stem}{next(iter(suffixes), '')}"
    )
