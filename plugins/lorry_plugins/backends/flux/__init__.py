"""Runs FLUX.1 through diffusers."""

from __future__ import annotations

from lorry.plugin import Backend, hookimpl

LORRY_API = 1


@hookimpl
def lorry_backends() -> list[Backend]:
    """Offer the FLUX.1 backend."""
    return [
        Backend(
            name="flux",
            title="FLUX.1 (diffusers)",
            bases=("flux1",),
            load="lorry_plugins.backends.flux.model:load",
        )
    ]
