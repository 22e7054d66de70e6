"""Repositories of other people: `hf://owner/name[@revision][#file]`, the file of weights and what is claimed of it.

What is listed comes through huggingface_hub; files come through the client that goes nowhere private.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from lorry.errors import InvalidArgument, InvalidFile, LorryError, LorryWarning, NotFound, UpstreamFailed
from lorry.ops.headers import sides
from lorry.ops.reading.read import SEVERAL
from lorry.plugin.fetched import Facts, Fetched, Limits
from lorry.plugin.host import host
from lorry_registry.remotes.hub.address import HubAddress
from lorry_registry.remotes.hub.claims import Claims, claims
from lorry_registry.remotes.hub.repository import MAIN, HubFile, HubRepository
from lorry_registry.remotes.hub.versions import HubVersions
from lorry_registry.sources.file_names import safe_name
from lorry_registry.sources.guarded import Guarded
from lorry_registry.sources.https import download

_WEIGHTS = (".safetensors",)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")
_PREVIEWS, _LARGEST_PREVIEW = 3, 16 << 20
_LARGEST_TEXT = 1 << 20
_SHOWN = 10


def fetch(address: str, into: Path, limits: Limits) -> Fetched:
    """Fetch an adapter from a repository that lorry did not push to. See `lorry.plugin.Store`.

    Raises InvalidArgument where several files may be meant and none is named.
    """
    place, _, asked = address.partition("#")
    found = HubAddress.parse(place)
    repository = HubRepository(found.repository)
    commit = repository.commit_of(found.revision or MAIN)
    if commit is None:
        repository.tags()  # says so where there is no such repository
        raise NotFound(f"hf://{found.repository} has no revision {found.revision or MAIN!r}")
    _refuse_ours(repository, commit, place)
    files = {file.path: file for file in repository.files(commit)}
    chosen = _chosen(place, files, asked)
    told = claims(_text(repository, commit, sides.CARD, files))
    words = [word for path in chosen for word in _words(repository, commit, path, files)]
    with _client(repository, limits) as web:
        source = _Source(web, repository, commit, into)
        left = limits.nbytes - sum(files[path].size for path in chosen)
        if left < 0:
            raise UpstreamFailed(f"{place}: {', '.join(chosen)} is larger than may be fetched; see --max-size")
        paths = [source.bring(path, files[path].size) for path in chosen]
        pictures = tuple(_previews(source, files, told, left))
    hashes = {file.name: {"SHA256": files[path].sha256} for path, file in zip(chosen, paths, strict=True)
              if files[path].sha256}  # fmt: skip
    return Fetched((*paths, *pictures), _facts(found.repository, commit, chosen, told, words, hashes))


class _Source:
    """A commit whose files are brought into a folder."""

    def __init__(self, web: Guarded, repository: HubRepository, commit: str, into: Path) -> None:
        self._web, self._repository, self._commit, self._into = web, repository, commit, into

    def bring(self, path: str, most: int) -> Path:
        return download(self._web, self._repository.url(path, self._commit), self._into, most, safe_name(path))


def _client(repository: HubRepository, limits: Limits) -> Guarded:
    """Return the client; the Hub itself was named by whoever set HF_ENDPOINT, and may be anywhere."""
    from huggingface_hub import get_token

    name, token = urlsplit(repository.endpoint).hostname or "", get_token()
    return Guarded(limits._replace(hosts=(*limits.hosts, name)), {name: f"Bearer {token}"} if token else {})


def _refuse_ours(repository: HubRepository, commit: str, place: str) -> None:
    try:
        standing = HubVersions(repository).at(commit)
    except InvalidFile:
        return  # somebody else's adapter.json
    if standing:
        raise InvalidArgument(f"{place} was pushed by lorry; bring it in as it is with: lorry clone {place}")


def _chosen(place: str, files: Mapping[str, HubFile], asked: str) -> Sequence[str]:
    """Return the files of the adapter, with the side files that formats keep their settings in.

    That is what is asked for; else the one file of weights, the one in the root if others are below. Pickles count
    where there is nothing else.
    """
    wanted = [asked] if asked in files else asked.split(SEVERAL) if asked else _found(place, files)
    missing = next((path for path in wanted if path not in files), None)
    if missing is not None:
        raise NotFound(f"{place} has no file {missing!r}; it has {_some(_weights(files) or sorted(files))}")
    names = {name for each in host().dialects().values() if each.header for name in each.header.sides}
    beside = [str(PurePosixPath(path).with_name(name)) for path in wanted for name in sorted(names)]
    return list(dict.fromkeys([*wanted, *(path for path in beside if path in files)]))


def _found(place: str, files: Mapping[str, HubFile]) -> Sequence[str]:
    weights = _weights(files)
    root = [path for path in weights if "/" not in path]
    if len(root) == 1 or len(weights) == 1:
        return root or weights
    if not weights:
        raise NotFound(f"{place} has no file of weights; it has {_some(sorted(files)) or 'nothing'}")
    raise InvalidArgument(
        f"{place} has {len(weights)} files of weights: {_some(weights)}; name one: {place}#{weights[0]}"
    )


def _weights(files: Mapping[str, HubFile]) -> list[str]:
    for suffixes in (_WEIGHTS, _PICKLES):
        found = sorted(path for path in files if path.lower().endswith(suffixes))
        if found:
            return found
    return []


def _some(paths: Sequence[str]) -> str:
    return ", ".join(paths[:_SHOWN]) + (" …" if len(paths) > _SHOWN else "")


def _words(repository: HubRepository, commit: str, path: str, files: Mapping[str, HubFile]) -> Iterator[str]:
    """Yield the trigger words that files beside the weights tell: those of A1111, of Civitai's helpers."""
    stem = str(PurePosixPath(path).with_suffix(""))
    for each in files:
        if each.startswith(f"{stem}.") and each.endswith((".json", ".info")):
            yield from sides.words(each, _text(repository, commit, each, files).encode())


def _text(repository: HubRepository, commit: str, path: str, files: Mapping[str, HubFile]) -> str:
    if path not in files or files[path].size > _LARGEST_TEXT:
        return ""
    return (repository.small_file(path, commit, _LARGEST_TEXT) or b"").decode(errors="replace")


def _previews(source: _Source, files: Mapping[str, HubFile], told: Claims, left: int) -> Iterator[Path]:
    """Bring the first few pictures: those that the card shows, else those in the root; one that fails is left out."""
    shown = [path.removeprefix("./") for path in told.pictures]
    candidates = [path for path in shown if path in files] or sorted(path for path in files if "/" not in path)
    pictures = [path for path in candidates if path.lower().endswith(_PICTURES)]
    for path in pictures[:_PREVIEWS]:
        size = files[path].size
        if size <= min(left, _LARGEST_PREVIEW):
            left -= size
            try:
                yield source.bring(path, size)
            except LorryError as error:
                warnings.warn(f"a preview is left out: {error}", LorryWarning, stacklevel=2)


def _facts(  # noqa: PLR0913, PLR0917  what is known of it
    repository: str,
    commit: str,
    chosen: Sequence[str],
    told: Claims,
    words: Sequence[str],
    hashes: Mapping[str, Mapping[str, str]],
) -> Facts:
    owner, _, name = repository.partition("/")
    return Facts(
        source=f"hf://{repository}@{commit}#{SEVERAL.join(chosen)}",
        title=name,
        license=told.license,
        authors=(owner,),
        tags=told.tags,
        trigger_words=tuple(dict.fromkeys([*words, *told.trigger_words])),
        base=told.base,
        hashes=hashes,
    )
