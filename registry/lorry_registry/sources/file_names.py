"""Names of files that a server chose, made names that mean one file in one folder on every disk."""

from __future__ import annotations

import re
import unicodedata
from email.message import Message
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from lorry.errors import InvalidArgument
from lorry_registry.references.names import check_path

_LONGEST = 120
_NOT_EVERYWHERE = re.compile(r'[<>:"|?*]')


def safe_name(text: str) -> str:
    """Return the last part of a path as a file name; "download" where nothing of it can be one."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", text))[-1]
    plain = "".join(letter for letter in last if unicodedata.category(letter)[0] not in "CZ" or letter == " ")
    name = _NOT_EVERYWHERE.sub("_", plain).strip(". ")
    suffix = PurePosixPath(name).suffix[:20]
    name = name.removesuffix(suffix).encode()[: _LONGEST - len(suffix.encode())].decode(errors="ignore") + suffix
    name = name.strip(". ")
    for candidate in (name, f"_{name}") if name else ():
        try:
            return check_path(candidate)
        except InvalidArgument:  # a device of Windows
            continue
    return "download"


def name_of(disposition: str, *urls: str) -> str:
    """Return the name that Content-Disposition tells (RFC 6266), else the first that an address ends in."""
    message = Message()
    message["Content-Disposition"] = re.sub(r"[\r\n]", " ", disposition)
    told = message.get_filename() if disposition else None
    names = [told or "", *(unquote(urlsplit(url).path) for url in urls)]
    return next((name for name in map(safe_name, names) if name != "download"), "download")
