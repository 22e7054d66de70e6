"""What the tools' rules say, held against what the tools did."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import lorry
from lorry.ir import Adapter
from lorry.ops.judging.loader_rules import facts_of, holds, rule_for
from lorry.ops.judging.loaders import Loading, command
from lorry.ops.writing.convert import convert
from lorry.plugin import Loader, Rule
from lorry.plugin.host import host
from lorry.plugin.loader import BAKE, LOADS, NOT, WRONG
from lorry_plugins.tools.loaders import lorry_loaders
from tests.support import files

TOOLS = {each.name: each for each in lorry_loaders()}

# What each tool did with a file of each layout, with the facts of the file that rules ask about: one of each
# family of keys and modules. FLUX.1 at toy widths, with the widths in diffusers' converters made to match.
TABLE = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "golden" / "loads.jsonl").read_text(encoding="utf-8").splitlines()
]

MEASURED = [(each["case"], tool, verdict) for each in TABLE for tool, verdict in each["verdicts"].items()]

EXCEPTIONS = {
    ("sd1-lora-diffusers-nometa-alpha", "diffusers"): (
        "written without the alpha it was trained with, which nothing in the file tells: the rule says so and what if"
    ),
}

FACTS: dict[str, Mapping[str, Any]] = {each["case"]: each["facts"] for each in TABLE}


def facts(told: Mapping[str, Sequence[str]]) -> dict[str, str]:
    told = {**dict.fromkeys(facts_of(Adapter(base=""), host()), ()), **told}
    return {field: "\n".join(["", *values, ""]) for field, values in told.items()}


def verdict(tool: str, told: Mapping[str, Any]) -> Rule:
    return rule_for(TOOLS[tool], facts(told))


@pytest.mark.parametrize(("case", "tool", "measured"), [each for each in MEASURED if each[:2] not in EXCEPTIONS])
def test_the_rules_say_what_the_tool_did(case: str, tool: str, measured: str) -> None:
    rule = verdict(tool, FACTS[case])
    assert (rule.verdict, rule.because) == (measured, rule.because)


def test_exceptions_are_still_some() -> None:
    measured = {(case, tool): each for case, tool, each in MEASURED}
    for case, tool in EXCEPTIONS:
        rule = verdict(tool, FACTS[case])
        assert rule.verdict != measured[case, tool]
        assert rule.because


@pytest.mark.parametrize("tool", TOOLS)
def test_every_refusal_has_a_reason(tool: str) -> None:
    assert all(rule.because for rule in TOOLS[tool].rules if rule.verdict != LOADS)
    assert all(rule.verdict in (LOADS, WRONG, NOT) for rule in TOOLS[tool].rules)


@pytest.mark.parametrize("tool", TOOLS)
def test_rules_name_what_there_is(tool: str) -> None:
    known = {"dialect": host().dialects(), "base": host().base_models(), "kind": host().kinds()}
    for rule in TOOLS[tool].rules:
        assert rule.mend in ("", BAKE, *host().dialects()), rule
        holds(rule.when, facts({}))  # raises for what is no predicate
        for predicate in rule.when.split():
            field, _, values = predicate.removeprefix("!").replace("<", "=", 1).partition("=")
            unknown = set(values.split("|")) - set(known[field]) if field in known else set()
            assert not unknown, f"{rule.when}: no {field} is named {unknown}"


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("", True),
        ("kind=lora", True),
        ("kind=dora|lora base=sd1", True),
        ("kind<lora", False),
        ("kind<lora|diff", True),
        ("!kind<lora", True),
        ("key~.alpha$", True),
        ("key~alpha.", False),
        ("key~^lora_te|^lora_unet", True),
        ("key~^alpha", False),
        ("tokens=beside", False),
        ("!tokens=beside", True),
        ("kind=lora tokens=beside", False),
    ],
)
def test_predicates(when: str, expected: bool) -> None:
    told = {"kind": ["lora", "diff"], "base": ["sd1"], "key": ["lora_unet_a.alpha", "lora_unet_a.diff"]}
    assert holds(when, facts(told)) is expected


@pytest.mark.parametrize("when", ["colour=red", "kind", "kind:lora"])
def test_what_is_no_predicate_is_an_error(when: str) -> None:
    with pytest.raises(ValueError, match="no field, operator and values"):
        holds(when, facts({}))


def test_the_first_rule_that_holds_decides_and_none_is_no_guess() -> None:
    tool = Loader("t", "T", "1", "measured", (Rule("kind=lora", WRONG, "a"), Rule("kind=lora", LOADS)))
    assert rule_for(tool, facts({"kind": ["lora"]})).verdict == WRONG
    assert rule_for(tool, facts({"kind": ["loha"]})).verdict == "not known"


def module(name: str) -> str:
    return f"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_{name}"


def test_facts_of_a_file(tmp_path: Path) -> None:
    """Alphas of 2, 2 and 1: one module is uneven; scale 1 and 0.5: some layers are scaled."""
    tensors = {
        **files.kohya(module("attn1_to_q"), alpha=2.0),
        **files.kohya(module("attn1_to_k"), alpha=2.0),
        **files.kohya(module("attn1_to_v"), alpha=1.0),
    }
    found = facts_of(lorry.open(files.write(tmp_path / "a.safetensors", tensors)), host())
    told = {field: values.split("\n")[1:-1] for field, values in found.items()}
    assert told["dialect"] == ["kohya"]
    assert told["container"] == ["safetensors"]
    assert told["kind"] == ["lora"]
    assert told["component"] == ["unet"]
    assert sorted(told["slot"]) == ["down", "up"]
    assert told["key"] == sorted(tensors)
    assert told["scaled"] == ["yes"]
    assert told["uneven"] == ["unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_v"]
    assert (told["tokens"], told["doubt"]) == ([], ["base"])


def test_uneven_alphas_in_attention_load_wrong_in_diffusers_and_converting_mends_it(tmp_path: Path) -> None:
    names = ("attn1_to_q", "attn1_to_k", "attn1_to_v")
    alphas = (2.0, 2.0, 1.0)
    tensors = {
        k: v
        for name, alpha in zip(names, alphas, strict=True)
        for k, v in files.kohya(module(name), alpha=alpha).items()
    }
    adapter = lorry.open(files.write(tmp_path / "a.safetensors", tensors))
    rule = rule_for(TOOLS["diffusers"], facts_of(adapter, host()))
    assert (rule.verdict, rule.mend) == (WRONG, "diffusers")
    convert(adapter, tmp_path / "b.safetensors", rule.mend)
    assert rule_for(TOOLS["diffusers"], facts_of(lorry.open(tmp_path / "b.safetensors"), host())).verdict == LOADS


def sources(folder: Path) -> dict[str, Path]:
    """One file of several layouts, as tools write them."""
    attention = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    vectors = {"emb_params": torch.ones(2, 768)}
    return {
        "kohya": files.write(folder / "kohya.safetensors", files.kohya(alpha=1.0)),
        "no alpha": files.write(folder / "bare.safetensors", files.kohya()),
        "diffusers": files.write(folder / "diffusers.safetensors", files.peft()),
        "attn-procs": files.write(
            folder / "procs.safetensors",
            {
                key.replace(".to_q.lora_A", ".processor.to_q_lora.down").replace(
                    ".to_q.lora_B", ".processor.to_q_lora.up"
                ): ref
                for key, ref in files.peft(attention).items()
            },
        ),
        "omi": files.write(
            folder / "omi.safetensors",
            {
                f"transformer.double_blocks.0.img_attn.proj.{key.split('.', 1)[1]}": ref
                for key, ref in files.kohya(alpha=1.0).items()
            },
        ),
        "token": files.write(folder / "token.safetensors", vectors),
    }


def loadings(path: Path) -> list[tuple[Loader, Rule]]:
    found = facts_of(lorry.open(path), host())
    return [(tool, rule_for(tool, found)) for tool in TOOLS.values()]


@pytest.mark.parametrize("layout", ["kohya", "no alpha", "diffusers", "attn-procs", "omi", "token"])
def test_what_is_said_to_mend_it_does(tmp_path: Path, layout: str) -> None:
    path = sources(tmp_path)[layout]
    for tool, rule in loadings(path):
        if rule.verdict == LOADS or rule.mend in ("", BAKE):
            continue
        mended = tmp_path / f"mended-{tool.name}"
        convert(lorry.open(path), mended, rule.mend)
        assert rule_for(tool, facts_of(lorry.open(mended), host())).verdict == LOADS, (tool.name, rule)


@pytest.mark.parametrize(
    ("mend", "wanted"),
    [
        ("kohya", "lorry convert {} --to kohya -o 'my lora-kohya.safetensors'"),
        ("peft", "lorry convert {} --to peft -o 'my lora-peft'"),
        (BAKE, "lorry bake BASE {} -o FOLDER"),
    ],
)
def test_the_command_that_mends_is_one_that_can_be_typed(tmp_path: Path, mend: str, wanted: str) -> None:
    path = files.write(tmp_path / "my lora.safetensors", files.peft())
    assert command(Rule("", NOT, "", mend), lorry.open(path), host()) == wanted.format(f"'{path}'")


def test_every_tool_answers(tmp_path: Path) -> None:
    from lorry.ops.judging.loaders import loads

    found = {each.tool: each for each in loads(lorry.open(files.write(tmp_path / "a.safetensors", files.peft())))}
    assert list(found) == [each.title for each in TOOLS.values()]
    assert found["diffusers"] == Loading("diffusers", "0.42.1", "measured", LOADS, found["diffusers"].because, "")
    assert found["ComfyUI"].verdict == NOT
    assert found["ComfyUI"].mend.startswith("lorry convert ")
