from __future__ import annotations

import pytest

from lorry.errors import InvalidArgument
from lorry_registry.references.names import check_path, same_file_key


@pytest.mark.parametrize("path", ["cat.safetensors", "My LoRA (v2).png", "img/0.png", "größe.png", "猫.safetensors"])
def test_the_names_people_give_files_are_taken(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "", "/etc/passwd", "../cat", "a/../b", "./cat", "a//b", "a/", "C:\\cat", "a\\b", "a:b", "con", "img/nul.png",
        "COM1.safetensors", "cat.", "cat ", "a./b", "cat\x00", "cat\n", "cat\x1b[31m", "cat\u202egnp.exe", "a\u200bb",
        "cafe\u0301", "x" * 241, "\udcff.png", "what?", "*", '"', "<b>", "a|b",
    ],
)  # fmt: skip
def test_paths_that_could_mean_another_file_are_refused(path: str) -> None:
    with pytest.raises(InvalidArgument):
        check_path(path)


@pytest.mark.parametrize(("one", "other"), [("Cat.png", "cat.PNG"), ("STRASSE", "straße"), ("É", "é")])
def test_names_that_are_one_file_where_case_is_ignored(one: str, other: str) -> None:
    assert same_file_key(one) == same_file_key(other)
