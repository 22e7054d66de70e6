"""Quarantine: other people's files that are not in, the files of each adapter in a folder of its own.

quarantine/<id>/about.json    where it came from, what was found, and what it would be called
quarantine/<id>/files/<name>  its files, read-only; a pickle that was converted is not among them

The id is that of the bytes that came: what comes again takes the same place.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from lorry.errors import InvalidArgument, NotFound, VerificationFailed
from lorry.ops.disk.output import remove
from lorry.ops.judging.findings import ACCEPT, REJECT, Finding
from lorry.plugin.fetched import Facts
from lorry_registry.disk import durable
from lorry_registry.home.layout import Layout
from lorry_registry.home.records import entries

T = TypeVar("T")

_DIGITS = 12
_ID = re.compile(rf"[0-9a-f]{{{_DIGITS}}}")


class Original(NamedTuple):
    """A file as it came: its name, the sha256 of its bytes, and how many they are."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """An adapter's files, what is said of them where they come from, and what was found.

    `files` are what would be published; `originals` what came, from `source`: an address, or paths of this machine,
    which stay in quarantine (`facts.source` is published). `verdict` is the worst level of the findings. `wanted` is
    the reference it would be published as.
    """

    files: tuple[Path, ...]
    originals: tuple[Original, ...]
    facts: Facts
    verdict: str
    findings: tuple[Finding, ...]
    wanted: str = ""
    source: str = ""

    @property
    def id(self) -> str:
        """Return the name it has in quarantine."""
        return hashlib.sha256("\n".join(sorted(each.sha256 for each in self.originals)).encode()).hexdigest()[:_DIGITS]

    @property
    def worst(self) -> str:
        """Say the worst finding in one line; "" where none stands against it."""
        first = next((each for each in self.findings if each.level != ACCEPT), None)
        return f"{first.where}: {first.what}" if first else ""


class Damaged(NamedTuple):
    """A folder in quarantine that cannot be read any more, and why."""

    id: str
    why: str


class Quarantine:
    """The quarantine of one registry."""

    def __init__(self, layout: Layout) -> None:
        self._folder, self._drafts = layout.quarantine, layout.drafts

    def put(self, examined: Examined) -> str:
        """Move files in with what was found about them, in place of what is there; return their id."""
        durable.make_folder(self._folder)
        target = self._folder / examined.id
        with durable.draft(self._drafts) as draft, durable.draft(self._drafts) as old:
            (draft / "files").mkdir(parents=True)
            for file in examined.files:
                file.rename(draft / "files" / file.name)
            durable.write(draft / "about.json", _dump(examined))
            if target.exists():
                target.rename(old)
            draft.rename(target)
        durable.sync_folder(self._folder)
        return examined.id

    def ls(self) -> Iterator[Examined | Damaged]:
        """Yield all there is, by id."""
        for name in self._ids():
            try:
                yield self.get(name)
            except VerificationFailed as error:
                yield Damaged(name, str(error))

    def id_of(self, name: str) -> str:
        """Return the whole of an id of which the beginning is given; raise NotFound."""
        found = [each for each in self._ids() if each.startswith(name)]
        if not name or not found:
            raise NotFound(f"nothing in quarantine goes by {name!r}; lorry quarantine ls lists what there is")
        if len(found) > 1:
            raise InvalidArgument(f"{name!r} fits {', '.join(found)}; give more digits")
        return found[0]

    def get(self, name: str) -> Examined:
        """Return what goes by an id, or its beginning; raise NotFound, or VerificationFailed where it is damaged."""
        return _load(self._folder / self.id_of(name))

    def rm(self, name: str) -> None:
        """Delete what goes by an id, if it is there: an adapter's files and what was found about them."""
        remove(self._folder / name)

    def _ids(self) -> list[str]:
        return entries(self._folder, lambda name: _ID.fullmatch(name) is not None)


def lawful(examined: Examined) -> bool:
    """Tell whether it may be let in, once a person says so: what was rejected never is."""
    return examined.verdict != REJECT


def _dump(examined: Examined) -> bytes:
    told = {
        "schema_version": 1,
        "wanted": examined.wanted,
        "source": examined.source,
        "verdict": examined.verdict,
        "findings": [asdict(each) for each in examined.findings],
        "originals": [each._asdict() for each in examined.originals],
        "facts": examined.facts._asdict()
        | {"hashes": {name: {**each} for name, each in examined.facts.hashes.items()}},
    }
    return json.dumps(told, indent=2, ensure_ascii=False).encode("utf-8", "replace")


def _load(folder: Path) -> Examined:
    try:
        told = json.loads((folder / "about.json").read_bytes())
        facts: dict[str, Any] = {
            name: tuple(each) if isinstance(each, list) else each for name, each in told["facts"].items()
        }
        return Examined(
            files=tuple(sorted((folder / "files").iterdir())),
            originals=_tuples(Original, told["originals"]),
            facts=Facts(**facts),
            verdict=told["verdict"],
            findings=_tuples(Finding, told["findings"]),
            wanted=told["wanted"],
            source=told["source"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        mend = f"delete it with lorry quarantine rm {folder.name}, and add its source again"
        raise VerificationFailed(f"{folder} is damaged ({error}); {mend}") from error


def _tuples(kind: Callable[..., T], rows: Sequence[dict[str, object]]) -> tuple[T, ...]:
    return tuple(kind(**row) for row in rows)
