"""Runs Stable Diffusion 1, 2 and XL through diffusers."""

from __future__ import annotations

from lorry.plugin import Backend, hookimpl

LORRY_API = 1


@hookimpl
def lorry_backends() -> list[Backend]:
    """Offer the Stable Diffusion backend."""
    return [
        Backend(
            name="sd",
            title="Stable Diffusion 1, 2 and XL (diffusers)",
            bases=("sd1", "sd2", "sdxl"),
            load="lorry_plugins.backends.sd.model:load",
        )
    ]
