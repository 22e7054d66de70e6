"""Making a safetensors file of another container's, in a process of limited means where its bytes are a program."""

from __future__ import annotations

from pathlib import Path

from lorry.errors import LorryError, NotRepresentable
from lorry.ops.judging.confined import confined, means_for
from lorry.ops.reading.read import open_adapter
from lorry.ops.writing.write import save
from lorry.plugin.host import host

CONTAINER = "safetensors"

_CONVERT = "lorry_registry.adding.convert:to_safetensors"
_HEADER = 17 << 20
"""Bytes that a file of the same tensors may be larger: the most a header takes."""


def converted(path: Path) -> Path:
    """Write what a file holds beside it as safetensors, and take the file away; return the new one.

    A process of limited means reads and writes. Raises NotRepresentable where no dialect keeps this in such a file.
    """
    target = path.with_name(f"{path.stem}.{CONTAINER}")
    size = path.stat().st_size
    # Numbers of a smaller dtype than a container has are written as the next larger one.
    means = means_for(size)._replace(written=2 * size + _HEADER)
    refused = confined(_CONVERT, [str(path), str(target)], means)
    if refused:
        raise NotRepresentable(CONTAINER, refused, "lorry convert --lossy keeps what can be kept")
    path.unlink()
    return target


def to_safetensors(source: str, target: str) -> dict[str, str]:
    """Convert one file; return {} or, by dialect, why none holds it. What `converted` calls in the other process."""
    plugins = host()
    adapter = open_adapter(Path(source), plugins=plugins)
    own = plugins.dialects()[adapter.origin[0].dialect]
    able = [each for each in plugins.dialects().values() if CONTAINER in each.containers]
    reasons: dict[str, str] = {}
    for dialect in sorted(able, key=lambda each: (each is not own, each.naming != own.naming)):
        try:
            save(adapter, target, f"{dialect.name}+{CONTAINER}", plugins=plugins)
        except LorryError as error:
            reasons[dialect.name] = str(error)
        else:
            return {}
    return reasons
