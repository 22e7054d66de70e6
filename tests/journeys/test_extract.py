"""From a fine-tune to an adapter and to a smaller one, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import lorry
from lorry.ir import TensorRef
from lorry_plugins.backends.toybox import FOLDER, bases
from tests.support.files import KOHYA, kohya, write

from .conftest import Command

RACCOON = FOLDER / "adapters" / "raccoon.safetensors"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bake an adapter with layers and a learned token into the toybox."""
    folder = tmp_path_factory.mktemp("tuned") / "tuned"
    lorry.write_base(lorry.bake(lorry.open_base("toybox-sd"), [lorry.open(RACCOON)]), folder)
    return folder


def test_a_fine_tune_gives_its_adapter_back(command: Command, tuned: Path, tmp_path: Path) -> None:
    out, report, plot = (tmp_path / name for name in ("out.safetensors", "report.json", "plot.png"))
    done = command(
        *("extract", tuned, "toybox-sd", "-o", out, "--rank", "8", "--dtype", "F32", "--json"),
        *("--report", report, "--plot", plot),
    )
    assert done.code == 0, done.err
    told = done.json
    assert (told["tokens"], told["format"], len(told["layers"])) == (["<raccoon>"], "kohya+safetensors", 106)
    assert told["kept_energy"] > 0.9999
    assert set(told["left_out"]) == {"vae"}
    kept = json.loads(report.read_text())
    assert kept["layers"] == told["layers"]
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {out.name, report.name, plot.name}
    made = json.loads(lorry.open(out).metadata["lorry.recipe"])
    assert (made["op"], made["base"]["name"], made["options"]["rank"]) == ("extract", "sd", 8)
    assert all(digest.startswith("blake3:") for digest in made["tuned"]["files"].values())
    found = lorry.diff(lorry.open(RACCOON), lorry.open(out))
    assert not found.only_first
    assert not found.only_second
    assert found.error < 0.01  # the toybox is float16
    table = command("extract", tuned, "toybox-sd", "-o", out, "--rank", "2", "--force")
    assert "106 differences and 1 new word," in table.out


@pytest.mark.parametrize("asked", [["--energy", "0.8"], ["--error", "0.4"], ["--size", "300KB"], ["--rank", "3"]])
def test_every_way_to_ask_for_ranks_is_kept(command: Command, tuned: Path, tmp_path: Path, asked: list[str]) -> None:
    out = tmp_path / "out.safetensors"
    done = command("extract", tuned, "toybox-sd", "-o", out, "--only-low-rank", "--json", *asked)
    assert done.code == 0, done.err
    layers = done.json["layers"]
    ranks = {each["rank"] for each in layers}
    if asked[0] == "--rank":
        assert ranks == {3}
    elif asked[0] == "--size":
        assert 200_000 < out.stat().st_size <= 300_000
        assert len(ranks) > 2
    else:
        assert min(each["kept_energy"] for each in layers) >= (0.8 if asked[0] == "--energy" else 0.84) - 1e-6
        assert max(ranks) <= 8


