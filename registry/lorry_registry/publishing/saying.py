"""Saying that a version should not be used, and what instead: here, or in another place."""

from __future__ import annotations

from lorry_registry.home.store import LocalStore
from lorry_registry.references.reference import Reference
from lorry_registry.version.notes import Change


def say(store: LocalStore, reference: Reference, change: Change, event: str, at: str = "") -> bool:
    """Change the note on an exact version and log it as `event`; return whether it says something else now.

    With `at` that is done in that place alone. Raises InvalidArgument where the reference is not exact, NotFound.
    """
    reference.exact()
    if not at:
        return store.say(reference, change, event)
    from lorry_registry.remotes.address import open_remote
    from lorry_registry.remotes.remote_notes import say_there

    return say_there(open_remote(at, reference), reference, change)


def instead(store: LocalStore, replaced_by: str | None, at: str = "") -> str | None:
    """Return what is to be used instead, in full; raise NotFound where it is said here, and that is not here."""
    if replaced_by is None:
        return None
    use = Reference.parse(replaced_by)
    if not at:
        store.resolve(use)
    return str(use)
