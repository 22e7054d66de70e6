"""Files that hold learned tokens alone: A1111's pickles, diffusers' and sd-scripts' embeddings, SDXL's and FLUX's."""

from __future__ import annotations

from lorry.ir import TensorMap
from lorry.plugin import Dialect, hookimpl

LORRY_API = 1


def _refuse(source: TensorMap) -> str | None:
    named = source.begins("string_to_param.")
    if named or all(len(ref.shape) in (1, 2) for ref in source.tensors.values()):
        return None
    return "learned tokens are vectors and matrices alone"


def _dialect(name: str, title: str, tokens: tuple[str, ...], containers: tuple[str, ...]) -> Dialect:
    return Dialect(name=name, title=title, containers=containers, naming="embedding", tokens=tokens, refuse=_refuse)


@hookimpl
def lorry_dialects() -> list[Dialect]:
    """Offer them in the order in which the surest sign comes first."""
    both = ("safetensors", "ckpt")
    return [
        _dialect("a1111-embedding", "A1111 textual inversion (.pt)", ("a1111",), ("ckpt",)),
        _dialect(
            "encoder-embedding", "SDXL and FLUX textual inversion (clip_l, clip_g, t5)", ("advanced", "encoders"), both
        ),
        _dialect("kohya-embedding", "sd-scripts textual inversion (emb_params)", ("emb_params",), both),
        _dialect("diffusers-embedding", "diffusers textual inversion (learned_embeds)", ("embeds",), both),
    ]
