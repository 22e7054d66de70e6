"""The VAE that all latent diffusion models share, at 4 blocks of resolution.

Names in the scheme "diffusers" are those of diffusers' AutoencoderKL; "native" are those of CompVis' and Black
Forest Labs' modules/autoencoder.py, which count the decoder's blocks from the picture up, and have convolutions
of 1x1 for attention; "attention-block" are those of diffusers before 0.17.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lorry.plugin import Component, Naming, View

_RESNET = {
    "norm1": "norm1", "conv1": "conv1", "norm2": "norm2", "conv2": "conv2", "conv_shortcut": "nin_shortcut",
}  # fmt: skip
_ATTENTION = {"to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
_BLOCKS = 4


def _native(quant: Mapping[str, str]) -> Iterator[View]:
    """Yield every module; source: diffusers loaders/single_file_utils.py, `convert_ldm_vae_checkpoint`."""
    for ours, theirs in quant.items():
        yield View(name=theirs, parts=(ours,))
    for half in ("encoder", "decoder"):
        for ours, theirs in {"conv_in": "conv_in", "conv_norm_out": "norm_out", "conv_out": "conv_out"}.items():
            yield View(name=f"{half}.{theirs}", parts=(f"{half}.{ours}",))
        for at in range(2):
            yield from _resnet(f"{half}.mid.block_{at + 1}", f"{half}.mid_block.resnets.{at}")
        theirs, ours = f"{half}.mid.attn_1", f"{half}.mid_block.attentions.0"
        yield View(name=f"{theirs}.norm", parts=(f"{ours}.group_norm",))
        for leaf, native in _ATTENTION.items():
            yield View(name=f"{theirs}.{native}", parts=(f"{ours}.{leaf}",), conv=True)
    yield from _resnet("encoder.down.{i}.block.{j}", "encoder.down_blocks.{i}.resnets.{j}")
    yield View(name="encoder.down.{i}.downsample.conv", parts=("encoder.down_blocks.{i}.downsamplers.0.conv",))
    for at in range(_BLOCKS):
        theirs, ours = f"decoder.up.{_BLOCKS - 1 - at}", f"decoder.up_blocks.{at}"
        yield from _resnet(f"{theirs}.block.{{j}}", f"{ours}.resnets.{{j}}")
        yield View(name=f"{theirs}.upsample.conv", parts=(f"{ours}.upsamplers.0.conv",))


def _resnet(native: str, resnet: str) -> Iterator[View]:
    for ours, theirs in _RESNET.items():
        yield View(name=f"{native}.{theirs}", parts=(f"{resnet}.{ours}",))


def _modules(quant: Mapping[str, str]) -> Iterator[str]:
    """Yield our names, at any number of blocks."""
    yield from quant
    for half, block, scaler in (("encoder", "down_blocks", "downsamplers"), ("decoder", "up_blocks", "upsamplers")):
        yield from (f"{half}.{leaf}" for leaf in ("conv_in", "conv_norm_out", "conv_out"))
        yield from (f"{half}.mid_block.attentions.0.{leaf}" for leaf in ("group_norm", *_ATTENTION))
        for place in ("mid_block", f"{block}.{{i}}"):
            yield from (f"{half}.{place}.resnets.{{j}}.{leaf}" for leaf in _RESNET)
        yield f"{half}.{block}.{{i}}.{scaler}.0.conv"


_OLD = tuple(
    View(name=f"{half}.mid_block.attentions.0.{theirs}", parts=(f"{half}.mid_block.attentions.0.{ours}",))
    for half in ("encoder", "decoder")
    for ours, theirs in _OLD_ATTENTION.items()
)

_QUANT = {"quant_conv": "quant_conv", "post_quant_conv": "post_quant_conv"}


def vae(checkpoints: Mapping[str, str], quant: Mapping[str, str] = _QUANT) -> Component:
    """Return a VAE that stands under a prefix of its own in each layout of checkpoints.

    `quant` names what stands between the halves: our module and the native one.
    """
    return Component(
        name="vae",
        modules=tuple(_modules(quant)),
        schemes={"native": tuple(_native(quant)), "attention-block": _OLD},
        checkpoints={
            "diffusers": Naming(prefixes=("vae",), schemes=("diffusers", "attention-block")),
            **{layout: Naming(prefixes=(prefix,), schemes=("native",)) for layout, prefix in checkpoints.items()},
        },
        depth=f"encoder.down_blocks.{_BLOCKS - 1}.resnets.0.conv1",
    )
