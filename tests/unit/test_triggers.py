"""Trigger words are found wherever tools put them, guesses are called guesses, and writing keeps all else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import lorry
from lorry.errors import InvalidFile
from lorry.ops.headers import sides
from lorry.ops.headers.triggers import triggers, with_triggers
from tests.support.files import kohya, write

CARD = """---
base_model: toy
{prompt}
tags:
- lora
---
# A cat

instance_prompt: not this one
"""


def cat(tmp_path: Path, metadata: dict[str, str] | None = None) -> Path:
    return write(tmp_path / "cat.safetensors", kohya(), metadata)


def found(path: Path) -> dict[str, tuple[tuple[str, ...], bool]]:
    return {each.text: (each.sources, each.stated) for each in triggers(lorry.open(path))}


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("cat.json", {"activation text": "ohwx man", "notes": "x"}),
        ("cat.json", {"trainedWords": ["ohwx man"]}),
        ("cat.civitai.info", {"id": 1, "trainedWords": ["ohwx man", " ", 7]}),
        ("cat.metadata.json", {"civitai": {"trainedWords": ["ohwx man"]}}),
        ("cat.cm-info.json", {"TrainedWords": ["ohwx man"]}),
    ],
)
def test_side_files_state_words(tmp_path: Path, name: str, table: dict[str, Any]) -> None:
    path = cat(tmp_path)
    (tmp_path / name).write_text(json.dumps(table))
    (tmp_path / "dog.json").write_text(json.dumps({"activation text": "dog"}))
    assert found(path) == {"ohwx man": ((name,), True)}


@pytest.mark.parametrize(
    ("prompt", "word"),
    [
        ("instance_prompt: ohwx man", "ohwx man"),
        ('instance_prompt: "ohwx \\"m\\" man"', 'ohwx "m" man'),
        ("instance_prompt: 'ohwx''s man'", "ohwx's man"),
        ("instance_prompt: a photo of\n  ohwx man", "a photo of ohwx man"),
        ("instance_prompt: >-\n  ohwx\n  man", "ohwx man"),
        ("instance_prompt: null", None),
        ("instance_prompt:", None),
        ("license: mit", None),
    ],
)
def test_the_hubs_card_states_the_instance_prompt(tmp_path: Path, prompt: str, word: str | None) -> None:
    path = cat(tmp_path)
    (tmp_path / "README.md").write_text(CARD.format(prompt=prompt))
    assert found(path) == ({word: (("README.md",), True)} if word else {})


def test_a_card_is_nobodys_in_a_folder_of_several_files(tmp_path: Path) -> None:
    path = cat(tmp_path)
    write(tmp_path / "dog.safetensors", kohya())
    (tmp_path / "README.md").write_text(CARD.format(prompt="instance_prompt: dog"))
    assert found(path) == {}


def test_one_word_in_many_places_is_told_once(tmp_path: Path) -> None:
    path = cat(
        tmp_path, {"modelspec.trigger_phrase": "ohwx man", "ss_tag_frequency": '{"1_ohwx man": {"ohwx man": 1}}'}
    )
    (tmp_path / "cat.json").write_text(json.dumps({"activation text": "ohwx man"}))
    assert found(path) == {"ohwx man": (("modelspec.trigger_phrase", "cat.json", "ss_tag_frequency"), True)}


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"ss_dataset_dirs": {"10_ohwx man": {"n_repeats": 10, "img_count": 2}, "reg": {}}}, {"ohwx man"}),
        ({"ss_tag_frequency": {"img": {"ohwx": 20, "hat": 7}}}, {"ohwx"}),
        ({"ss_tag_frequency": {"img": {"a photo.": 1, "a picture.": 1}}}, set()),
        ({"ss_tag_frequency": {"img": {f"tag {at}": 20 for at in range(9)}}}, set()),
        ({"ss_tag_frequency": {"img": {"hat": 7}}, "ss_dataset_dirs": {"img": {"img_count": 20}}}, set()),
    ],
    ids=["folder", "every caption", "sentences", "too many", "some captions"],
)
def test_what_the_training_data_has_in_common_is_a_guess(
    tmp_path: Path, header: dict[str, Any], words: set[str]
) -> None:
    told = found(cat(tmp_path, {key: json.dumps(value) for key, value in header.items()}))
    assert {word for word, (_, stated) in told.items() if not stated} == words == set(told)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "[1]", "null", '{"10_a": 1}', '{"a": {"b": "c", "d": null}}', "[" * 99_999, "\udcff"]
)
def test_a_strange_header_or_side_file_tells_nothing(tmp_path: Path, text: str) -> None:
    data = text.encode("utf-8", "surrogateescape")
    path = cat(tmp_path, {"ss_dataset_dirs": text.replace("\udcff", "?"), "ss_tag_frequency": "{}"})
    for name in ("cat.json", "cat.civitai.info", "README.md"):
        (tmp_path / name).write_bytes(data)
    assert set(found(path)) <= {"a"}


def test_the_header_keeps_its_counts_and_gains_the_words() -> None:
    before = {"10_ohwx": {"ohwx": 20, "hat": 7}}
    told = with_triggers({"ss_tag_frequency": json.dumps(before)}, ["ohwx", "new word"])
    assert told["modelspec.trigger_phrase"] == "ohwx, new word"
    assert json.loads(told["ss_tag_frequency"]) == {**before, "1_new word": {"new word": 1}}


def test_counts_that_cannot_be_read_are_left_alone() -> None:
    assert set(with_triggers({"ss_tag_frequency": "broken"}, ["ohwx"])) == {"modelspec.trigger_phrase"}


def test_side_files_keep_everything_else(tmp_path: Path) -> None:
    path = cat(tmp_path)
    (tmp_path / "cat.json").write_text(json.dumps({"notes": "ü", "preferred weight": 0.8}))
    (tmp_path / "cat.metadata.json").write_text(json.dumps({"civitai": {"id": 1, "trainedWords": ["old"]}}))
    (tmp_path / "README.md").write_text(CARD.format(prompt="instance_prompt: a very\n  old one"))
    for side, data in sides.written(path, path, ["ohwx man", "hat"]).items():
        side.write_bytes(data)
    assert json.loads((tmp_path / "cat.json").read_text("utf-8")) == {
        "notes": "ü", "preferred weight": 0.8, "activation text": "ohwx man, hat"
    }  # fmt: skip
    assert json.loads((tmp_path / "cat.metadata.json").read_text()) == {
        "civitai": {"id": 1, "trainedWords": ["ohwx man", "hat"]}
    }
    assert json.loads((tmp_path / "cat.civitai.info").read_text()) == {"trainedWords": ["ohwx man", "hat"]}
    card = (tmp_path / "README.md").read_text()
    assert card == CARD.replace("{prompt}\n", "").replace("- lora\n", '- lora\ninstance_prompt: "ohwx man, hat"\n')
    assert {word for word, (_, stated) in found(path).items() if stated} == {"ohwx man", "hat", "ohwx man, hat"}


@pytest.mark.parametrize("data", [b"[]", b"{", b"\xff"])
def test_a_side_file_that_is_no_table_is_not_replaced(tmp_path: Path, data: bytes) -> None:
    path = cat(tmp_path)
    (tmp_path / "cat.json").write_bytes(data)
    with pytest.raises(InvalidFile, match=r"cat\.json"):
        sides.written(path, path, ["ohwx"])
