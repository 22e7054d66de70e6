"""Which names and paths the registry takes: those that mean one thing on every disk and in every tool."""

from __future__ import annotations

import re
import unicodedata

from lorry.errors import InvalidArgument

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_DEVICES = {"con", "prn", "aux", "nul"} | {f"{port}{number}" for port in ("com", "lpt") for number in "123456789¹²³"}
_NOT_ON_WINDOWS = set('<>:"|?*\\')
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode's control, format and surrogate characters, line separators
_LONGEST_PATH = 240


def check_name(text: str, what: str) -> str:
    """Return a namespace, name or alias in lower case; raise InvalidArgument saying what is wrong with it.

    Grammar: `[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?`, without `..`, without `--` (the Hub's cache joins names
    with it) and without the names Windows keeps for devices. Upper case is folded, since two names that
    differ only in case are one file on many disks.
    """
    strange = next((letter for letter in text if not letter.isascii()), None)
    if strange is not None:
        kind = unicodedata.name(strange, "unnamed").lower()
        raise InvalidArgument(f"{what} {text!r} has {strange!r} (U+{ord(strange):04X}, {kind}); use plain ASCII")
    name = text.lower()
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"{what} {text!r} is not valid; use 1 to 64 of a-z 0-9 . _ - and start and end with a letter or digit"
        )
    if ".." in name or "--" in name:
        raise InvalidArgument(f"{what} {text!r} must not contain '..' or '--'")
    if _is_device(name):
        raise InvalidArgument(f"{what} {text!r} is the name of a device on Windows; choose another")
    return name


def check_path(text: str) -> str:
    """Return a file's path inside a version; raise InvalidArgument for one that could mean another file.

    Relative, with "/" between its parts, in Unicode form NFC, and a legal file name on every system.
    """
    problem = _path_problem(text)
    if problem:
        raise InvalidArgument(f"file name {text!r} {problem}; rename the file")
    return text


def same_file_key(path: str) -> str:
    """Return what two paths have in common when they are one file on a disk that ignores case."""
    return unicodedata.normalize("NFC", path.casefold())


def _path_problem(text: str) -> str:
    """Return what is wrong with a path, the first of these that holds, or nothing."""
    parts = text.split("/")
    problems = {
        f"is longer than {_LONGEST_PATH} bytes": len(text.encode("utf-8", "surrogatepass")) > _LONGEST_PATH,
        "has control, direction or undecodable characters": any(
            unicodedata.category(letter) in _INVISIBLE for letter in text
        ),
        "is not in Unicode form NFC": text != unicodedata.normalize("NFC", text),
        'has one of < > : " | ? * \\, which not every system takes': bool(_NOT_ON_WINDOWS & set(text)),
        "is not a plain relative path": any(part in {"", ".", ".."} for part in parts),
        "has a part that ends in a dot or blank, which Windows drops": any(part != part.rstrip(". ") for part in parts),
        "is the name of a device on Windows": any(_is_device(part.lower()) for part in parts),
    }
    return next((problem for problem, holds in problems.items() if holds), "")


def _is_device(name: str) -> bool:
    return name.partition(".")[0].rstrip() in _DEVICES
