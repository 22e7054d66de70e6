"""Which other distributions may add plugins: `plugins.allow` in the settings file. Where that says nothing, all may.

    [plugins]
    allow = ["lorry-hello"]

It is read only where there are plugins that are not lorry's own, since looking for it costs each command some time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorry.errors import InvalidArgument, NotFound
from lorry.plugin.installed import normalised


def settings_file() -> Path:
    """Return LORRY_CONFIG, or "config.toml" in lorry's place among the user's settings."""
    named = os.environ.get("LORRY_CONFIG")
    if named:
        return Path(named).expanduser().absolute()
    from platformdirs import user_config_path

    return user_config_path("lorry", appauthor=False) / "config.toml"


def allowed() -> frozenset[str] | None:
    """Return the normalised names of the distributions that may add plugins, None where all may.

    Raises InvalidArgument for a file that says something else than it may, NotFound where LORRY_CONFIG names none.
    """
    import tomllib

    path = settings_file()
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if os.environ.get("LORRY_CONFIG"):
            raise NotFound(f"{path} is not there; LORRY_CONFIG should name a settings file") from error
        return None
    except ValueError as error:
        raise InvalidArgument(f"{path} is not TOML: {error}; mend or delete it") from error
    return _allowed(found, path)


def _allowed(found: Mapping[str, Any], path: Path) -> frozenset[str] | None:
    plugins = found.get("plugins", {})
    # A slip of the pen must not let everybody in.
    unknown = [*(found.keys() - {"plugins"}), *(plugins.keys() - {"allow"} if isinstance(plugins, dict) else ())]
    if unknown or not isinstance(plugins, dict):
        raise InvalidArgument(f"{path}: {unknown[0] if unknown else 'plugins'!r} is no setting; there is plugins.allow")
    names = plugins.get("allow")
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidArgument(f'{path}: plugins.allow must be a list of distributions, such as ["lorry-hello"]')
    return frozenset(map(normalised, names))
