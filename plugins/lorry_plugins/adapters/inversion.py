"""Textual inversion: learned vectors that stand for a word of the prompt (Gal et al., arXiv:2208.01618)."""

from __future__ import annotations

from collections.abc import Sequence

from lorry.errors import NotRepresentable
from lorry.ir import TensorMap, TensorRef, Token
from lorry.plugin import FoundTokens, Kind, TokenLayout, hookimpl

LORRY_API = 1

ENCODERS = ("clip_l", "clip_g", "clip_h", "t5")

_NOTHING = FoundTokens({}, {})


def _read_a1111(source: TensorMap) -> FoundTokens:
    """Read {"string_to_param": {"*": vectors}, "name": text}; a key other than * is a text of its own."""
    lead = "string_to_param."
    keys = [key for key in source.tensors if key.startswith(lead)]
    name = source.values.get("name")
    texts = {key: key.removeprefix(lead) for key in keys}
    whole = str(name) if isinstance(name, str) and name else source.stem
    named = {key: whole if text == "*" else text for key, text in texts.items()}
    # The token's number in the tokenizer it was trained with means nothing elsewhere; some files hold it as a tensor.
    numbers = tuple(key for key in source.tensors if key.startswith("string_to_token."))
    return FoundTokens(
        {text: {"": source.tensors[key]} for key, text in named.items()},
        {text: (key, *numbers) for key, text in named.items()},
    )


def _read_embeds(source: TensorMap) -> FoundTokens:
    """Read {text: vectors}, all of one width; a dot or colon in a key means a path, which is no token's text."""
    widths = {ref.shape[-1:] for ref in source.tensors.values()}
    if any(_means_else(key) for key in source.tensors) or len(widths) != 1:
        return _NOTHING
    return FoundTokens({key: {"": ref} for key, ref in source.tensors.items()}, {key: (key,) for key in source.tensors})


def _write_embeds(tokens: Sequence[Token]) -> TensorMap:
    misread = [token.text for token in tokens if _means_else(token.text)]
    if misread:
        raise NotRepresentable("an embedding file by text", dict.fromkeys(misread, "its text would not be read as one"))
    return TensorMap(tensors={token.text: _only(token) for token in tokens})


def _means_else(key: str) -> bool:
    return key in (*ENCODERS, "emb_params") or bool(set(".:") & set(key))


def _read_emb_params(source: TensorMap) -> FoundTokens:
    """Read {"emb_params": vectors}; the text is the name of the file."""
    if "emb_params" not in source.tensors:
        return _NOTHING
    return FoundTokens({source.stem: {"": source.tensors["emb_params"]}}, {source.stem: ("emb_params",)})


def _write_emb_params(tokens: Sequence[Token]) -> TensorMap:
    return TensorMap(tensors={"emb_params": _only(_single(tokens, "an emb_params file"))})


def _read_encoders(source: TensorMap) -> FoundTokens:
    """Read {"clip_l": vectors, "clip_g" or "t5": vectors}; the text is the name of the file."""
    keys = tuple(key for key in source.tensors if key in ENCODERS)
    if not keys:
        return _NOTHING
    return FoundTokens({source.stem: {key: source.tensors[key] for key in keys}}, {source.stem: keys})


def _write_encoders(tokens: Sequence[Token]) -> TensorMap:
    token = _single(tokens, "an encoder-embedding file")
    return TensorMap(tensors=dict(token.vectors))


def _single(tokens: Sequence[Token], what: str) -> Token:
    if len(tokens) != 1:
        raise NotRepresentable(what, {token.text: "it holds one token, named by the file" for token in tokens})
    return tokens[0]


def _only(token: Token) -> TensorRef:
    if len(token.vectors) != 1:
        raise NotRepresentable("this embedding file", {token.text: "it holds vectors of one text encoder"})
    return next(iter(token.vectors.values()))


TEXTUAL_INVERSION = Kind(
    name="textual-inversion",
    title="textual inversion",
    token_layouts=(
        TokenLayout(name="a1111", read=_read_a1111),
        TokenLayout(name="embeds", read=_read_embeds, write=_write_embeds),
        TokenLayout(name="emb_params", read=_read_emb_params, write=_write_emb_params, by_file=True),
        TokenLayout(name="encoders", read=_read_encoders, write=_write_encoders, named=True, by_file=True),
    ),
)


@hookimpl
def lorry_kinds() -> list[Kind]:
    """Offer textual inversion."""
    return [TEXTUAL_INVERSION]
