"""Which device numbers are computed on."""

from __future__ import annotations

from lorry.errors import InvalidArgument


def checked_device(name: str, *, float64: bool = True) -> str:
    """Return a device that computes here; "auto" is the accelerator where there is one that will do, else the CPU.

    Raises InvalidArgument for a device that torch does not know, that this machine does not have, or that holds no
    numbers (meta); and with `float64`, in which small cores are decomposed, for one without it (MPS).
    """
    import torch

    there = ["cpu"]
    if torch.accelerator.is_available():
        there.insert(0, str(torch.accelerator.current_accelerator()))
    if name == "auto":
        return next(each for each in there if _computes(each, float64=float64))
    if not _computes(name, float64=float64):
        raise InvalidArgument(f"nothing can be computed on {name!r} here; give auto, or one of: {', '.join(there)}")
    return name


def _computes(name: str, *, float64: bool) -> bool:
    import torch

    try:
        numbers = torch.zeros(1, dtype=torch.float64 if float64 else torch.float32, device=name)
    except (RuntimeError, AssertionError, TypeError):  # whichever torch raises: it differs from device to device
        return False
    return not numbers.is_meta
