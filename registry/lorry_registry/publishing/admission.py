"""What no registry lets in or out: what `lorry validate` rejects, pickles, and manifests that files contradict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lorry.errors import Conflict, Incompatible, InvalidFile, LorryError, MissingExtra, VerificationFailed
from lorry.ir import Adapter
from lorry.ops.judging.findings import REJECT
from lorry.ops.judging.validate import validate
from lorry.ops.reading.read import open_adapter
from lorry.plugin.host import Host, host
from lorry_registry.home.view import ADAPTER_ROLES
from lorry_registry.references.reference import Reference
from lorry_registry.version.facts import file_facts, refuse_pickle, stated_words
from lorry_registry.version.manifest import Manifest


@contextmanager
def rejecting() -> Iterator[None]:
    """Raise VerificationFailed, as for all that `lorry validate` rejects, for what cannot be read as an adapter."""
    try:
        yield
    except MissingExtra:
        raise
    except (InvalidFile, Conflict, Incompatible) as error:
        raise VerificationFailed(str(error)) from error


def admit(reference: Reference, adapter: Adapter | Sequence[Path]) -> None:
    """Look at an adapter, or at the files of one; raise VerificationFailed for one that is not let in anywhere."""
    verdict = validate(adapter)
    if verdict.verdict == REJECT:
        worst = next(each for each in verdict.findings if each.level == REJECT)
        what = f"{worst.where}: {worst.what}; lorry validate tells all of it"
        raise VerificationFailed(f"{reference} is not let in: {what}")


def admit_version(manifest: Manifest, files: Mapping[str, Path]) -> None:
    """Look at a version that was described elsewhere; `files` are all of it, by their paths in the manifest.

    What the manifest says is held against what publishing these files would write down. Raises InvalidFile for a
    pickle, whatever its role, VerificationFailed for what `lorry validate` rejects and for what the files contradict.
    """
    ordered = [files[file.path] for file in sorted(manifest.files, key=lambda each: each.role not in ADAPTER_ROLES)]
    for path in ordered:
        refuse_pickle(path, "no registry lets one in")
    plugins = host()
    programs = [each for each in plugins.containers().values() if each.program]
    if any(each.sniff(path) for each in programs for path in ordered):
        admit(manifest.reference, ordered)  # first, for that reads them in a process of limited means
    try:
        adapter = open_adapter(ordered, plugins=plugins)
    except (LorryError, MemoryError, RecursionError):
        admit(manifest.reference, ordered)  # which says what is wrong, and in which file
        raise
    admit(manifest.reference, adapter)
    lies = [*_about_adapter(manifest, adapter, plugins), *_about_files(manifest, adapter, files)]
    if lies:
        raise VerificationFailed(
            f"{manifest.reference} is not let in, for its manifest says what its files contradict: {'; '.join(lies)}; "
            "whoever published it can publish the files again"
        )


def _about_adapter(manifest: Manifest, adapter: Adapter, plugins: Host) -> Iterator[str]:
    """Yield what is wrong; of keys that one of two lorries understands and the other does not, either may be right."""
    told, unmapped = manifest.adapter, len(adapter.report.unmapped)
    for what, claimed, found in (("kinds", told.kinds, adapter.kinds), ("tokens", told.tokens, tuple(adapter.tokens))):
        invented, hidden = {*claimed} - {*found}, {*found} - {*claimed}
        if (invented and told.unmapped >= unmapped) or (hidden and told.unmapped <= unmapped):
            yield f"its {what} are {_listed(claimed)}, and by the tensors {_listed(found)}"
    base = manifest.base.id.partition("@")[0]
    titles = {name: each.title for name, each in plugins.base_models().items()}
    doubt = dict(adapter.report.ambiguous).get("base", "")
    # A base that is not installed here may have tensors of the same names as one that is.
    if base in titles and base != adapter.base and titles[base] not in doubt:
        yield f"it is for {titles[base]}, and by the tensors for {titles[adapter.base]}"
    # What its author names takes the place of what the files state.
    if not told.trigger_words and (words := stated_words(adapter)):
        yield f"it has no trigger words, and its files state {_listed(words)}"


def _about_files(manifest: Manifest, adapter: Adapter, files: Mapping[str, Path]) -> Iterator[str]:
    frames = {path: frame for frame in adapter.origin for path in frame.source.paths}
    for file in manifest.files:
        found = file_facts(files[file.path], frames).tensor_digest
        if file.tensor_digest not in (None, found):
            yield f"the tensor digest of {file.path} is {file.tensor_digest}, and that of its tensors {found}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
