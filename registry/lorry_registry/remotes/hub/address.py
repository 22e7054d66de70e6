"""Addresses of repositories: `hf://owner/name[@revision]`."""

from __future__ import annotations

import re
from typing import NamedTuple

from lorry.errors import InvalidArgument

_ADDRESS = re.compile(r"hf://([A-Za-z0-9][\w.-]{0,95})/([A-Za-z0-9][\w.-]{0,95})(?:@([^#\s]{1,255}))?", re.ASCII)


class HubAddress(NamedTuple):
    """A repository ("owner/name") and a tag, branch, commit, or whatever selects versions; None for all of it."""

    repository: str
    revision: str | None

    @staticmethod
    def parse(place: str) -> HubAddress:
        """Read an address; raise InvalidArgument."""
        found = _ADDRESS.fullmatch(place)
        if not found or ".." in found[0] or "--" in found[2]:
            raise InvalidArgument(
                f"{place!r} is no repository of the Hugging Face Hub; write hf://owner/name, or hf://owner/name@v1.0.0 "
                "for one version"
            )
        return HubAddress(f"{found[1]}/{found[2]}", found[3])
