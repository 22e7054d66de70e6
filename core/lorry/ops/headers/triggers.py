"""Trigger words: the plain words of a prompt that an adapter was trained on, from every place they stand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lorry.ir.adapter import Adapter
from lorry.ops.headers import sides

PHRASE = "modelspec.trigger_phrase"
_TAGS = "ss_tag_frequency"
_FOLDERS = ("ss_dataset_dirs", _TAGS)

_LARGEST = 1 << 20
_MOST_TAGS = 3


class Trigger(NamedTuple):
    """A word or phrase, and where it stands.

    `stated` says that one of the sources calls it a trigger; otherwise it is a guess, from what most captions or
    the folders of the training pictures have in common.
    """

    text: str
    sources: tuple[str, ...]
    stated: bool


def triggers(adapter: Adapter) -> tuple[Trigger, ...]:
    """Return every trigger word of an adapter: from its header, its side files and its learned tokens; stated first."""
    found: dict[tuple[str, bool], dict[str, None]] = {}
    for text in adapter.tokens:
        found.setdefault((text, True), {})["learned token"] = None
    for frame in adapter.origin:
        for text, source in _stated(frame.source.metadata, frame.source.sides, frame.source.paths):
            found.setdefault((text, True), {})[source] = None
        for text, source in _guessed(frame.source.metadata):
            told = (text, (text, True) in found)
            found.setdefault(told, {})[source] = None
    rows = [Trigger(text, tuple(sources), stated) for (text, stated), sources in found.items()]
    return tuple(sorted(rows, key=lambda each: not each.stated))


def with_triggers(metadata: Mapping[str, str], words: Sequence[str]) -> dict[str, str]:
    """Return header entries that tell these trigger words in both places that tools look at.

    In ss_tag_frequency, which A1111 shows, each becomes a folder of one picture beside those that are there, as
    ai-toolkit writes it; the counts of training stay, and so does an entry that is no such table.
    """
    counts = _table(metadata.get(_TAGS, ""))
    if not counts and metadata.get(_TAGS, "").strip() not in ("", "{}"):
        return {PHRASE: ", ".join(words)}
    told = set(map(_folder_words, counts))
    counts |= {f"1_{word}": {word: 1} for word in words if word not in told}
    return {PHRASE: ", ".join(words), _TAGS: json.dumps(counts, ensure_ascii=False)}


def _stated(metadata: Mapping[str, str], own: Mapping[str, bytes], paths: Sequence[Path]) -> Iterator[tuple[str, str]]:
    if phrase := metadata.get(PHRASE, "").strip():
        yield phrase, PHRASE
    files = {each.name: each for path in paths if path.is_file() for each in sides.beside(path)}
    for name, data in {**own, **{name: file.read_bytes() for name, file in files.items()}}.items():
        if name == sides.CARD or name.endswith((".json", ".info")):
            yield from ((text, name) for text in sides.words(name, data))


def _guessed(metadata: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the words that folders of training pictures are named after, and the tags that all captions share."""
    tables = {key: _table(metadata.get(key, "")) for key in _FOLDERS}
    for key, table in tables.items():
        yield from ((words, key) for name in table if (words := _folder_words(name)))
    for name, tags in tables[_TAGS].items():
        pictures = _table(tables["ss_dataset_dirs"].get(name)).get("img_count")
        yield from ((tag, _TAGS) for tag in _shared(tags, pictures))


def _folder_words(name: str) -> str:
    """Return the words for all pictures of a folder, which sd-scripts wants named "10_words" for 10 repeats."""
    repeats, _, words = name.partition("_")
    return words.strip() if repeats.isdecimal() else ""


def _shared(tags: Any, pictures: Any) -> list[str]:  # noqa: ANN401  whatever the JSON holds
    """Return the tags of every caption in a folder, where they are few enough to stand out."""
    counts = {tag.strip(): count for tag, count in _table(tags).items() if type(count) is int and tag.strip()}
    most = pictures if type(pictures) is int else max(counts.values(), default=0)
    shared = [tag for tag, count in counts.items() if count >= most > 1]
    return shared if len(shared) <= _MOST_TAGS else []


def _table(value: Any) -> dict[str, Any]:  # noqa: ANN401  whatever the JSON holds
    """Read a JSON table of up to 1 MiB; what is none is empty."""
    try:
        found = json.loads(value) if isinstance(value, str) and value and len(value) <= _LARGEST else value
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
