"""Looking at everything that lorry needs around it, and saying what would mend what is not as it should be."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import lorry
from lorry.errors import LorryError
from lorry.plugin.allowed import settings_file
from lorry.plugin.host import Host
from lorry_registry.disk import abilities as disk
from lorry_registry.home.layout import FORMAT, Layout
from lorry_registry.home.store import LocalStore
from lorry_registry.upkeep import gc

GOOD, NOTE, FAULT = "good", "note", "fault"

EXTRAS = {
    "torch": (("torch", "numpy", "diffusers", "transformers", "PIL"), "merging, baking, extracting, drawing pictures"),
    "objects": (("obstore",), "s3://, gs:// and az:// for lorry push and lorry clone"),
    "oci": (("httpx2",), "oci:// for lorry push and lorry clone"),
    "sign": (("model_signing", "OpenSSL"), "lorry sign and lorry verify --signature"),
    "previews": (("textual_image",), "lorry search --previews"),
    "serve": (("fastapi", "uvicorn"), "lorry serve-hub"),
}
"""The extras that people install, with the modules they bring and what for."""

_LITTLE = 1 << 30


class Check(NamedTuple):
    """One thing that was looked at: how it is (good, note or fault), what it is, and the command that mends it."""

    name: str
    state: str
    told: str
    mend: str = ""


def examine(home: Path, plugins: Host) -> Iterator[Check]:
    """Yield every check; nothing that is wrong keeps the others from being looked at."""
    yield Check("lorry", GOOD, f"{lorry.__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield from _plugins(plugins)
    yield from _extras()
    yield from _device()
    checks: dict[str, Callable[[Path], Iterator[Check]]] = {"home": _home, "registry": _registry}
    for name, check in checks.items():
        try:
            yield from check(home)
        except (LorryError, OSError) as error:
            yield Check(name, FAULT, str(error), "point LORRY_HOME at a folder of your own")
    yield _hub()


def _plugins(plugins: Host) -> Iterator[Check]:
    found = plugins.plugins()
    for each in found:
        if each.error:
            mend = f"pip install --upgrade {each.distribution}, or LORRY_PLUGINS=no:{each.name}"
            yield Check("plugin", FAULT, f"{each.name} ({each.distribution} {each.version}): {each.error}", mend)
    left_out = [each.name for each in found if each.disabled]
    used = [each for each in found if each.allowed and not each.disabled]
    sources = sorted({f"{each.distribution} {each.version}" for each in used})
    told = f"{len(used)}, of {', '.join(sources)}"
    if left_out:
        yield Check("plugins", NOTE, f"{told}; left out: {', '.join(left_out)}", "unset LORRY_PLUGINS")
    else:
        yield Check("plugins", GOOD, told)
    for distribution in sorted({each.distribution for each in found if not each.allowed}):
        mend = f"add {distribution!r} to plugins.allow in {settings_file()}"
        yield Check("plugins", NOTE, f"those of {distribution} are not allowed", mend)


def _extras() -> Iterator[Check]:
    for name, (modules, gives) in EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            yield Check("extra", NOTE, f"{', '.join(missing)} missing, for {gives}", f"pip install 'lorry[{name}]'")
        else:
            yield Check("extra", GOOD, f"{name}: {gives}")


def _device() -> Iterator[Check]:
    if find_spec("torch") is None:
        return
    try:
        import torch
    except (ImportError, OSError) as error:  # a library it was built against is another one, or missing
        yield Check("device", FAULT, f"torch cannot be loaded: {error}", "pip install --force-reinstall torch")
        return
    name = str(torch.accelerator.current_accelerator()) if torch.accelerator.is_available() else "cpu"
    about = f", {torch.cuda.get_device_name()}" if name.startswith("cuda") else ""
    yield Check("device", GOOD, f"{name}{about}, torch {torch.__version__}")


def _home(home: Path) -> Iterator[Check]:
    layout = Layout(home)
    layout.check()
    if not layout.writable:
        yield Check("home", NOTE, f"{home} is read-only for this user: nothing can be published", _ELSEWHERE)
        return
    there = next(folder for folder in (home, *home.parents) if folder.is_dir())
    try:
        found = disk.probe(there)
    except OSError as error:
        yield Check("home", FAULT, f"nothing can be written to {there}: {error.strerror or error}", _ELSEWHERE)
        return
    made = "" if there == home else ", not there yet; the first lorry publish makes it"
    yield Check("home", GOOD, f"{home}{f', on {found.kind}' if found.kind else ''}{made}")
    space = f"{found.free / 1e9:,.1f} GB free"
    if found.free < _LITTLE:
        yield Check("space", NOTE, space, "lorry gc, or point LORRY_HOME at a larger disk")
    else:
        yield Check("space", GOOD, space)
    if not found.syncs:
        yield Check("disk", FAULT, "nothing can be made durable (fsync fails), so nothing is published", _ELSEWHERE)
    if not found.links:
        told = "no hard links: files of a reference are copied, and names are claimed by an exclusive create"
        yield Check("disk", NOTE, told, _ELSEWHERE)
    if not found.locks:
        yield Check("disk", NOTE, "files cannot be locked: the index is made anew by every lorry ls", _ELSEWHERE)
    if found.syncs and found.links and found.locks:
        yield Check("disk", GOOD, "hard links, fsync and locks")


def _registry(home: Path) -> Iterator[Check]:
    store = LocalStore(home)
    if not home.is_dir():
        return
    count = sum(1 for _ in store.published())
    yield Check("registry", GOOD, f"layout {FORMAT}, {count:,} versions")
    try:
        garbage = gc.collect(store, dry_run=True)
    except LorryError as error:
        yield Check("registry", FAULT, str(error), "lorry fsck --from DIR")
        return
    if garbage:
        told = f"{sum(each.size for each in garbage) / 1e6:,.1f} MB that nothing needs, in {len(garbage):,} places"
        yield Check("garbage", NOTE, told, "lorry gc")
    else:
        yield Check("garbage", GOOD, "none")


def _hub() -> Check:
    from huggingface_hub import get_token
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    offline = " (HF_HUB_OFFLINE is set)" if HF_HUB_OFFLINE else ""
    if get_token():
        return Check("hub", GOOD, f"{ENDPOINT}{offline}, with a token")
    return Check("hub", NOTE, f"{ENDPOINT}{offline}, without a token: public repositories only", "hf auth login")


_ELSEWHERE = "point LORRY_HOME at another disk"
