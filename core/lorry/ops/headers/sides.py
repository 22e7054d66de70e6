"""Side files: what other tools keep beside a file of weights, as far as trigger words stand in it.

`cat.json` is A1111's ("activation text"), `cat.civitai.info` Civitai Helper's, `cat.metadata.json` and
`cat.cm-info.json` those of LoRA Manager and Stability Matrix ("trainedWords"); README.md is the Hub's card
("instance_prompt"), and belongs to a file that has its folder to itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorry.errors import InvalidFile

CARD = "README.md"
_SUFFIXES = (".json", ".civitai.info", ".metadata.json", ".cm-info.json")
_PLACES = (("activation text",), ("trainedWords",), ("TrainedWords",), ("civitai", "trainedWords"))
_MADE = {".json": ("activation text",), ".civitai.info": ("trainedWords",)}
"""Which side files are made where there are none, and where in them the words stand."""
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_LARGEST = 1 << 20

# Not compiled here: most files have no card beside them.
_FRONT = r"(?ms)\A---[ \t]*\n(.*?)^---[ \t]*$"
_PROMPT = r"(?m)^instance_prompt:(.*(?:\n[ \t]+\S.*)*)\n?"


def beside(path: Path) -> list[Path]:
    """Return the side files there are for a file of weights, of 1 MiB at most."""
    found = [path.with_name(path.stem + suffix) for suffix in _SUFFIXES]
    if (path.parent / CARD).is_file() and not any(
        each.suffix in _WEIGHTS and each != path for each in path.parent.iterdir()
    ):
        found.append(path.parent / CARD)
    return [each for each in found if each.is_file() and each.stat().st_size <= _LARGEST]


def words(name: str, data: bytes) -> Iterator[str]:
    """Yield the trigger words that a side file tells; nothing where it is not what its name says."""
    try:
        text = data.decode()
        table = {} if name == CARD else json.loads(text)
    except (ValueError, RecursionError):
        return
    if name == CARD:
        yield from filter(None, [_prompt(text)])
    for place in _PLACES if isinstance(table, dict) else ():
        holder, key = _holder(table, place)
        found = holder.get(key, ())
        yield from _texts([found] if isinstance(found, str) else found)


def written(path: Path, source: Path, words: Sequence[str]) -> dict[Path, bytes]:
    """Return the side files of `path` with these trigger words in them, and all else as it is.

    Those that are missing beside it begin as those beside `source`; A1111's and Civitai's are made where there are
    none. Raises InvalidFile for one that is no table.
    """
    found = {each.name.removeprefix(source.stem): each for each in beside(source)}
    found |= {each.name.removeprefix(path.stem): each for each in beside(path)}
    texts = {ending: file.read_bytes() for ending, file in found.items()}
    for ending in _MADE:
        texts.setdefault(ending, b"{}")
    return {
        path.with_name(ending if ending == CARD else path.stem + ending): _with_words(
            str(found.get(ending, ending)), ending, data, words
        )
        for ending, data in texts.items()
    }


def _with_words(name: str, ending: str, data: bytes, words: Sequence[str]) -> bytes:
    try:
        text = data.decode()
        table = {} if ending == CARD else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidFile(f"{name} is not UTF-8 text of its kind ({error}); mend or remove it first") from None
    if ending == CARD:
        return _with_prompt(text, ", ".join(words)).encode()
    if not isinstance(table, dict):
        raise InvalidFile(f"{name} is not a JSON table; mend or remove it first")
    told = [place for place in _PLACES if place[-1] in _holder(table, place)[0]]
    for place in told or ([_MADE[ending]] if ending in _MADE else []):
        holder, key = _holder(table, place)
        holder[key] = list(words) if key.lower() == "trainedwords" else ", ".join(words)
    return json.dumps(table, indent=4, ensure_ascii=False).encode()


def _holder(table: dict[str, Any], place: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    """Return the table that the last name of a place stands in, an empty one where there is none."""
    for name in place[:-1]:
        inner = table.get(name)
        table = inner if isinstance(inner, dict) else {}
    return table, place[-1]


def _texts(found: Any) -> Iterator[str]:  # noqa: ANN401  whatever the JSON holds
    if isinstance(found, Iterable) and not isinstance(found, Mapping):
        yield from (text.strip() for text in found if isinstance(text, str) and text.strip())


def _prompt(card: str) -> str:
    """Return the instance_prompt of a card's YAML: a plain, quoted or folded text, on one line or several."""
    front = re.match(_FRONT, card)
    told = re.search(_PROMPT, front[1]) if front else None
    text = " ".join(told[1].split()) if told else ""
    text = re.sub(r"^[|>][+-]? ", "", text)
    if text[:1] == '"':
        try:
            return str(json.loads(text)).strip()
        except ValueError:
            return text.strip('" ')
    if text[:1] == "'":
        return text.strip("'").replace("''", "'").strip()
    return "" if text in ("null", "~", ">", "|") else text


def _with_prompt(card: str, prompt: str) -> str:
    line = f"instance_prompt: {json.dumps(prompt, ensure_ascii=False)}\n"
    front = re.match(_FRONT, card)
    if not front:
        return f"---\n{line}---\n\n{card}"
    inner = re.sub(_PROMPT, "", front[1]) + line
    return card[: front.start(1)] + inner + card[front.end(1) :]
