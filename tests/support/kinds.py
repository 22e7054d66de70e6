"""Random layers of every kind that changes a weight, in every form the kind has."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from lorry.ir import Layer, TensorRef

ROWS, COLUMNS, KERNEL = 24, 16, (3, 3)
LINEAR, CONVOLUTION = (ROWS, COLUMNS), (ROWS, COLUMNS, *KERNEL)

Shape = tuple[int, ...]


class Random:
    """Tensors from one seed."""

    def __init__(self, seed: int = 0) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int, size: float = 1.0) -> TensorRef:
        return TensorRef.from_torch(torch.randn(shape, generator=self._generator) * size)

    def weight(self, shape: Shape) -> torch.Tensor:
        return torch.randn(shape, generator=self._generator)


def _lora(r: Random, shape: Shape) -> dict[str, TensorRef]:
    return {"down": r(4, *shape[1:]), "up": r(shape[0], 4, *(1 for _ in shape[2:]))}


def _loha(r: Random, shape: Shape) -> dict[str, TensorRef]:
    inner = torch.Size(shape[1:]).numel()
    return {f"w{at}_{side}": r(*((shape[0], 3) if side == "a" else (3, inner))) for at in "12" for side in "ab"}


def _magnitude(r: Random, shape: Shape) -> TensorRef:
    return r(shape[0], *(1 for _ in shape[1:]))


def _columns(r: Random, shape: Shape) -> TensorRef:
    return r(1, shape[1], *(1 for _ in shape[2:]))


def _layer(kind: str, slots: Mapping[str, TensorRef], scale: float = 1.0, **options: object) -> Layer:
    return Layer(kind=kind, slots=dict(slots), scale=scale, options=options)


def _glora(r: Random, shape: Shape) -> dict[str, TensorRef]:
    ones = tuple(1 for _ in shape[2:])
    return {
        "a1": r(shape[1], 2, *ones, size=0.3),
        "a2": r(2, shape[1], *ones, size=0.3),
        "b1": r(shape[0], 2, *ones),
        "b2": r(2, *shape[1:]),
    }


Make = Callable[[Random], Layer]

LINEAR_LAYERS: Mapping[str, Make] = {
    "lora": lambda r: _layer("lora", _lora(r, LINEAR), 0.5),
    "dora": lambda r: _layer("dora", {**_lora(r, LINEAR), "magnitude": _magnitude(r, LINEAR)}, 0.5),
    "dora-columns": lambda r: _layer("dora", {**_lora(r, LINEAR), "magnitude_in": _columns(r, LINEAR)}, 0.5),
    "loha": lambda r: _layer("loha", _loha(r, LINEAR), 2.0),
    "loha-dora": lambda r: _layer("loha-dora", {**_loha(r, LINEAR), "magnitude": _magnitude(r, LINEAR)}, 2.0),
    "lokr": lambda r: _layer("lokr", {"w1": r(4, 4), "w2_a": r(6, 1), "w2_b": r(1, 4)}, 0.25),
    "lokr-full": lambda r: _layer("lokr", {"w1": r(4, 4), "w2": r(6, 4)}),
    "lokr-full-scaled": lambda r: _layer("lokr", {"w1": r(4, 4), "w2": r(6, 4)}, 3.0),
    "lokr-both": lambda r: _layer("lokr", {"w1_a": r(4, 1), "w1_b": r(1, 4), "w2_a": r(6, 1), "w2_b": r(1, 4)}, 0.5),
    "lokr-dora": lambda r: _layer("lokr-dora", {"w1": r(4, 4), "w2": r(6, 4), "magnitude": _magnitude(r, LINEAR)}),
    "diff": lambda r: _layer("diff", {"diff": r(*LINEAR)}),
    "diff-scaled": lambda r: _layer("diff", {"diff": r(*LINEAR)}, 0.3),
    "set": lambda r: _layer("set", {"value": r(*LINEAR)}),
    "ia3-rows": lambda r: _layer("ia3", {"rows": r(ROWS)}, offset=1.0),
    "ia3-columns": lambda r: _layer("ia3", {"columns": r(COLUMNS)}, offset=1.0),
    "ia3-output": lambda r: _layer("ia3", {"output": r(ROWS, 1)}),
    "ia3-input": lambda r: _layer("ia3", {"columns": r(1, COLUMNS)}),
    "glora": lambda r: _layer("glora", _glora(r, LINEAR), 0.5),
    "vera": lambda r: _layer("vera", {"lambda_b": r(ROWS), "lambda_d": r(4), "A": r(4, COLUMNS), "B": r(ROWS, 4)}),
    "diag-oft": lambda r: _layer("diag-oft", {"blocks": r(6, 4, 4, size=0.2)}),
    "diag-oft-rescaled": lambda r: _layer("diag-oft", {"blocks": r(6, 4, 4, size=0.2), "rescale": r(ROWS, 1)}),
    "diag-oft-constrained": lambda r: _layer(
        "diag-oft", {"blocks": r(6, 4, 4), "constraint": TensorRef.from_torch(torch.tensor(0.05))}
    ),
    "boft": lambda r: _layer("boft", {"blocks": r(2, 6, 4, 4, size=0.2), "rescale": r(ROWS, 1)}),
    "oft": lambda r: _layer("oft", {"generators": r(4, 6, size=0.1)}),
    "oft-exact": lambda r: _layer("oft", {"generators": r(4, 6, size=0.1)}, terms=0),
    "oft-shared": lambda r: _layer("oft", {"generators": r(1, 6, size=0.1)}),
    "oft-constrained": lambda r: _layer("oft", {"generators": r(4, 6)}, limit=0.5),
    "oft-scaled": lambda r: _layer("oft", {"generators": r(4, 6)}, scaled=True, convolutions_by_r=True),
    "input-boft": lambda r: _layer("input-boft", {"blocks": r(1, 4, 4, 4, size=0.3), "rescale": r(ROWS, 1)}),
}

CONVOLUTION_LAYERS: Mapping[str, Make] = {
    "lora": lambda r: _layer("lora", _lora(r, CONVOLUTION), 0.5),
    "lora-tucker": lambda r: _layer(
        "lora", {"down": r(3, COLUMNS, 1, 1), "mid": r(2, 3, *KERNEL), "up": r(ROWS, 2, 1, 1)}, 0.5
    ),
    "dora": lambda r: _layer("dora", {**_lora(r, CONVOLUTION), "magnitude": _magnitude(r, CONVOLUTION)}, 0.5),
    "dora-columns": lambda r: _layer("dora", {**_lora(r, CONVOLUTION), "magnitude_in": _columns(r, CONVOLUTION)}, 0.5),
    "loha": lambda r: _layer("loha", _loha(r, CONVOLUTION), 2.0),
    "loha-tucker": lambda r: _layer(
        "loha",
        {
            "w1_a": r(3, ROWS), "w1_b": r(3, COLUMNS), "t1": r(3, 3, *KERNEL),
            "w2_a": r(3, ROWS), "w2_b": r(3, COLUMNS), "t2": r(3, 3, *KERNEL),
        },
    ),
    "lokr": lambda r: _layer("lokr", {"w1": r(4, 4), "w2_a": r(6, 1), "w2_b": r(1, 36)}, 0.25),
    "lokr-full": lambda r: _layer("lokr", {"w1": r(4, 4), "w2": r(6, 4, *KERNEL)}),
    "lokr-tucker": lambda r: _layer(
        "lokr", {"w1": r(4, 4), "w2_a": r(1, 6), "w2_b": r(1, 4), "t2": r(1, 1, *KERNEL)}, 0.5
    ),
    "diff": lambda r: _layer("diff", {"diff": r(*CONVOLUTION)}),
    "ia3-rows": lambda r: _layer("ia3", {"rows": r(1, ROWS, 1, 1)}, offset=1.0),
    "ia3-columns": lambda r: _layer("ia3", {"columns": r(1, COLUMNS, 1, 1)}, offset=1.0),
    "glora": lambda r: _layer("glora", _glora(r, CONVOLUTION), 0.5),
    "diag-oft": lambda r: _layer("diag-oft", {"blocks": r(6, 4, 4, size=0.2)}),
    "oft": lambda r: _layer("oft", {"generators": r(36, 6, size=0.1)}),
    "oft-onetrainer": lambda r: _layer("oft", {"generators": r(36, 6, size=0.1)}, convolutions_by_r=True),
}  # fmt: skip
