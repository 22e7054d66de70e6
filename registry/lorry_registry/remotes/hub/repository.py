"""One repository of the Hub: its commits, branches, tags and files, asked for through huggingface_hub.

Downloads are our own: the client checks no sha256 and does not go on where another process ended. The token goes to
the endpoint alone: the client's HTTP library leaves it out where a redirect leads to another host.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from lorry.errors import InvalidFile, NotFound, UpstreamFailed, VerificationFailed
from lorry_registry.remotes.hub.errors import said, status, told

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MAIN = "main"
_TIMEOUT = 30.0
_MOST_FILES = 10_000


class HubFile(NamedTuple):
    """A file of a commit: its path, its bytes, and its sha256 where the Hub tells that ("" where it does not)."""

    path: str
    size: int
    sha256: str


class HubRepository:
    """The repository "owner/name" at HF_ENDPOINT, whether or not it is there."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._small: dict[tuple[str, str], bytes | None] = {}

    @cached_property
    def _api(self) -> HfApi:
        from huggingface_hub import HfApi
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]  # as below

        if not sys.stderr.isatty():
            disable_progress_bars()
        return HfApi(endpoint=os.environ.get("HF_ENDPOINT", "").rstrip("/") or None, library_name="lorry")

    @property
    def endpoint(self) -> str:
        """The address of the Hub."""
        return self._api.endpoint

    def url(self, path: str, commit: str) -> str:
        """Return the address of a file."""
        return f"{self.endpoint}/{self.name}/resolve/{commit}/{quote(path)}"

    def private(self) -> bool | None:
        """Return whether only some people may see it; None where it is not there, or hidden from this token."""
        try:
            with told(self.name):
                return bool(self._api.model_info(self.name).private)
        except NotFound:
            return None

    def create(self, *, private: bool) -> None:
        """Make the repository where there is none."""
        with told(self.name):
            self._api.create_repo(self.name, private=private, exist_ok=True)

    def tags(self) -> Mapping[str, str]:
        """Return the commit that each tag stands for; raise NotFound where there is no repository."""
        with told(self.name):
            return {tag.name: tag.target_commit for tag in self._api.list_repo_refs(self.name).tags}

    def commit_of(self, revision: str) -> str | None:
        """Return the id of the commit that a branch, tag or commit id stands for; None where there is none."""
        try:
            with told(self.name):
                return self._api.model_info(self.name, revision=revision).sha
        except NotFound:
            return None

    def files(self, commit: str) -> Sequence[HubFile]:
        """Return a commit's files; raise UpstreamFailed where they are too many."""
        from huggingface_hub.hf_api import RepoFile

        found = []
        with told(self.name):
            for each in self._api.list_repo_tree(self.name, revision=commit, recursive=True):
                if isinstance(each, RepoFile):
                    found.append(HubFile(each.path, each.size, each.lfs.sha256 if each.lfs else ""))
                if len(found) > _MOST_FILES:
                    raise UpstreamFailed(f"hf://{self.name} has more than {_MOST_FILES:,} files, and is not read")
        return found

    def read(self, path: str, commit: str, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """Yield a file's bytes from `start` on; what `small_file` has fetched is not fetched again.

        Raises NotFound, UpstreamFailed where the connection is cut, and VerificationFailed where the file there has
        another `size` than this.
        """
        from huggingface_hub.utils import (  # type: ignore[attr-defined]  # not exported by name
            build_hf_headers,
            hf_raise_for_status,
            http_stream_backoff,
        )

        if data := self._small.get((path, commit)):
            yield data[start:]
            return
        asked = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
        headers = build_hf_headers(library_name="lorry", headers=asked)
        with told(self.name):
            cut: Exception | None = None
            with http_stream_backoff("GET", self.url(path, commit), headers=headers, timeout=_TIMEOUT) as response:
                found = _whole_size(response.status_code, response.headers)
                if size is not None and found not in (None, size):
                    raise self._other_file(path, commit, size, found)
                hf_raise_for_status(response)
                passed = 0 if response.status_code == HTTPStatus.PARTIAL_CONTENT else start
                try:
                    for chunk in response.iter_bytes():
                        wanted = chunk[passed:]
                        passed = max(0, passed - len(chunk))
                        if wanted:
                            yield wanted
                except Exception as error:  # noqa: BLE001  the client would take what is raised here for its own, and ask again
                    cut = error
            if cut:
                raise cut

    def small_file(self, path: str, commit: str, most: int) -> bytes | None:
        """Return a file's bytes, None where the commit has none; raise VerificationFailed for more than `most`.

        It is fetched once: commits never change.
        """
        if (path, commit) not in self._small:
            try:
                self._small[path, commit] = self._whole(path, commit, most)
            except NotFound:
                self._small[path, commit] = None
        return self._small[path, commit]

    def commit(
        self, branch: str, parent: str, message: str, files: Mapping[str, Path | bytes], gone: Sequence[str] = ()
    ) -> str | None:
        """Put files on a branch and take others off it, in one commit; return its id.

        None where the branch no longer stands at `parent`: somebody else was quicker, and nothing was changed.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            *(CommitOperationDelete(path_in_repo=path, is_folder=False) for path in gone),
            *(
                CommitOperationAdd(path_in_repo=path, path_or_fileobj=each if isinstance(each, bytes) else str(each))
                for path, each in files.items()
            ),
        ]
        summary, _, description = message.partition("\n\n")
        with told(self.name):
            try:
                return self._api.create_commit(
                    self.name,
                    operations,
                    commit_message=summary,
                    commit_description=description,
                    revision=branch,
                    parent_commit=parent,
                ).oid
            except OSError as error:
                if status(error) == HTTPStatus.PRECONDITION_FAILED:
                    return None
                if "404" in str(error) and "xet-write-token" in str(error):
                    raise UpstreamFailed(
                        f"hf://{self.name}: this Hub has no xet storage; set HF_HUB_DISABLE_XET=1 and push again"
                    ) from error
                raise
            except (RuntimeError, ValueError) as error:  # an upload that failed as a whole, a card that is not taken
                if isinstance(error.__cause__, OSError):
                    raise error.__cause__ from error
                if "README.md" in str(error):
                    raise InvalidFile(f"hf://{self.name} does not take it: {' '.join(str(error).split())}") from error
                raise UpstreamFailed(f"hf://{self.name}: {said(error)}; push again") from error

    def tag(self, name: str, commit: str) -> bool:
        """Give a commit a tag; return whether it is new: one of that name stays."""
        from huggingface_hub.errors import HfHubHTTPError

        with told(self.name):
            try:
                self._api.create_tag(self.name, tag=name, revision=commit)
            except HfHubHTTPError as error:
                if status(error) == HTTPStatus.CONFLICT:
                    return False
                raise
        return True

    def branch(self, name: str, commit: str) -> None:
        """Make a branch at a commit, unless there is one of that name."""
        with told(self.name):
            self._api.create_branch(self.name, branch=name, revision=commit, exist_ok=True)

    def drop_branch(self, name: str) -> None:
        """Take a branch away; its commits stay where they have tags."""
        from huggingface_hub.errors import HfHubHTTPError

        with told(self.name):
            try:
                self._api.delete_branch(self.name, branch=name)
            except HfHubHTTPError as error:
                if status(error) != HTTPStatus.NOT_FOUND:
                    raise

    def too_busy(self, turns: int) -> UpstreamFailed:
        """Return the error for somebody who was never first."""
        return UpstreamFailed(f"hf://{self.name}: others were quicker {turns} times; try again")

    def _other_file(self, path: str, commit: str, size: int, found: int | None) -> VerificationFailed:
        return VerificationFailed(
            f"hf://{self.name}@{commit[:12]}: {path} has {found:,} bytes, and its manifest says {size:,}: somebody put "
            "another file in its place; clone a version, @v1.0.0 say"
        )

    def _whole(self, path: str, commit: str, most: int) -> bytes:
        data = bytearray()
        for chunk in self.read(path, commit):
            data += chunk
            if len(data) > most:
                raise VerificationFailed(f"hf://{self.name}: {path} has more than {most:,} bytes, and is not read")
        return bytes(data)


def _whole_size(status: int, headers: Mapping[str, str]) -> int | None:
    """Return the size of the file that an answer is of, None where it does not tell that."""
    told = headers.get("Content-Range", "").rpartition("/")[2]
    if status == HTTPStatus.OK and "Content-Encoding" not in headers:
        told = headers.get("Content-Length", "")
    return int(told) if told.isdecimal() else None
