"""The model card: what the Hub reads of it, and that nothing a stranger wrote acts in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from lorry_registry.remotes.hub.card import model_card
from lorry_registry.remotes.hub.markdown import code, code_block, escape, one_line
from lorry_registry.version.manifest import AdapterFacts, Base, File, Id, Lineage, Manifest, Parent

GOLDEN = Path(__file__).with_name("card.md")


def manifest(**said: Any) -> Manifest:
    """Describe a version of demo/cat; `said` are its title, description, license, tags …"""
    words = said.pop("trigger_words", ("sks cat",))
    recipe = said.pop("recipe", {"op": "merge", "inputs": [], "options": {"method": "ties", "density": 0.5}})
    files = [("cat.safetensors", "weights"), ("image_0.png", "preview")]
    return Manifest(
        id=Id(namespace="demo", name="cat", version="1.2.0", **said),
        files=tuple(
            File(path=path, role=role, media_type="application/octet-stream", size=1, sha256=f"{at}" * 64)
            for at, (path, role) in enumerate(files)
        ),
        adapter=AdapterFacts(
            kinds=("lora",),
            format="kohya+safetensors",
            components=("unet", "text_encoder"),
            layers=20,
            ranks={"4": 2, "8": 18},
            dtypes=("F16",),
            n_params=12345,
            trigger_words=words,
        ),
        base=Base(id="sd1@1", fingerprint="f" * 64),
        lineage=Lineage(
            op="merge",
            recipe=recipe,
            parents=(
                Parent(name="fluffy.safetensors", sha256="a" * 64, reference="demo/fluffy@1.0.0", weight=0.75),
                Parent(name=said.get("title", "b"), sha256="b" * 64, weight=0.25),
            ),
        ),
    )


def card(described: Manifest, **options: Any) -> str:
    loaded = {"diffusers": "pytorch_lora_weights.safetensors", "ComfyUI": "cat.safetensors"}
    return model_card(described, "alice/cat-lora", **{"base_model": "the/base", "loaded": loaded, **options})


def front_matter(text: str) -> dict[str, Any]:
    """Return what the Hub's own client reads of a card."""
    data: dict[str, Any] = ModelCard(text).data.to_dict()  # type: ignore[no-untyped-call]
    return data


def test_a_card_is_what_it_was() -> None:
    described = manifest(
        title="A cat",
        description="Draws cats.\nMost of them sit.\n\nNot for dogs.",
        license="Apache-2.0",
        authors=("Alice",),
        tags=("animal",),
    )
    assert card(described) == GOLDEN.read_text(encoding="utf-8")


def test_the_hub_reads_its_facts() -> None:
    data = front_matter(card(manifest(title="A cat", license="MIT", tags=("animal",))))
    assert data == {
        "base_model": "the/base",
        "base_model_relation": "adapter",
        "library_name": "diffusers",
        "license": "mit",
        "pipeline_tag": "text-to-image",
        "instance_prompt": "sks cat",
        "tags": ["text-to-image", "diffusers", "lora", "template:sd-lora", "sd1", "lorry", "animal"],
        "widget": [{"text": "sks cat", "output": {"url": "image_0.png"}}],
    }


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", {}),
        ("OpenRAIL++", {"license": "openrail++"}),
        ("My own: ask me", {"license": "other", "license_name": "my-own-ask-me"}),
        ("许可", {"license": "other", "license_name": "other"}),
    ],
)
def test_a_licence_the_hub_does_not_know_is_another(text: str, fields: dict[str, str]) -> None:
    data = front_matter(card(manifest(license=text)))
    assert {name: value for name, value in data.items() if name.startswith("license")} == fields


def test_a_base_and_a_tool_that_are_not_known_are_left_out() -> None:
    text = card(manifest(), base_model="", loaded={})
    data = front_matter(text)
    assert not {"base_model", "base_model_relation", "library_name"} & data.keys()
    assert "diffusers" not in data["tags"]
    assert "load_lora_weights" not in text
    assert "lorry clone hf://alice/cat-lora@v1.2.0" in text


def test_diffusers_is_always_given_a_file_and_a_revision() -> None:
    text = card(manifest(), loaded={"diffusers": "kohya/cat.safetensors"})
    assert (
        'load_lora_weights("alice/cat-lora", weight_name="cat.safetensors", subfolder="kohya", revision="v1.2.0")'
    ) in text


