"""What clients wrote to one repository, in plain files that any number of servers may write at once.

hub/repositories/<namespace>/<name>/
    repository.json        whether it is private, and when it was made
    commits/<id>           a commit, never changed
    branches/<branch>/7    the id of the branch's seventh commit; made by one atomic link
    tags/<tag>             the id of a commit; made by one atomic link
    agreed                 the id of the commit of main that last said what the registry says; see state.py

A branch moves by making the next number, which exactly one of many can: no lock, and its past stays to be seen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lorry.errors import Conflict, InvalidArgument, VerificationFailed
from lorry_registry.disk import durable
from lorry_registry.home.layout import Layout
from lorry_registry.home.records import entries
from lorry_registry.hub.commits import ID_LENGTH, Commit, commit_hash
from lorry_registry.references.names import check_name

MAIN = "main"
_ID = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")


class Repository:
    """The repository "namespace/name", whether or not there is one."""

    def __init__(self, layout: Layout, namespace: str, name: str) -> None:
        self.id = f"{namespace}/{name}"
        self._layout, self._folder = layout, layout.hub / "repositories" / namespace / name

    @property
    def exists(self) -> bool:
        """Whether anybody made it."""
        return self._settings_file.is_file()

    @property
    def private(self) -> bool:
        """Whether only those with rights in its namespace see it."""
        return bool(self._settings()["private"])

    @property
    def created(self) -> str:
        """When it was made; "" where it was not."""
        return str(self._settings().get("created", ""))

    def check_settings(self) -> None:
        """Raise VerificationFailed where it is not known who may see it."""
        self._settings()

    def create(self, *, private: bool, time: str) -> bool:
        """Make it unless it is there; return whether it was us."""
        self._layout.prepare()
        durable.make_folder(self._folder)
        with durable.draft(self._layout.drafts) as draft:
            durable.write(draft, json.dumps({"created": time, "private": private}).encode())
            return durable.put_new(draft, self._settings_file)

    def set_private(self, *, private: bool) -> None:
        """Change who sees it."""
        with durable.draft(self._layout.drafts) as draft:
            durable.write(draft, json.dumps({**self._settings(), "private": private}).encode())
            durable.put(draft, self._settings_file)

    def delete(self) -> None:
        """Take it away as a whole; its blobs are garbage then."""
        with durable.draft(self._layout.drafts) as draft:
            self._folder.rename(draft)
        durable.sync_folder(self._folder.parent)

    def commit_files(self) -> list[Path]:
        """Return the files of all commits, those that nothing names any more too."""
        folder = self._folder / "commits"
        return [folder / name for name in entries(folder, lambda name: bool(_ID.fullmatch(name)))]

    def named(self) -> list[str]:
        """Return the ids of the commits that branches and tags name, and of those that branches stood at before."""
        found = list(self.tags().values())
        for branch in entries(self._folder / "branches", _is_revision):
            stood = (self._at(branch, number) for number in range(1, self.length(branch) + 1))
            found += [commit_id for commit_id in stood if commit_id]
        return found

    def commit(self, commit_id: str) -> Commit | None:
        """Read a commit; raise VerificationFailed for a damaged one."""
        if not _ID.fullmatch(commit_id):
            return None
        try:
            return Commit.from_bytes((self._folder / "commits" / commit_id).read_bytes(), commit_id)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def branches(self) -> dict[str, str]:
        """Return the id of each branch's last commit."""
        names = entries(self._folder / "branches", _is_revision)
        heads = ((name, self.head(name)) for name in names)
        return {name: head for name, head in heads if head}

    def head(self, branch: str) -> str | None:
        """Return the id of a branch's last commit; raise VerificationFailed for a damaged record."""
        return self._at(branch, self.length(branch))

    def length(self, branch: str) -> int:
        """Return how often a branch was moved; 0 where there is none."""
        numbers = entries(self._branch(branch), lambda name: name.isdecimal() and str(int(name)) == name)
        return max(map(int, numbers), default=0)

    def append(self, branch: str, length: int, commit: Commit) -> str | None:
        """Store a commit and move a branch of that length on to it; return its id, None where it moved meanwhile."""
        if self.length(branch) != length:
            return None
        commit_id = self.keep(commit)
        return commit_id if self.move(branch, length, commit_id) else None

    def keep(self, commit: Commit) -> str:
        """Store a commit that no branch is at; return its id."""
        data = commit.to_bytes()
        commit_id = commit_hash(data)
        path = self._folder / "commits" / commit_id
        durable.make_folder(path.parent)
        with durable.draft(self._layout.drafts) as draft:
            durable.write(draft, data, durable.READ_ONLY)
            durable.put_new(draft, path)
        return commit_id

    def move(self, branch: str, length: int, commit_id: str) -> bool:
        """Point a branch of that length at a commit; return whether it was us. Of length 0 it is made."""
        folder = self._branch(branch)
        if not length:
            durable.make_folder(folder)
        try:
            return self._record(folder / str(length + 1), commit_id)
        except FileNotFoundError as error:
            raise Conflict(f"{self.id}: branch {branch} was deleted meanwhile") from error

    def delete_branch(self, branch: str) -> bool:
        """Take a branch away; return whether it was there."""
        with durable.draft(self._layout.drafts) as draft, suppress(FileNotFoundError):
            self._branch(branch).rename(draft)
            durable.sync_folder(self._folder / "branches")
            return True
        return False

    def tags(self) -> dict[str, str]:
        """Return the id of each tag's commit."""
        names = entries(self._folder / "tags", _is_revision)
        return {name: commit_id for name in names if (commit_id := self.tag(name))}

    def tag(self, tag: str) -> str | None:
        """Return the id of a tag's commit; raise VerificationFailed for a damaged record."""
        return self._read(self._folder / "tags" / check_revision(tag))

    def create_tag(self, tag: str, commit_id: str) -> bool:
        """Make a tag; return whether it was us."""
        path = self._folder / "tags" / check_revision(tag)
        durable.make_folder(path.parent)
        return self._record(path, commit_id)

    def delete_tag(self, tag: str) -> bool:
        """Take a tag away; return whether it was there."""
        path = self._folder / "tags" / check_revision(tag)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        durable.sync_folder(path.parent)
        return True

    def agreed(self) -> str | None:
        """Return the id of the commit that last said what the registry says."""
        return self._read(self._folder / "agreed")

    def agree(self, commit_id: str) -> None:
        """Write down that a commit says what the registry says."""
        with durable.draft(self._layout.drafts) as draft:
            durable.write(draft, f"{commit_id}\n".encode())
            durable.put(draft, self._folder / "agreed")

    @property
    def _settings_file(self) -> Path:
        return self._folder / "repository.json"

    def _settings(self) -> dict[str, object]:
        try:
            found = json.loads(self._settings_file.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return {"private": False}
        except ValueError as error:
            raise VerificationFailed(f"{self._settings_file} is damaged: {error}") from error
        if not isinstance(found, dict) or not isinstance(found.get("private"), bool):
            raise VerificationFailed(f"{self._settings_file} is damaged: it does not say whether this is private")
        return found

    def _branch(self, branch: str) -> Path:
        return self._folder / "branches" / check_revision(branch)

    def _at(self, branch: str, number: int) -> str | None:
        return self._read(self._branch(branch) / str(number))

    def _record(self, path: Path, commit_id: str) -> bool:
        with durable.draft(self._layout.drafts) as draft:
            durable.write(draft, f"{commit_id}\n".encode(), durable.READ_ONLY)
            return durable.put_new(draft, path)

    def _read(self, path: Path) -> str | None:
        try:
            text = path.read_text(encoding="ascii", errors="replace").removesuffix("\n")
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not _ID.fullmatch(text):
            raise VerificationFailed(f"{path} is damaged; it is no commit's id")
        return text


def repositories(layout: Layout) -> Iterator[Repository]:
    """Yield every repository that a client made, by name."""
    folder = layout.hub / "repositories"
    for namespace in entries(folder, lambda text: check_name(text, "namespace") == text):
        for name in entries(folder / namespace, lambda text: check_name(text, "name") == text):
            if (found := Repository(layout, namespace, name)).exists:
                yield found


def check_revision(text: str) -> str:
    """Return the name of a branch or tag in lower case; raise InvalidArgument for one that could mean a commit."""
    name = check_name(text, "revision")
    if _ID.fullmatch(name):
        raise InvalidArgument(f"{text!r} looks like the id of a commit; give the branch or tag another name")
    return name


def _is_revision(text: str) -> bool:
    return check_revision(text) == text
