"""Real files of other tools do to a base what those tools say they do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import lorry

HERE = Path(__file__).parent
CASES: Mapping[str, list[dict[str, Any]]] = json.loads((HERE / "cases.json").read_text())
ADAPTERS = {each["id"]: each for each in CASES["adapters"]}
TOKENS = {each["id"]: each for each in CASES["tokens"]}
WEIGHTS = {"unet": "diffusion_pytorch_model", "transformer": "diffusion_pytorch_model"}
TOLERANCE = 2e-3


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], lorry.Base]:
    """Open a base of zeros, made once."""
    shapes = json.loads((HERE / "bases.json").read_text())
    made: dict[str, lorry.Base] = {}

    def opened(name: str) -> lorry.Base:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            for component, tensors in shapes[name].items():
                path = folder / component / f"{WEIGHTS.get(component, 'model')}.safetensors"
                path.parent.mkdir()
                save_file({key: torch.zeros(size) for key, size in tensors.items()}, path)
            made[name] = lorry.open_base(folder)
        return made[name]

    return opened


def oracle(case: str) -> dict[str, torch.Tensor]:
    with safe_open(HERE / "oracles.safetensors", "pt") as file:
        found = {key.partition("/")[2]: file.get_tensor(key) for key in file.keys() if key.startswith(f"{case}/")}  # noqa: SIM118  it is no mapping
    assert found, f"{case} has no oracle"
    return found


@pytest.mark.parametrize("name", ADAPTERS)
def test_baked_weights_are_those_of_the_tool_that_wrote_the_file(name: str, base: Callable[[str], lorry.Base]) -> None:
    case, under = ADAPTERS[name], base(ADAPTERS[name]["base"])
    adapter = lorry.open(HERE / case["path"], base=under)
    assert len(adapter.report.used) == case["keys"]
    assert not adapter.report.unmapped
    assert adapter.report.ambiguous or not case.get("ambiguous")
    baked, wanted = lorry.bake(under, [adapter]), oracle(name)
    assert set(baked.changes) == set(wanted)
    for key, vector in wanted.items():
        delta = baked[key].double().flatten(1)
        got = delta @ torch.cos(torch.arange(delta.shape[1]).double() + 1)
        # The oracle is the difference of two float32 weights of about 1: below 1e-7 it is noise.
        assert float((got - case.get("share", 1.0) * vector).norm()) < TOLERANCE * float(vector.norm()) + 1e-7, key


REWRITTEN = {
    "flux-lora-peft-alpha-keys-mixed": "unequal alphas of query, key and value are multiplied in when they are joined",
    "sdxl-locon-lycoris": "diffusers has no Tucker core, so it is multiplied out",
}
"""Files of which more changes than names, and why."""

FILES = {name: case for name, case in ADAPTERS.items() if case["path"].endswith(".safetensors")}


@pytest.mark.parametrize("name", FILES)
def test_there_and_back_does_the_same_and_gives_the_file_again_where_only_names_change(
    name: str, base: Callable[[str], lorry.Base], tmp_path: Path
) -> None:
    source = HERE / FILES[name]["path"]
    under = base(FILES[name]["base"])
    adapter = lorry.open(source, base=under)
    (frame,) = adapter.origin
    other = {"kohya": "diffusers", "diffusers": "kohya"}[frame.dialect]
    there = lorry.convert(adapter, tmp_path / "there.safetensors", other, verify=True).saved.path
    back = lorry.convert(lorry.open(there, base=under), tmp_path / "back.safetensors", frame.dialect, verify=True)
    assert lorry.diff(adapter, lorry.open(back.saved.path, base=under)).error < 1e-6
    assert lorry.open(back.saved.path).metadata == adapter.metadata
    if name not in REWRITTEN:
        assert back.saved.path.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("name", TOKENS)
def test_learned_tokens_are_read_with_their_text_and_vectors(name: str) -> None:
    case = TOKENS[name]
    adapter = lorry.open(HERE / case["path"])
    (token,) = adapter.tokens.values()
    assert token.text == case["token"]
    for key, vectors in oracle(name).items():
        assert torch.equal(token.vectors[key.partition(".")[0]].torch().float(), vectors.float())
