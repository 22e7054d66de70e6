"""Which device numerics run on."""

from __future__ import annotations

from lorry.errors import InvalidArgument


def checked_device(name: str) -> str:
    """Return a device that computes here; "auto" is CUDA where there is one, else the CPU.

    Raises InvalidArgument for a device that torch does not know or this machine does not have, and for one without
    float64, in which small cores are decomposed (MPS).
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, dtype=torch.float64, device=name)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise InvalidArgument(f"device {name!r} cannot compute here: {str(error).splitlines()[0]}") from error
    return name
