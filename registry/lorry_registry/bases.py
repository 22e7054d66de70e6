"""Names for base models that stand elsewhere on this machine, kept in one small JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lorry.errors import Conflict, InvalidFile, NotFound, UnknownName
from lorry_registry.disk import durable
from lorry_registry.home.layout import Layout, default_home
from lorry_registry.references.names import check_name


class Bases:
    """The named base models of one home folder."""

    def __init__(self, home: Path | None = None) -> None:
        self._layout = Layout(home or default_home())
        self._layout.check()

    def all(self) -> Mapping[str, Path]:
        """Return the paths by name; raise InvalidFile where the file was damaged by hand."""
        path = self._layout.bases
        if not path.is_file():
            return {}
        try:
            found = json.loads(path.read_bytes())
        except ValueError as error:
            raise InvalidFile(f"{path} is not JSON ({error}); mend or delete it") from error
        if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
            raise InvalidFile(f"{path} should be an object of names and paths; mend or delete it")
        return {name: Path(value) for name, value in sorted(found.items())}

    def add(self, name: str, path: Path, *, force: bool = False) -> Path:
        """Give a base's folder or file a name; return its absolute path.

        Raises NotFound where there is nothing at `path`, Conflict where the name stands for another path,
        unless `force`.
        """
        name, path = check_name(name, "base name"), path.expanduser().absolute()
        if not path.exists():
            raise NotFound(f"{path} does not exist; give the base's folder or file")
        known = self.all()
        if not force and known.get(name, path) != path:
            raise Conflict(f"{name} stands for {known[name]}; choose another name, or say --force")
        self._write({**known, name: path})
        return path

    def remove(self, name: str) -> None:
        """Forget a name; the base itself is left alone. Raises UnknownName."""
        known = self.all()
        if name not in known:
            raise UnknownName("base", name, known)
        self._write({each: path for each, path in known.items() if each != name})

    def _write(self, bases: Mapping[str, Path]) -> None:
        self._layout.prepare()
        text = json.dumps({name: str(path) for name, path in sorted(bases.items())}, indent=2, ensure_ascii=False)
        with durable.draft(self._layout.drafts) as draft:
            durable.write(draft, f"{text}\n".encode())
            durable.put(draft, self._layout.bases)
