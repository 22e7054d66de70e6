"""What a selector speaks of, here and at remotes alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lorry_registry.references.reference import LATEST, Alias, Selector
from lorry_registry.references.semver import Range, Version


def meant(
    selector: Selector | None,
    versions: Callable[[], Iterable[Version]],
    alias: Callable[[Alias], Version | None],
    passed_over: Callable[[Version], bool] = lambda _: False,
) -> list[Version]:
    """Return the versions that an exact version, a range, an alias or a bare name speaks of; the highest is taken.

    A bare name speaks of the alias "latest", or where nobody has moved that yet, or it stands for a version that is
    `passed_over`, of every stable version. A digest speaks of none: only manifests tell.
    """
    match selector:
        case Version() as version:
            return [version]
        case Range() as span:
            return [version for version in versions() if version in span]
        case Alias():
            return [version for version in [alias(selector)] if version]
        case None:
            latest = alias(Alias(LATEST))
            if latest and not passed_over(latest):
                return [latest]
            return [version for version in versions() if version.stable]
    return []
