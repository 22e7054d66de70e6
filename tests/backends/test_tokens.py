"""Learned tokens on the running bases: they expand in the prompt and leave no trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from lorry.compose.pipeline_model import PipelineModel
from lorry.compose.tokens import ExpandingTokenizer
from lorry.errors import Conflict, Incompatible, LorryError
from lorry.ir import Adapter
from lorry.plugin import Request

from .helpers import PROMPT, adapter, difference, modules_of, token, with_tokens

WITH_TOKEN = replace(PROMPT, prompt="a flat <thing> on a teal background")


def tokens_only(base: str, *texts: str, count: int = 2) -> Adapter:
    return with_tokens(Adapter(base=base), *(token(text, count, seed=at) for at, text in enumerate(texts)))


def test_token_changes_its_prompts_and_no_other(model: PipelineModel) -> None:
    plain, with_token = model.generate(PROMPT), model.generate(WITH_TOKEN)
    model.attach([(tokens_only(model.base, "<thing>"), 1.0)])
    assert model.generate(PROMPT).tobytes() == plain.tobytes()
    assert difference(model.generate(WITH_TOKEN), with_token) > 0.5


def test_detach_gives_back_tokenizer_embedding_and_picture(model: PipelineModel) -> None:
    before, objects, tokenizer = model.generate(WITH_TOKEN), modules_of(model), model.pipeline.tokenizer
    words, config = len(tokenizer), dict(model.pipeline.config)
    model.attach([(tokens_only(model.base, "<thing>"), 1.0)])
    model.detach()
    assert model.pipeline.tokenizer is tokenizer
    assert len(tokenizer) == words
    assert dict(model.pipeline.config) == config
    assert modules_of(model) == objects
    assert model.generate(WITH_TOKEN).tobytes() == before.tobytes()


def test_pivotal_adapter_brings_layers_and_tokens(model: PipelineModel) -> None:
    layers, tokens = adapter(model.base), tokens_only(model.base, "<thing>")
    model.attach([(layers, 1.0), (tokens, 1.0)])
    apart = model.generate(WITH_TOKEN)
    model.attach([(replace(layers, tokens=tokens.tokens), 1.0)])
    assert model.generate(WITH_TOKEN).tobytes() == apart.tobytes()


def test_tokens_reach_the_encoder_in_order(sd: PipelineModel) -> None:
    """Each vector stands where its token stands, between the embeddings of the words around it."""
    vectors = {text: token(text, count, seed=count) for text, count in (("<a>", 1), ("<b>", 3))}
    sd.attach([(with_tokens(Adapter(base="sd1"), *vectors.values()), 1.0)])
    tokenizer, encoder = sd.pipeline.tokenizer, sd.parts["text_encoder"]
    embedding = next(each for name, each in encoder.named_modules() if name.endswith("token_embedding"))
    with torch.no_grad():
        found = embedding(tokenizer("a <b> cat <a>", return_tensors="pt").input_ids)[0]
        plain = embedding(tokenizer("a cat", return_tensors="pt").input_ids)[0]
    expected = [
        plain[:2],
        vectors["<b>"].vectors["text_encoder"].torch(),
        plain[2:3],
        vectors["<a>"].vectors["text_encoder"].torch(),
        plain[3:],
    ]
    assert torch.equal(found, torch.cat(expected))


def test_t5_takes_tokens_too(flux: PipelineModel) -> None:
    before = flux.generate(WITH_TOKEN)
    objects = modules_of(flux)
    flux.attach([(with_tokens(Adapter(base="flux1"), token("<thing>", components=("text_encoder_2",))), 1.0)])
    assert difference(flux.generate(WITH_TOKEN), before) > 0.5
    assert "text_encoder_2.encoder.embed_tokens.vectors" in modules_of(flux)
    flux.detach()
    assert modules_of(flux) == objects


@pytest.mark.parametrize(
    ("text", "prompt", "expanded"),
    [
        ("<a>", "a <a> on <a>", "a X on X"),
        ("<a>", "a<a>b", "aXb"),
        ("ohwx", "ohwx ohwxen, 'ohwx' (ohwx:1.2) nohwx", "X ohwxen, 'X' (X:1.2) nohwx"),
        ("cat", "category of a cat", "category of a X"),
        ("my style", "in my style, my styles", "in X, my styles"),
        ("<a", "<a <ab", "X <ab"),
        ("Ärger", "Ärger Ärgernis", "X Ärgernis"),
        ("a.b", "a.b aXb a+b", "X aXb a+b"),
        ("_x_", "_x_ a_x_ _x_b", "X a_x_ _x_b"),
    ],
)
def test_token_text_is_matched_as_it_is_written(text: str, prompt: str, expanded: str) -> None:
    tokenizer = ExpandingTokenizer(str, {text: "X"})
    assert tokenizer.expand(prompt) == expanded
    assert tokenizer.expand([prompt, "nothing"]) == [expanded, "nothing"]


def test_the_longest_token_wins() -> None:
    tokenizer = ExpandingTokenizer(str, {"<s>": "1", "<s><t>": "2", "<t>": "3"})
    assert tokenizer.expand("<s><t> <t><s>") == "2 31"


def test_published_clip_configurations_pool_at_the_end_of_the_prompt(sd: PipelineModel) -> None:
    """An end-of-text id of 2 makes CLIP pool at the largest id; with a token that would be the token's."""
    encoder = sd.parts["text_encoder"]
    holder = next(each for each in encoder.modules() if hasattr(each, "eos_token_id"))
    right = holder.eos_token_id
    ends = []
    for end in (right, 2):
        holder.eos_token_id = end  # type: ignore[assignment]
        sd.attach([(tokens_only("sd1", "<thing>"), 1.0)])
        ids = sd.pipeline.tokenizer("a flat <thing> on teal", return_tensors="pt").input_ids
        with torch.no_grad():
            ends.append(encoder(ids).pooler_output)
        sd.detach()
        assert holder.eos_token_id == end
    holder.eos_token_id = right
    assert torch.equal(*ends)


