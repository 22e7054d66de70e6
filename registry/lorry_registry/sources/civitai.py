"""Civitai: models by AIR or number, and what it knows of a file by its hash.

Its API: https://developer.civitai.com/site/reference. CIVITAI_API_TOKEN is sent to its host alone, which is that of
CIVITAI_ENDPOINT where that is set.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from lorry.errors import Incompatible, InvalidArgument, LorryError, LorryWarning, NotFound, UpstreamFailed
from lorry.ops import sides
from lorry.ops.hashes import Hashes
from lorry.plugin.fetched import Facts, Fetched, Limits
from lorry_registry.sources.air import Air
from lorry_registry.sources.file_names import safe_name
from lorry_registry.sources.guarded import Guarded
from lorry_registry.sources.https import download
from lorry_registry.sources.plain import plain

_TYPES = {"lora": "lora", "locon": "lycoris", "dora": "dora", "textualinversion": "embedding"}
"""Civitai's types of models that are adapters, with AIR's words for them."""

_ECOSYSTEMS = {"sd 1": "sd1", "sd 2": "sd2", "sdxl": "sdxl", "pony": "sdxl", "illustrious": "sdxl", "noobai": "sdxl",
               "flux.1": "flux1", "flux.2": "flux2"}  # fmt: skip
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
        model = _table(web.json(f"{_endpoint()}/api/v1/models/{quote(air.model)}"))
        version = _version(model, air)
        kind = _text(model, "type")
        if kind.lower() not in _TYPES:
            raise Incompatible(f"{address} is a {kind or 'thing of no known type'}, and no adapter")
        file = _file(version, air)
        path = download(web, _text(file, "downloadUrl"), into, limits.nbytes, safe_name(_text(file, "name")))
        left = limits.nbytes - path.stat().st_size
        pictures = tuple(_previews(web, version, path, min(left, _LARGEST_PREVIEW)))
    facts = _facts(model, version)
    return Fetched((path, *pictures), facts._replace(hashes={path.name: _hashes(file)}))


def look_up(hashes: Hashes, limits: Limits) -> Facts | None:
    """Return what Civitai knows of the file with these hashes, None where it knows none."""
    with _client(limits) as web:
        try:
            version = _table(web.json(f"{_endpoint()}/api/v1/model-versions/by-hash/{hashes.sha256}"))
        except NotFound:
            return None
        model: Mapping[str, Any] = {"id": version.get("modelId"), **_table(version.get("model"))}
        with suppress(NotFound):  # the version outlives its page
            model = _table(web.json(f"{_endpoint()}/api/v1/models/{quote(str(model['id']))}"))
    told = next((each for each in map(_hashes, _tables(version, "files"))
                 if each.get("SHA256", "").lower() == hashes.sha256), None)  # fmt: skip
    if told is None:
        raise UpstreamFailed("Civitai answered with a version that has no file of this hash")
    return _facts(model, version)._replace(hashes={"": told})


def side_facts(weights: Path) -> Facts | None:
    """Return what a side file of Civitai Helper, LoRA Manager or Stability Matrix says of a file, None without one.

    `cat.civitai.info` holds what the API tells of a version, `cat.metadata.json` the same under "civitai".
    """
    for side in sides.beside(weights):
        try:
            told = _table(json.loads(side.read_bytes()))
        except (ValueError, RecursionError):
            continue
        version = _table(told.get("civitai")) or told
        if isinstance(version.get("modelId"), int) and isinstance(version.get("id"), int):
            return _facts({"id": version["modelId"], **_table(version.get("model"))}, version)
    return None


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
    versions = _tables(model, "modelVersions")
    found = [each for each in versions if not air.version or str(each.get("id")) == air.version]
    if not found:
        known = ", ".join(f"{each.get('id')} ({_text(each, 'name')})" for each in versions[:5])
        raise NotFound(
            f"Civitai's model {air.model} has no version {air.version or 'at all'}; it has {known or 'none'}"
        )
    return found[0]  # the newest comes first


def _file(version: Mapping[str, Any], air: Air) -> Mapping[str, Any]:
    """Return the file that is asked for, else the one Civitai calls the primary one."""
    files = [each for each in _tables(version, "files") if not air.file or str(each.get("id")) == air.file]
    if air.format:
        files = [each for each in files if Path(_text(each, "name")).suffix.lower() == f".{air.format}"]
    if not files:
        raise NotFound(f"{air} names no file that this version has; it has {_names(version)}")
    return next((each for each in files if each.get("primary") is True), files[0])


def _names(version: Mapping[str, Any]) -> str:
    return ", ".join(f"{each.get('id')} ({_text(each, 'name')})" for each in _tables(version, "files")) or "none"


def _previews(web: Guarded, version: Mapping[str, Any], weights: Path, most: int) -> Iterator[Path]:
    """Fetch the first few pictures that anybody may see; one that does not come is told and left out."""
    images = [each for each in _tables(version, "images") if _text(each, "type") in ("", "image") and _for_all(each)]
    for number, image in enumerate(images[:_PREVIEWS], 1):
        url = _text(image, "url")
        suffix = Path(urlsplit(url).path).suffix.lower()
        if suffix in _PICTURES:
            try:
                yield download(web, url, weights.parent, most, f"{weights.stem}-{number}{suffix}")
            except LorryError as error:
                warnings.warn(f"a preview is left out: {error}", LorryWarning, stacklevel=2)


def _for_all(image: Mapping[str, Any]) -> bool:
    level = image.get("nsfwLevel", 0)
    return image.get("nsfw") in (None, False, "None") and isinstance(level, int) and level <= 1


def _facts(model: Mapping[str, Any], version: Mapping[str, Any]) -> Facts:
    base = _text(version, "baseModel")
    ecosystem = next((name for said, name in _ECOSYSTEMS.items() if base.lower().startswith(said)), "other")
    kind = _TYPES.get(_text(model, "type").lower(), "lora")
    creator = _text(_table(model.get("creator")), "username")
    about = "\n\n".join(filter(None, (plain(_text(each, "description")) for each in (version, model))))
    return Facts(
        source=str(Air(ecosystem, kind, "civitai", str(model.get("id")), str(version.get("id")))),
        title=_text(model, "name")[:200],
        description=about,
        license=_licence(model),
        authors=(creator[:200],) if creator else (),
        tags=_texts(model, "tags"),
        trigger_words=_texts(version, "trainedWords"),
        base=base[:200],
    )


def _licence(model: Mapping[str, Any]) -> str:
    """Say what Civitai's switches allow; "" where they are not told."""
    uses = model.get("allowCommercialUse")
    told = {
        "use without credit": model.get("allowNoCredit"),
        "derivatives": model.get("allowDerivatives"),
        "another licence for derivatives": model.get("allowDifferentLicense"),
        "commercial use": uses if isinstance(uses, list) else uses and [uses],
    }
    said = [f"{what}: {_allowed(value)}" for what, value in told.items() if value is not None]
    return f"Civitai; {'; '.join(said)}"[:400] if said else ""


def _allowed(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(each).lower() for each in value) or "none"
    return "yes" if value else "no"


def _hashes(file: Mapping[str, Any]) -> dict[str, str]:
    return {name: digits for name, digits in _table(file.get("hashes")).items() if isinstance(digits, str)}


def _table(value: Any) -> Mapping[str, Any]:  # noqa: ANN401  whatever JSON holds
    return value if isinstance(value, dict) else {}


def _tables(holder: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = holder.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _text(holder: Mapping[str, Any], key: str) -> str:
    found = holder.get(key)
    return found if isinstance(found, str) else ""


def _texts(holder: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = holder.get(key)
    texts = [each.strip()[:500] for each in found if isinstance(each, str)] if isinstance(found, list) else []
    return tuple(dict.fromkeys(filter(None, texts)))[:100]
