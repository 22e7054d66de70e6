"""Files that are often taken for adapters and are none that lorry reads: named, so that nobody has to guess.

Sources: ComfyUI comfy/controlnet.py (`load_controlnet`, control-lora); sd-scripts networks/control_net_lllite.py;
flux src/flux/modules/image_embedders.py (Redux); tencent-ailab/IP-Adapter and PuLID; nunchaku's
nunchaku/lora/flux/nunchaku_converter.py.
"""

from __future__ import annotations

from collections.abc import Callable

from lorry.ir import TensorMap
from lorry.plugin import Dialect, hookimpl

LORRY_API = 1

_PACKED = tuple(
    f".{module}.{slot}"
    for module in (
        "qkv_proj", "qkv_proj_context", "out_proj", "out_proj_context",
        "mlp_fc1", "mlp_fc2", "mlp_context_fc1", "mlp_context_fc2",
        "norm1.linear", "norm1_context.linear", "norm.linear",
    )
    for slot in ("lora_down", "lora_up")
)  # fmt: skip


def _stranger(name: str, title: str, why: str, mark: str, is_one: Callable[[TensorMap], bool]) -> Dialect:
    def refuse(source: TensorMap) -> str | None:
        return None if is_one(source) else f"no key has {mark}"

    return Dialect(name=name, title=title, refuse=refuse, unreadable=why)


def _begins(*leads: str) -> Callable[[TensorMap], bool]:
    return lambda source: source.begins(*leads)


@hookimpl
def lorry_dialects() -> list[Dialect]:
    """Offer them."""
    return [
        _stranger(
            "sai-control-lora",
            "a Stability control-LoRA",
            "it is a ControlNet, kept as low-rank differences from the base's own encoder; it changes no weight of the "
            "base. Load it where ControlNets are loaded",
            "lora_controlnet",
            lambda source: "lora_controlnet" in source.tensors,
        ),
        _stranger(
            "control-lllite",
            "a ControlNet-LLLite",
            "it adds modules that see a control picture; it changes no weight. Load it where ControlNets are loaded",
            "lllite_",
            _begins("lllite_unet", "lllite_dit"),
        ),
        _stranger(
            "flux-redux",
            "FLUX.1 Redux",
            "it turns a picture into text embeddings; it changes no weight. Load it as a style model",
            "redux_up",
            _begins("redux_up.", "redux_down."),
        ),
        _stranger(
            "ip-adapter",
            "an IP-Adapter",
            "it adds attention on a picture's embedding; it changes no weight. Load it as an IP-Adapter",
            "ip_adapter or image_proj",
            _begins("ip_adapter.", "image_proj.", "ip_adapter_proj_model."),
        ),
        _stranger(
            "pulid",
            "PuLID",
            "it adds attention on a face's embedding; it changes no weight. Load it as PuLID",
            "pulid_encoder or pulid_ca",
            _begins("pulid_encoder.", "pulid_ca."),
        ),
        _stranger(
            "nunchaku",
            "a nunchaku (SVDQuant) LoRA",
            "its factors are packed for one GPU kernel and joined with the quantised base's own branch, which the file "
            "does not hold; give the LoRA it was converted from",
            "lora_down or lora_up of a packed block",
            lambda source: source.ends(*_PACKED),
        ),
    ]
