"""lorry serve-hub, as people run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from lorry.cli import cli
from lorry.errors import Conflict, InvalidArgument, InvalidFile, LorryError, MissingExtra, NotFound
from lorry_registry import Registry
from lorry_registry.hub.tokens import Tokens
from tests.support.hub_server import HubServer

from .calls import Answer, Client


@contextmanager
def served(*options: str) -> Iterator[tuple[Client, str | None]]:
    """Run the command; yield a client and the token it showed."""
    command = [sys.executable, "-m", "lorry", "serve-hub", "--port", "0", "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        told = json.loads(process.stdout.readline())
        try:
            yield Client(told["endpoint"]), told["token"]
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
            assert (process.returncode, errors) == (0, "stopped\n")


def create(call: Client, token: str) -> Answer:
    return call("POST", "/api/repos/create", {"name": "cat", "organization": "any"}, token=token)


def test_reading_is_open_on_this_machine_and_writing_needs_the_token_it_shows(published: Registry) -> None:
    assert published
    with served() as (call, token):
        assert token
        assert call("GET", "/api/models").json[0]["id"] == "demo/cat"
        assert create(call, "").status == 401
        assert create(call, "lorry_guessed").status == 401
        assert create(call, token).status == 200
        assert call("GET", "/api/models", headers={"Host": "evil.example"}).status == 400
    with served("--read-only") as (call, token):
        assert token is None
        assert [each["id"] for each in call("GET", "/api/models").json] == ["any/cat", "demo/cat"]
        assert create(call, "").status == 403


def run(*options: str) -> str:
    done = CliRunner().invoke(cli, ["serve-hub", *options], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_a_token_file_keeps_no_token_and_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    told = json.loads(run("--token-file", str(file), "--add-token", "alice", "--namespace", "team", "--json"))
    assert told["token"] not in file.read_text()
    assert os.name == "nt" or file.stat().st_mode & 0o077 == 0
    tokens = Tokens(file=file)
    caller = tokens.find(told["token"])
    assert caller
    assert (caller.name, caller.may_write("team"), caller.may_write("alice")) == ("alice", True, False)
    other = json.loads(run("--token-file", str(file), "--add-token", "bob", "--role", "read", "--json"))["token"]
    found = tokens.find(other)
    assert found
    assert not found.may_write("bob")
    file.write_text("".join(line for line in file.read_text().splitlines(keepends=True) if "bob" in line))
    assert tokens.find(told["token"]) is None
    assert tokens.find(other) == found


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        (["--host", "0.0.0.0"], InvalidArgument, "can be reached from other machines"),  # noqa: S104  to be refused
        (["--token-file", "nowhere"], NotFound, "--add-token NAME makes it"),
        (["--add-token", "alice"], InvalidArgument, "needs --token-file"),
        (["--add-token", "a/b", "--token-file", "tokens"], InvalidArgument, "not valid"),
        (["--role", "read"], InvalidArgument, "--add-token"),
    ],
)
def test_what_makes_no_sense_is_refused(options: list[str], error: type[LorryError], why: str) -> None:
    with pytest.raises(error, match=why):
        run(*options)


def test_a_damaged_token_file_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("alice admin * nonsense\n")
    with pytest.raises(InvalidFile, match="line 1"):
        run("--token-file", str(tmp_path / "tokens"))


def test_a_port_that_is_taken_is_told(hub: HubServer) -> None:
    with pytest.raises(Conflict, match="try another --port"):
        run("--port", hub.url.rpartition(":")[2])


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("fastapi", "lorry_registry.hub."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(MissingExtra, match=r"lorry\[serve\]"):
        run()
