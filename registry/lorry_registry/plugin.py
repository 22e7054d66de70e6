"""What the registry adds to lorry: the store that answers references, names of bases, and its commands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lorry.plugin import Command, Store, hookimpl

if TYPE_CHECKING:
    from lorry.ir.frame import Published
    from lorry_registry.home.store import LocalStore
    from lorry_registry.references.reference import Reference

LORRY_API = 1

_COMMANDS = {
    "Versions of adapters": {
        "publish": "Publish an adapter as a version that never changes.",
        "ls": "List what the registry holds.",
        "search": "Find adapters by words, base and kind.",
        "show": "Show everything recorded about a version.",
        "versions": "List the versions of an adapter.",
        "alias": "Move, list or forget the names that stand for versions.",
        "pull": "Copy a version's files out of the registry.",
        "lineage": "Show what a version was made from.",
        "verify": "Check every byte of a version.",
        "sign": "Stand for a version with a key.",
        "yank": "Keep a version from being found but by its exact number.",
        "unyank": "Let a yanked version be found again.",
        "deprecate": "Warn whoever uses a version.",
    },
    "Other places": {
        "add": "Bring other people's adapters in.",
        "quarantine": "Handle what was not let in.",
        "push": "Put a version in another place.",
        "clone": "Bring a version in from another place.",
        "export": "Write versions to a file.",
        "import": "Bring the versions of a file in.",
        "link": "Put versions where a tool finds them.",
        "unlink": "Take back what was put in a tool's folder.",
        "serve-hub": "Serve the registry by the Hugging Face Hub's protocol.",
    },
    "Projects": {
        "lock": "Fix the versions a project uses.",
        "sync": "Get the versions a lock file names.",
        "outdated": "Tell which versions could be newer.",
    },
    "This machine": {
        "base": "Give base models on this machine a name.",
        "doctor": "Look at what lorry has around it.",
        "fsck": "Check every byte of the registry, and mend it.",
        "gc": "Delete what no version holds.",
    },
}
"""By topic, in the order of `lorry --help`: one file each in lorry_registry/commands."""


@hookimpl
def lorry_stores() -> list[Store]:
    """Provide the local registry, and the places that versions are pushed to and cloned from."""
    return [
        Store(
            name="local",
            title="local registry",
            adapter=find_adapter,
            version=find_version,
            bases=list_bases,
            file=find_file,
            api="lorry_registry:Registry",
            schemes=("file",),
            remote="lorry_registry.remotes.folder:open_folder",
        ),
        Store(
            name="objects",
            title="object stores",
            schemes=("s3", "gs", "az"),
            remote="lorry_registry.remotes.objects:open_objects",
        ),
        Store(
            name="oci",
            title="OCI registries",
            schemes=("oci",),
            remote="lorry_registry.remotes.oci.place:open_oci",
        ),
        Store(
            name="hub",
            title="Hugging Face Hub",
            schemes=("hf",),
            remote="lorry_registry.remotes.hub.remote:open_hub",
            holds_one=True,
            fetch="lorry_registry.remotes.hub.foreign:fetch",
        ),
        Store(
            name="https",
            title="files at https addresses",
            schemes=("https", "http"),
            fetch="lorry_registry.sources.https:fetch",
        ),
        Store(
            name="civitai",
            title="Civitai",
            schemes=("civitai", "air", "urn"),
            pages=("https://civitai.com/models/",),
            fetch="lorry_registry.sources.civitai:fetch",
            look_up="lorry_registry.sources.civitai:look_up",
        ),
    ]


@hookimpl
def lorry_commands() -> list[Command]:
    """Provide one command a file."""
    return [
        Command(name=name, help=text, load=f"lorry_registry.commands.{name.replace('-', '_')}:command", topic=topic)
        for topic, commands in _COMMANDS.items()
        for name, text in commands.items()
    ]


def find_adapter(text: str) -> tuple[Path, ...] | None:
    """Return the files of a published adapter; None for what is no reference to one that this registry knows.

    Raises NotFound where the adapter is here, or one of nearly that name, and the reference still fits none.
    """
    if (known := _known(text)) is None:
        return None
    from lorry_registry.home.view import adapter_files

    store, reference = known
    return adapter_files(store, store.find(reference))


def find_version(text: str) -> Published | None:
    """Return the version that a reference means now, told by the digest of its manifest; as `find_adapter`."""
    if (known := _known(text)) is None:
        return None
    from lorry.ir.frame import Published

    store, reference = known
    found = store.resolve(reference)
    return Published(str(found.reference), f"sha256:{found.digest}")


def _known(text: str) -> tuple[LocalStore, Reference] | None:
    """Return the registry and the reference to an adapter that it knows, or one of nearly that name."""
    from lorry.errors import InvalidArgument
    from lorry_registry.home.store import LocalStore
    from lorry_registry.references.reference import Reference

    try:
        adapter = Reference.parse(text.partition("@")[0])
    except InvalidArgument:
        return None
    store = LocalStore()
    return (store, Reference.parse(text)) if store.knows(adapter) else None


def find_file(sha256: str) -> Path | None:
    """Return a file of a published version by its sha256, whatever that version is called."""
    from lorry_registry.home.store import LocalStore
    from lorry_registry.home.view import file_of_digest

    return file_of_digest(LocalStore(), sha256)


def list_bases() -> Mapping[str, Path]:
    """Return the bases that `lorry base add` named."""
    from lorry_registry.bases import Bases

    return Bases().all()
