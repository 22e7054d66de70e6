"""What the documentation tells people to type works, in the order in which it stands there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from lorry.cli import cli

ROOT = Path(__file__).parents[2]

PAGES = [
    "README.md",
    "docs/tutorial/first-steps.md",
    "docs/how-to/convert.md",
    "docs/how-to/merge.md",
    "docs/how-to/bake.md",
    "docs/how-to/publish-and-pull.md",
    "docs/how-to/add-foreign-adapters.md",
    "docs/how-to/recipes.md",
    "docs/how-to/carry-versions.md",
    "docs/how-to/sign.md",
]

COMMENT = re.compile(r"\s#.*")  # shlex would take the # of an address for one too

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str]]:
    """Return language and text of every fenced block."""
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def write_lora(path: Path, seed: int, rank: int) -> None:
    random = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for name in ("to_q", "to_v"):
        stem = f"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_{name}"
        tensors |= {
            f"{stem}.lora_down.weight": torch.randn(rank, 64, generator=random),
            f"{stem}.lora_up.weight": torch.randn(64, rank, generator=random) / 100,
            f"{stem}.alpha": torch.tensor(rank / 2),
        }
    save_file(tensors, path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the pages name, to be the current one."""
    write_lora(tmp_path / "cat.safetensors", seed=0, rank=8)
    write_lora(tmp_path / "ink.safetensors", seed=1, rank=4)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    return tmp_path


def run_shell(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the lines of a shell block, except those that install and set up."""
    for line in map(os.path.expandvars, text.splitlines()):
        if line.startswith("cd "):
            monkeypatch.chdir(line.removeprefix("cd "))
            monkeypatch.setenv("PWD", str(Path.cwd()))
        elif line.startswith("export "):
            monkeypatch.setenv(*line.removeprefix("export ").split("=", 1))
        elif line.startswith(("mkdir ", "cp ", "echo ", "openssl ")):
            subprocess.run(line, shell=True, check=True)  # noqa: S602  it is our own page
        elif line.startswith("lorry "):
            done = CliRunner().invoke(cli, shlex.split(COMMENT.sub("", line))[1:], catch_exceptions=False)
            assert done.exit_code == 0, f"{line}\n{done.output}"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("page", PAGES)
def test_commands_and_code_of_a_page_work(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = blocks(page)
    assert found
    for language, text in found:
        if language == "sh":
            run_shell(text, monkeypatch)
        elif language == "yaml":
            Path(text.splitlines()[0].removeprefix("# ")).write_text(text, encoding="utf-8")
        elif language == "python":
            exec(compile(text, page, "exec"), {})  # noqa: S102  it is our own page


def test_converting_back_gives_the_same_bytes_as_the_page_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for language, text in blocks("docs/how-to/convert.md"):
        if language == "sh":
            run_shell(text, monkeypatch)
    assert (folder / "cat-again.safetensors").read_bytes() == (folder / "cat.safetensors").read_bytes()


def test_the_plugin_tutorial_is_the_example(folder: Path) -> None:
    example = ROOT / "examples" / "lorry-hello"
    whole = {
        "python": "".join(each.read_text(encoding="utf-8") for each in sorted(example.glob("*.py"))),
        "toml": (example / "pyproject.toml").read_text(encoding="utf-8"),
    }
    shown = [(language, text) for language, text in blocks("docs/tutorial/write-a-plugin.md") if language in whole]
    assert len(shown) > 4
    (make,) = (text for _, text in shown if "save_file" in text)  # this block makes a file to try
    assert not [text for language, text in shown if text is not make and text not in whole[language]]
    exec(compile(make, "write-a-plugin.md", "exec"), {})  # noqa: S102  it is our own page
    assert (folder / "louder.safetensors").exists()
