"""Pivotal tuning: layers and learned tokens trained together, and how their tokens travel with the layers.

Inside the LoRA file as `bundle_emb` keys or as keys that its header marks, or in a second file
`NAME_emb.safetensors` whose row i is the token `<si>` (diffusers' advanced DreamBooth scripts). Opened together,
the two files are one adapter.
"""

from __future__ import annotations

from collections.abc import Sequence

from lorry.errors import NotRepresentable
from lorry.ir import TensorMap, TensorRef, Token
from lorry.plugin import FoundTokens, Kind, TokenLayout, hookimpl

LORRY_API = 1

_LEAD = "bundle_emb."
_PARAM = "string_to_param.*"
_VECTORS = ("clip_l", "clip_g", "clip_h", "t5", _PARAM)
_ENCODERS = frozenset({"clip_l", "clip_g", "t5"})
_EMBED = "<embed>"


def _read_bundle(source: TensorMap) -> FoundTokens:
    """Read bundle_emb.TEXT.VECTOR, where VECTOR is an encoder, or string_to_param.* for the only one.

    Source: ComfyUI comfy/sd1_clip.py (`bundled_embed`) and OneTrainer's bundled embeddings.
    """
    vectors: dict[str, dict[str, TensorRef]] = {}
    keys: dict[str, tuple[str, ...]] = {}
    bundled = source.tensors.items() if source.begins(_LEAD) else ()
    for key, ref in bundled:
        vector = next((each for each in _VECTORS if key.endswith(f".{each}")), None)
        if vector and key.startswith(_LEAD):
            text = key.removeprefix(_LEAD).removesuffix(f".{vector}")
            vectors.setdefault(text, {})["" if vector == _PARAM else vector] = ref
            keys[text] = (*keys.get(text, ()), key)
    return FoundTokens(vectors, keys)


def _write_bundle(tokens: Sequence[Token]) -> TensorMap:
    return TensorMap(
        tensors={
            f"{_LEAD}{token.text}.{encoder or _PARAM}": ref
            for token in tokens
            for encoder, ref in token.vectors.items()
        }
    )


def _read_advanced(source: TensorMap) -> FoundTokens:
    """Read NAME_emb.safetensors: row i of every encoder's matrix is the token <si>.

    Source: diffusers examples/advanced_diffusion_training, `TokenEmbeddingsHandler.save_embeddings`.
    """
    refs = {key: ref for key, ref in source.tensors.items() if key in _ENCODERS}
    if not refs or not source.stem.endswith("_emb") or len({ref.shape[0] for ref in refs.values()}) != 1:
        return FoundTokens({}, {})
    rows = next(iter(refs.values())).shape[0]
    texts = [f"<s{row}>" for row in range(rows)]
    vectors = {text: {key: ref.rows(row, row + 1) for key, ref in refs.items()} for row, text in enumerate(texts)}
    return FoundTokens(vectors, dict.fromkeys(texts, tuple(refs)))


def _read_headed(source: TensorMap) -> FoundTokens:
    """Read the keys that the header calls "<embed>", each of one token's only vector.

    Source: cloneofsimo/lora lora_diffusion/lora.py, `EMBED_FLAG` and `save_safeloras_with_embeds`.
    """
    found = {key: ref for key, ref in source.tensors.items() if source.metadata.get(key) == _EMBED}
    return FoundTokens({key: {"": ref} for key, ref in found.items()}, {key: (key,) for key in found})


def _write_headed(tokens: Sequence[Token]) -> TensorMap:
    vectors: dict[str, TensorRef] = {}
    for token in tokens:
        refs = list(token.vectors.values())
        if len(refs) != 1 or refs[0].shape[0] != 1:
            raise NotRepresentable("cloneofsimo's file", {token.text: "it holds one vector a token, of one encoder"})
        vectors[token.text] = refs[0].reshape(refs[0].numel)
    return TensorMap(tensors=vectors, metadata=dict.fromkeys(vectors, _EMBED))


PIVOTAL = Kind(
    name="pivotal",
    title="pivotal tuning (layers and learned tokens)",
    token_layouts=(
        TokenLayout(name="bundle_emb", read=_read_bundle, write=_write_bundle),
        TokenLayout(name="advanced", read=_read_advanced),
        TokenLayout(name="cloneofsimo", read=_read_headed, write=_write_headed),
    ),
)


@hookimpl
def lorry_kinds() -> list[Kind]:
    """Offer pivotal tuning."""
    return [PIVOTAL]
