"""What other tools load: one file a tool, its version and its rules as data.

Rules of a tool marked "measured" give the verdict that the tool itself gave on sample files of every layout; a
changed tool is measured again, and its version here with it.
"""

from __future__ import annotations

from lorry.plugin import Loader, hookimpl
from lorry_plugins.tools.loaders.a1111 import A1111
from lorry_plugins.tools.loaders.comfyui import COMFYUI
from lorry_plugins.tools.loaders.diffusers import DIFFUSERS
from lorry_plugins.tools.loaders.forge import FORGE
from lorry_plugins.tools.loaders.invokeai import INVOKEAI
from lorry_plugins.tools.loaders.lycoris import LYCORIS
from lorry_plugins.tools.loaders.peft import PEFT
from lorry_plugins.tools.loaders.sd_scripts import SD_SCRIPTS

LORRY_API = 1


@hookimpl
def lorry_loaders() -> list[Loader]:
    """Offer the tools, the ones that run pictures first."""
    return [DIFFUSERS, COMFYUI, A1111, FORGE, INVOKEAI, SD_SCRIPTS, PEFT, LYCORIS]