def test_an_interrupted_extraction_goes_on(
    command: Command, tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, read = tmp_path / "out.safetensors", TensorRef.read_into
    left = 300

    def interrupted(ref: TensorRef, buffer: memoryview) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt
        read(ref, buffer)

    monkeypatch.setattr(TensorRef, "read_into", interrupted)
    stopped = command("extract", tuned, "toybox-sd", "-o", out, "--rank", "4")
    assert (stopped.code, out.exists()) == (130, False)
    assert "layers are finished and kept; the same command goes on" in stopped.err
    done = command("extract", tuned, "toybox-sd", "-o", out, "--rank", "4")
    assert done.code == 0, done.err
    assert "are finished already" in done.err
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_leaves_no_output(
    command: Command, tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.safetensors"
    with monkeypatch.context() as patched:
        patched.setattr("lorry.ops.extracting.finished.FinishedInFolder.put", full_disk)
        done = command("extract", tuned, "toybox-sd", "-o", out)
    assert (done.code, out.exists()) == (1, False)
    assert "No space left on device" in done.err
    assert command("extract", tuned, "toybox-sd", "-o", out, "--rank", "1").code == 0


def spoil(source: Path, target: Path, value: float) -> Path:
    """Write a copy of a base whose UNet has one odd number."""
    lorry.convert_base(lorry.open_base(source), target, "diffusers")
    file = target / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["conv_in.weight"].view(-1)[0] = value
    save_file(tensors, file)
    return target


def test_bad_input_is_one_line_and_no_file(command: Command, tuned: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    bad = spoil(tuned, tmp_path / "bad", float("nan"))
    cases: list[tuple[list[str | Path], int, str]] = [
        ([tuned, tuned], 5, "nothing to extract"),
        ([tuned, "toybox-flux"], 5, "flux1"),
        ([bad, "toybox-sd"], 1, "unet.conv_in.weight of the tuned model holds NaN"),
        ([tuned, "toybox-sd", "--size", "1KB"], 2, "1000 bytes do not hold"),
        ([tuned, "toybox-sd", "--rank", "2", "--energy", "0.5"], 2, "cannot both decide"),
        ([tuned, "toybox-sd", "--energy", "2"], 2, "no share of energy"),
        ([RACCOON, "toybox-sd"], 5, "adapter"),
        ([tmp_path / "none", "toybox-sd"], 3, "does not exist"),
        ([tuned, "toybox-sd", "--plot", tmp_path / "p.jpg"], 2, "PNG"),
    ]
    for arguments, code, words in cases:
        done = command("extract", *arguments, "-o", out)
        assert done.code == code, (arguments, done.err)
        assert words in done.line
        assert not out.exists()


@pytest.mark.parametrize("asked", [["--rank", "2"], ["--energy", "0.7"], ["--ratio", "3"], ["--size", "250KB"]])
def test_an_adapter_is_resized(command: Command, tmp_path: Path, asked: list[str]) -> None:
    out = tmp_path / "small.safetensors"
    done = command("resize", RACCOON, "-o", out, "--json", *asked)
    assert done.code == 0, done.err
    before, after = lorry.open(RACCOON), lorry.open(out)
    assert after.tokens.keys() == before.tokens.keys()
    told = {each["name"]: each for each in done.json["layers"]}
    ranks = {name: each["rank"] for name, each in told.items()}
    if asked[0] == "--size":
        assert 150_000 < out.stat().st_size <= 250_000
    else:
        assert set(map(str, before.layers)) == {name.removesuffix(".weight") for name in told}
        assert max(ranks.values()) < 8 or asked[0] == "--energy"
    for each in lorry.diff(before, after).layers:
        assert each.error == pytest.approx(told[f"{each.path}.weight"]["error"], abs=2e-3)
    assert "of their energy held" in command("resize", RACCOON, "-o", out, "--force", *asked).out


def test_a_larger_rank_changes_nothing(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "same.safetensors"
    done = command("resize", RACCOON, "-o", out, "--rank", "99", "--json")
    assert (done.code, done.json["layers"]) == (0, [])
    assert set(done.json["left_out"].values()) == {"its rank is 8 already; it stays as it is"}
    before, after = lorry.open(RACCOON), lorry.open(out)
    assert all(
        ref.same(after.layers[path][0].slots[slot])
        for path, (layer,) in before.layers.items()
        for slot, ref in layer.slots.items()
    )


def test_kinds_without_factors_become_low_rank(command: Command, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    sides = {name: torch.randn(2, 64, generator=generator) for name in ("w1_b", "w2_b")}
    sides |= {name: torch.randn(64, 2, generator=generator) for name in ("w1_a", "w2_a")}
    file = write(
        tmp_path / "loha.safetensors",
        {f"{KOHYA}.hada_{name}": tensor for name, tensor in sides.items()} | {f"{KOHYA}.alpha": torch.tensor(2.0)},
    )
    done = command("resize", file, "-o", tmp_path / "lora.safetensors", "--rank", "4", "--json")
    assert done.code == 0, done.err
    made = lorry.open(tmp_path / "lora.safetensors")
    assert made.kinds == ("lora",)  # the product of two matrices of rank 2 has rank 4
    assert lorry.diff(lorry.open(file), made).error < 1e-4


def test_what_needs_a_weight_asks_for_the_base(command: Command, tmp_path: Path) -> None:
    tensors = kohya(rows=64, width=64, alpha=1.0) | {f"{KOHYA}.dora_scale": torch.ones(64, 1)}
    file = write(tmp_path / "dora.safetensors", tensors)
    out = tmp_path / "out.safetensors"
    refused = command("resize", file, "-o", out, "--rank", "1")
    assert (refused.code, out.exists()) == (5, False)
    assert "base=" in refused.line
    done = command("resize", file, "-o", out, "--rank", "64", "--base", "toybox-sd", "--to", "kohya")
    assert done.code == 0, done.err
    with_base = lorry.diff(lorry.open(file), lorry.open(out), lorry.open_base(bases()["toybox-sd"]))
    assert with_base.error < 1e-4


@pytest.mark.parametrize(
    ("report", "plot"), [("out.safetensors", "plot.png"), ("x/../both.png", "both.png"), ("a.json", "out.safetensors")]
)
def test_output_report_and_plot_are_three_files(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: str, plot: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x").mkdir()
    Path("out.safetensors").write_bytes(RACCOON.read_bytes())
    files = ("-o", tmp_path / "out.safetensors", "--report", report, "--plot", plot, "--force")
    for words in (("resize", RACCOON), ("extract", "toybox-sd", "toybox-sd")):
        done = command(*words, *files, "--rank", "2")
        assert (done.code, "give each a file of its own" in done.line) == (2, True), done.err
    assert Path("out.safetensors").read_bytes() == RACCOON.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"x", "out.safetensors"}