REFUSED: dict[str, tuple[Callable[[str], Adapter], type[LorryError], str]] = {
    "width": (lambda base: with_tokens(Adapter(base=base), token("<a>", width=768)), Incompatible, "768"),
    "encoder": (
        lambda base: with_tokens(Adapter(base=base), token("<a>", components=("text_encoder_9",))),
        Incompatible,
        "text_encoder_9",
    ),
    "no vectors": (lambda base: with_tokens(Adapter(base=base), token("<a>", count=0)), Incompatible, r"\[0, 128\]"),
    "no text": (lambda base: with_tokens(Adapter(base=base), token(" ")), Incompatible, "no text"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_tokens_leave_the_model_as_it_was(model: PipelineModel, case: str) -> None:
    make, error, message = REFUSED[case]
    objects, tokenizer = modules_of(model), model.pipeline.tokenizer
    with pytest.raises(error, match=message):
        model.attach([(adapter(model.base), 1.0), (make(model.base), 1.0)])
    assert modules_of(model) == objects
    assert model.pipeline.tokenizer is tokenizer


def test_a_token_cannot_mean_two_things(model: PipelineModel) -> None:
    once, again = (with_tokens(Adapter(base=model.base), token("<thing>", seed=seed)) for seed in (0, 1))
    with pytest.raises(Conflict, match="<thing>"):
        model.attach([(once, 1.0), (again, 1.0)])
    model.attach([(once, 1.0)])
    alone = model.generate(WITH_TOKEN)
    model.attach([(once, 1.0), (once, 1.0)])
    assert model.generate(WITH_TOKEN).tobytes() == alone.tobytes()


def test_negative_prompt_knows_tokens(sd: PipelineModel) -> None:
    sd.attach([(tokens_only("sd1", "<thing>"), 1.0)])
    plain = sd.generate(PROMPT)
    negative = Request(prompt=PROMPT.prompt, negative="<thing>", seed=PROMPT.seed, steps=PROMPT.steps)
    with_token = sd.generate(negative)
    sd.detach()
    assert difference(with_token, plain) > 0.5
    assert difference(with_token, sd.generate(negative)) > 0.5
