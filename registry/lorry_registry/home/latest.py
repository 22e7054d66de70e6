"""The alias "latest", which moves by itself: to the highest stable version that is not yanked."""

from __future__ import annotations

from lorry.errors import VerificationFailed
from lorry_registry.home.records import Records
from lorry_registry.references.reference import LATEST, Alias
from lorry_registry.references.semver import Version


def offered(records: Records, version: Version) -> bool:
    """Tell whether "latest" may stand for a version."""
    return version.stable and not records.yanked(version)


def highest_offered(records: Records) -> Version | None:
    """Return the version that "latest" should stand for, if there is one."""
    return max((version for version in records.versions() if offered(records, version)), default=None)


def move_latest(records: Records) -> None:
    """Point "latest" where it should, and look again: a publish may have come between. Drop it where all is yanked."""
    latest, moved = Alias(LATEST), True
    while moved:
        highest = highest_offered(records)
        if highest:
            moved = records.move(latest, highest)
        else:
            moved = _stands_for_yanked(records, latest) and records.drop(latest)


def _stands_for_yanked(records: Records, alias: Alias) -> bool:
    try:
        version = records.alias(alias)
    except VerificationFailed:  # damaged: lorry fsck tells of it
        return False
    return version is not None and records.yanked(version)
