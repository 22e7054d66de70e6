"""Two tiny base models that really draw, and adapters for them: enough to try everything without a download.

`toybox-sd` (Stable Diffusion) and `toybox-flux` (FLUX.1) are ordinary diffusers folders of 8 and 10 MB that
draw 32-pixel emoji; this plugin only names them, the backends sd and flux run them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lorry.plugin import Command, Store, hookimpl

LORRY_API = 1

FOLDER = Path(__file__).parent


def bases() -> Mapping[str, Path]:
    """Return the base folders by name."""
    return {"toybox-sd": FOLDER / "sd", "toybox-flux": FOLDER / "flux"}


@hookimpl
def lorry_stores() -> list[Store]:
    """Name the two bases."""
    return [Store(name="toybox", title="Tiny bases that come with lorry", bases=bases)]


@hookimpl
def lorry_commands() -> list[Command]:
    """Add the command that shows it all."""
    return [
        Command(
            name="demo",
            help="Run a subject and a style adapter from end to end, into one contact sheet.",
            load="lorry_plugins.backends.toybox.demo:demo",
        )
    ]
