"""All attacks, by what they attack: the one table that drives every expectation."""

from __future__ import annotations

from collections.abc import Mapping

from .archives import ARCHIVES
from .attack import Attack
from .contents import CONTENTS
from .floods import FLOODS
from .folders import FOLDERS
from .headers import HEADERS
from .pickles import PICKLES

CORPUS: Mapping[str, Mapping[str, Attack]] = {
    "pickles": PICKLES,
    "archives": ARCHIVES,
    "headers": HEADERS,
    "contents": CONTENTS,
    "folders": FOLDERS,
    "floods": FLOODS,
}
