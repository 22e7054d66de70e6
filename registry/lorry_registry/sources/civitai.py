"""Civitai: models by AIR or number, and what it knows of a file by its hash.

Its API: https://developer.civitai.com/site/reference. CIVITAI_API_TOKEN is sent to its host alone, which is that of
CIVITAI_ENDPOINT where that is set.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from lorry.errors import Incompatible, InvalidArgument, LorryError, LorryWarning, NotFound, UpstreamFailed
from lorry.ops.disk.hashes import Hashes
from lorry.plugin.fetched import Facts, Fetched, Limits
from lorry_registry.sources.air import Air
from lorry_registry.sources.civitai_facts import TYPES, facts, hashes_of, table, tables, text
from lorry_registry.sources.file_names import safe_name
from lorry_registry.sources.guarded import Guarded
from lorry_registry.sources.https import download

_ADDRESS = re.compile(r"civitai://(?:models/)?(?P<model>\d+)(?:@(?P<version>\d+))?")
_PAGE = re.compile(
    r"https://civitai\.com/models/(?P<model>\d+)(?:/[^?#]*)?(?:\?(?:.*&)?modelVersionId=(?P<version>\d+).*)?"
)
_PREVIEWS, _LARGEST_PREVIEW = 3, 16 << 20
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")


def fetch(address: str, into: Path, limits: Limits) -> Fetched:
    """Fetch one version of a model, the newest where none is named, with its previews. See `lorry.plugin.Store`."""
    air = _parse(address)
    with _client(limits) as web:
        model = table(web.json(f"{_endpoint()}/api/v1/models/{quote(air.model)}"))
        version = _version(model, air)
        kind = text(model, "type")
        if kind.lower() not in TYPES:
            raise Incompatible(f"{address} is a {kind or 'thing of no known type'}, and no adapter")
        file = _file(version, air)
        path = download(web, text(file, "downloadUrl"), into, limits.nbytes, safe_name(text(file, "name")))
        left = limits.nbytes - path.stat().st_size
        pictures = tuple(_previews(web, version, path, min(left, _LARGEST_PREVIEW)))
    told = facts(model, version)
    return Fetched((path, *pictures), told._replace(hashes={path.name: hashes_of(file)}))


def look_up(hashes: Hashes, limits: Limits) -> Facts | None:
    """Return what Civitai knows of the file with these hashes, None where it knows none."""
    with _client(limits) as web:
        try:
            version = table(web.json(f"{_endpoint()}/api/v1/model-versions/by-hash/{hashes.sha256}"))
        except NotFound:
            return None
        model: Mapping[str, Any] = {"id": version.get("modelId"), **table(version.get("model"))}
        with suppress(NotFound):  # the version outlives its page
            model = table(web.json(f"{_endpoint()}/api/v1/models/{quote(str(model['id']))}"))
    told = next((each for each in map(hashes_of, tables(version, "files"))
                 if each.get("SHA256", "").lower() == hashes.sha256), None)  # fmt: skip
    if told is None:
        raise UpstreamFailed("Civitai answered with a version that has no file of this hash")
    return facts(model, version)._replace(hashes={"": told})


def _endpoint() -> str:
    return os.environ.get("CIVITAI_ENDPOINT", "https://civitai.com").rstrip("/")


def _client(limits: Limits) -> Guarded:
    token, host = os.environ.get("CIVITAI_API_TOKEN", ""), urlsplit(_endpoint()).hostname or ""
    return Guarded(limits, {host: f"Bearer {token}"} if token else {})


def _parse(address: str) -> Air:
    found = _ADDRESS.fullmatch(address) or _PAGE.fullmatch(address)
    if found:
        return Air("", "", "civitai", found["model"], found["version"] or "")
    if not address.lower().startswith(("urn:", "air:")):
        raise InvalidArgument(f"{address[:80]!r}: write civitai://MODEL or civitai://MODEL@VERSION, with their numbers")
    air = Air.parse(address)
    if air.source != "civitai":
        raise InvalidArgument(f"{air} is held by {air.source}, not by Civitai; fetch it from there")
    return air


def _version(model: Mapping[str, Any], air: Air) -> Mapping[str, Any]:
    versions = tables(model, "modelVersions")
    found = [each for each in versions if not air.version or str(each.get("id")) == air.version]
    if not found:
        known = ", ".join(f"{each.get('id')} ({text(each, 'name')})" for each in versions[:5])
        raise NotFound(
            f"Civitai's model {air.model} has no version {air.version or 'at all'}; it has {known or 'none'}"
        )
    return found[0]  # the newest comes first


def _file(version: Mapping[str, Any], air: Air) -> Mapping[str, Any]:
    """Return the file that is asked for, else the one Civitai calls the primary one."""
    files = [each for each in tables(version, "files") if not air.file or str(each.get("id")) == air.file]
    if air.format:
        files = [each for each in files if Path(text(each, "name")).suffix.lower() == f".{air.format}"]
    if not files:
        raise NotFound(f"{air} names no file that this version has; it has {_names(version)}")
    return next((each for each in files if each.get("primary") is True), files[0])


def _names(version: Mapping[str, Any]) -> str:
    return ", ".join(f"{each.get('id')} ({text(each, 'name')})" for each in tables(version, "files")) or "none"


def _previews(web: Guarded, version: Mapping[str, Any], weights: Path, most: int) -> Iterator[Path]:
    """Fetch the first few pictures that anybody may see; one that does not come is told and left out."""
    images = [each for each in tables(version, "images") if text(each, "type") in ("", "image") and _for_all(each)]
    for number, image in enumerate(images[:_PREVIEWS], 1):
        url = text(image, "url")
        suffix = Path(urlsplit(url).path).suffix.lower()
        if suffix in _PICTURES:
            try:
                yield download(web, url, weights.parent, most, f"{weights.stem}-{number}{suffix}")
            except LorryError as error:
                warnings.warn(f"a preview is left out: {error}", LorryWarning, stacklevel=2)


def _for_all(image: Mapping[str, Any]) -> bool:
    level = image.get("nsfwLevel", 0)
    return image.get("nsfw") in (None, False, "None") and isinstance(level, int) and level <= 1