def test_learned_tokens_are_loaded_as_such() -> None:
    lora = manifest()
    file = lora.files[0].model_copy(update={"path": "cat_emb.safetensors", "role": "embedding", "sha256": "e" * 64})
    both = card(lora.model_copy(update={"files": (*lora.files, file)}))
    assert "The learned tokens are in `cat_emb.safetensors`" in both
    assert "`cat_emb.safetensors` into `ComfyUI/models/embeddings`, and write `embedding:cat_emb`" in both
    facts = lora.adapter.model_copy(update={"layers": 0, "kinds": ("textual-inversion",), "tokens": ("<cat>",)})
    alone = card(
        lora.model_copy(update={"files": (file,), "adapter": facts}), loaded={"diffusers": "cat_emb.safetensors"}
    )
    assert 'load_textual_inversion("alice/cat-lora", weight_name="cat_emb.safetensors", revision="v1.2.0")' in alone
    assert "template:sd-lora" not in front_matter(alone)["tags"]
    assert "Trigger words: `sks cat`, `<cat>`" in alone


ATTACKS = [
    "x\n---\nlicense: mit\nbase_model: evil/model\n---\n",
    "---",
    "!!python/object/apply:os.system ['touch x']",
    "&a [*a,*a]",
    "x: y # z",
    '"\n- injected: "true',
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![x](https://evil.example/track.png)",
    "[click](javascript:alert(1))",
    "# heading\n- list\n> quote\n1. one\n```\ncode",
    "````\n</code></pre><script>",
    "a | b | c\n|---|---|",
    '"); import os; os.system("x") #',
    '\\"); print(1) #',
    "\u202egnp.exe\u0000\u001b[31m\u2028\u0085x",
    "$$\\href{javascript:alert(1)}{x}$$",
    "`<b>`",
    "*bold* _it_ ~~x~~",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_a_stranger_wrote_acts(attack: str) -> None:
    described = manifest(
        title=attack,
        description=attack,
        license=attack,
        authors=(attack,),
        tags=(attack,),
        trigger_words=(attack,),
        recipe={"op": "merge", "inputs": [], "options": {attack: attack}},
    )
    text = card(described)
    front, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    data = yaml.safe_load(front)
    expected = {"base_model", "base_model_relation", "library_name", "license", "license_name", "pipeline_tag"}
    assert data.keys() <= expected | {"instance_prompt", "tags", "widget"}
    assert data["base_model"] == "the/base"
    assert data.get("instance_prompt", "") == one_line(attack)
    assert front_matter(text)["base_model"] == "the/base"
    assert not [letter for letter in text if letter != "\n" and (ord(letter) < 32 or letter in "\u202e\u2028\u0085")]
    prose = without_code(body)
    assert re.findall(r"<[^>]*>?", prose) == ["<Gallery />"]
    assert not re.search(r"(?<!\\)!(?<!\\)\[|(?<!\\)\]\(", prose)
    assert not re.search(r"(?<!\\)\$", prose)
    headings = [line for line in prose.splitlines() if line.startswith("#")]
    assert headings[1:] == ["## diffusers", "## ComfyUI", "## lorry", "## What it is", "## Made by merge"]
    assert not re.search(r"^(?:[-+*]|\d+[.)])\s|^(?:=+|-+)\s*$", prose, re.MULTILINE)
    for rows in re.findall(r"(?:^\|.*\n?)+", prose, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows.strip().splitlines()}) == 1
    (python,) = re.findall(r"^(`{3,})python\n(.*?)\n\1$", body, re.MULTILINE | re.DOTALL)
    compile(python[1], "card", "exec")
    assert python[1].count("\n") == 4


def without_code(body: str) -> str:
    """Return Markdown without its blocks and spans of code, as CommonMark finds them."""
    blocks = re.sub(r"^(`{3,})\w*\n.*?\n\1$", "", body, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"(?<![`\\])(`+)(?!`)(.*?)(?<!`)\1(?!`)", "", blocks)


@pytest.mark.parametrize("text", ["a`b", "``", "`", "a", "", " x ", "```"])
def test_code_shows_what_it_is_given(text: str) -> None:
    span, block = code(text), code_block(text, "")
    fence = re.match("`+", span)
    assert fence
    assert span.endswith(fence[0])
    assert fence[0] not in span[len(fence[0]) : -len(fence[0])].strip(" ")
    assert block.splitlines()[0] not in text.splitlines()


def test_escaped_text_reads_as_it_was() -> None:
    text = "1. Cats *and* dogs, 100% | a_b <3"
    shown = re.sub(r"\\(.)", r"\1", escape(text)).replace("&lt;", "<")
    assert shown == text
