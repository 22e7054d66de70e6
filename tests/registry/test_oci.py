"""OCI registries: who may, what harm is noticed, what other tools see there."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from modelpack_client import ModelPackClient

from lorry.errors import (
    AccessDenied,
    InvalidArgument,
    InvalidFile,
    LorryError,
    MissingExtra,
    UpstreamFailed,
    VerificationFailed,
)
from lorry_registry import Registry
from lorry_registry.references.reference import Reference
from lorry_registry.remotes.address import open_remote
from lorry_registry.remotes.oci import remote as oci_remote
from lorry_registry.remotes.oci.credentials import credentials
from lorry_registry.remotes.oci.place import open_oci
from lorry_registry.remotes.oci.remote import OciRemote
from tests.support.oci_registry import Answer, OciRegistry, serve

from . import oci
from .helpers import data_manifest, write_lora

REPOSITORY = "adapters/demo/cat"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody else pushes, and nobody has logged in."""
    monkeypatch.setattr(oci_remote, "sleep", lambda _: None)
    monkeypatch.setattr(oci_remote, "SETTLE", 60)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.delenv("DOCKER_AUTH_CONFIG", raising=False)


@pytest.fixture
def server() -> Iterator[OciRegistry]:
    with serve(OciRegistry()) as registry:
        yield registry


def place(server: OciRegistry) -> str:
    return f"oci://{server.host}/adapters"


def log_in(folder: Path, host: str, login: str, **more: str) -> None:
    """Write down credentials as docker does."""
    (folder / "docker").mkdir(exist_ok=True)
    entry = {"auth": base64.b64encode(login.encode()).decode(), **more}
    (folder / "docker" / "config.json").write_text(json.dumps({"auths": {host: entry}}))


def authorized(server: OciRegistry) -> list[str]:
    return [headers["Authorization"] for _, _, headers in server.log if "Authorization" in headers]


@pytest.fixture(params=["oci_strict", pytest.param("oci_debian", marks=oci.INSTALLED)])
def host(request: pytest.FixtureRequest) -> str:
    """A registry of each kind."""
    return str(request.getfixturevalue(request.param))


def test_other_tools_of_the_layout_get_the_same_files(published: Registry, host: str, tmp_path: Path) -> None:
    published.push("demo/cat", f"oci://{host}/peers", aliases=["best"])
    manifest = published.manifest("demo/cat")
    for tag in ("1.0.0", "latest", "best"):
        pulled = ModelPackClient(insecure=True).pull(f"{host}/peers/demo/cat:{tag}", tmp_path / tag)
        assert (tmp_path / tag / "cat.safetensors").read_bytes() == (tmp_path / "cat.safetensors").read_bytes()
        assert (tmp_path / tag / ".lorry/manifest.json").read_bytes() == manifest.to_bytes()
        assert pulled.config["descriptor"]["name"] == "demo/cat"
        assert pulled.manifest["annotations"]["lorry.base"] == manifest.base.id
        assert pulled.manifest["annotations"]["lorry.base.fingerprint"] == manifest.base.fingerprint


def test_more_versions_than_a_page_lists_are_found(published: Registry, host: str, tmp_path: Path) -> None:
    lora = write_lora(tmp_path / "next.safetensors", seed=1)
    names = ["1.0.0", *(f"2.0.{patch}" for patch in range(5)), "3.0.0-rc.1"]
    for name in names[1:]:
        published.publish(f"demo/cat@{name}", [lora])
    for name in names:
        published.push(f"demo/cat@{name}", f"oci://{host}/paged")
    remote = open_remote(f"oci://{host}/paged", Reference.parse("demo/cat"))
    assert sorted(remote.versions()) == sorted(names)
    assert dict(remote.aliases()) == {"latest": "2.0.4"}


def test_a_rotten_blob_is_refused(
    published: Registry, elsewhere: Registry, server: OciRegistry, tmp_path: Path
) -> None:
    published.push("demo/cat", place(server))
    server.rot((tmp_path / "cat.safetensors").read_bytes())
    with pytest.raises(VerificationFailed, match="are not sha256"):
        elsewhere.clone(f"{place(server)}#demo/cat")
    assert elsewhere.ls() == []


@oci.INSTALLED
def test_a_rotten_disk_of_a_real_registry_is_noticed(published: Registry, elsewhere: Registry, tmp_path: Path) -> None:
    (file,) = published.manifest("demo/cat").files
    with oci.debian(tmp_path) as host:
        published.push("demo/cat", f"oci://{host}/rot")
        (held,) = tmp_path.glob(f"data/**/sha256/*/{file.sha256}/data")
        data = held.read_bytes()
        held.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(VerificationFailed, match="are not sha256"):
            elsewhere.clone(f"oci://{host}/rot#demo/cat")
    assert elsewhere.ls() == []


def test_a_rotten_manifest_is_refused(published: Registry, elsewhere: Registry, server: OciRegistry) -> None:
    published.push("demo/cat", place(server))
    server.rot(published.manifest("demo/cat").to_bytes())
    with pytest.raises(VerificationFailed, match="manifest there is damaged"):
        elsewhere.clone(f"{place(server)}#demo/cat")


def ranges(server: OciRegistry) -> list[str]:
    return [headers["Range"] for _, _, headers in server.log if "Range" in headers]


def test_a_cut_connection_is_made_again_from_where_it_was(
    published: Registry, elsewhere: Registry, server: OciRegistry, tmp_path: Path
) -> None:
    large = tmp_path / "large.txt"
    large.write_bytes(bytes(100_000))
    published.publish("demo/cat@1.1.0", [tmp_path / "cat.safetensors", large])
    published.push("demo/cat@1.1.0", place(server))
    server.cut = 9_000
    with pytest.raises(UpstreamFailed, match="try again"):
        elsewhere.clone(f"{place(server)}#demo/cat")
    assert elsewhere.ls() == []
    assert ranges(server) == [f"bytes={9_000 * cuts}-" for cuts in range(1, 10)]
    server.log.clear()
    server.cut = 0
    elsewhere.clone(f"{place(server)}#demo/cat")
    assert ranges(server) == ["bytes=90000-"]
    assert elsewhere.verify("demo/cat")


def test_a_registry_without_ranges_serves_the_rest_all_the_same(published: Registry) -> None:
    (file,) = published.manifest("demo/cat").files
    data = published.store.blobs.read(file.sha256)
    with serve(OciRegistry(ranges=False)) as server:
        published.push("demo/cat", place(server))
        remote = open_oci(place(server), "demo/cat")
        for start in (1, file.size // 2, file.size - 1):
            assert b"".join(remote.read(file.sha256, start)) == data[start:]


def test_what_is_there_is_not_sent_again(published: Registry, server: OciRegistry) -> None:
    (file,) = published.manifest("demo/cat").files
    published.publish("demo/cat@1.0.1", [published.store.blobs.path(file.sha256)])
    published.push("demo/cat@1.0.0", place(server))
    before = sum(method == "PUT" and "/uploads/" in path for method, path, _ in server.log)
    published.push("demo/cat@1.0.1", place(server))
    after = sum(method == "PUT" and "/uploads/" in path for method, path, _ in server.log)
    assert after - before == 2  # the manifest and its config


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
def test_whoever_logged_in_may_push_and_clone(
    scheme: str, published: Registry, elsewhere: Registry, tmp_path: Path
) -> None:
    with serve(OciRegistry("ann:secret", basic=scheme == "basic")) as server:
        with pytest.raises(AccessDenied, match=rf"docker login {server.host}"):
            published.push("demo/cat", place(server))
        log_in(tmp_path, server.host, "ann:secret")
        published.push("demo/cat", place(server))
        elsewhere.clone(f"{place(server)}#demo/cat")
        log_in(tmp_path, server.host, "ann:guessed")
        with pytest.raises(AccessDenied, match="docker login"):
            elsewhere.clone(f"{place(server)}#demo/cat")


@oci.INSTALLED
def test_a_real_registry_lets_in_who_logged_in(published: Registry, elsewhere: Registry, tmp_path: Path) -> None:
    with oci.debian(tmp_path, users="ann:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n") as host:
        with pytest.raises(AccessDenied, match=f"docker login {host}"):
            published.push("demo/cat", f"oci://{host}/x")
        log_in(tmp_path, host, "ann:secret")
        published.push("demo/cat", f"oci://{host}/x")
        elsewhere.clone(f"oci://{host}/x#demo/cat")


def test_a_token_without_end_is_not_read(published: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(OciRegistry("ann:secret")) as server:
        monkeypatch.setattr(server, "_token", lambda *_: Answer(200, bytes(5 << 20)))
        with pytest.raises(UpstreamFailed, match="it was not read"):
            published.push("demo/cat", place(server))


def test_a_token_instead_of_a_password_is_exchanged(published: Registry, tmp_path: Path) -> None:
    with serve(OciRegistry("ann:secret")) as server:
        log_in(tmp_path, server.host, "ann:", identitytoken="secret")
        assert published.push("demo/cat", place(server))
        log_in(tmp_path, server.host, "ann:", identitytoken="guessed")
        with pytest.raises(AccessDenied, match="docker login"):
            published.push("demo/cat", place(server))


def test_credentials_of_one_host_are_told_to_no_other(
    published: Registry, elsewhere: Registry, server: OciRegistry, tmp_path: Path
) -> None:
    with serve(OciRegistry("ann:secret")) as first:
        log_in(tmp_path, first.host, "ann:secret")
        published.push("demo/cat", place(first))
        published.push("demo/cat", place(server))
        assert authorized(server) == []
        first.leads_to = server.url.replace("127.0.0.1", "localhost")
        with pytest.raises(UpstreamFailed, match="over plain http"):
            elsewhere.clone(f"{place(first)}#demo/cat")
        assert authorized(server) == []


def test_a_password_goes_to_no_token_service_in_the_clear(
    published: Registry, server: OciRegistry, tmp_path: Path
) -> None:
    with serve(OciRegistry("ann:secret")) as first:
        log_in(tmp_path, first.host, "ann:secret")
        first.realm = f"{server.url}/token"
        with pytest.raises(AccessDenied, match="not safe"):
            published.push("demo/cat", place(first))
    assert server.log == []


def test_nothing_is_sent_in_the_clear_to_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _origin(open_oci("oci://registry.example/x", "demo/cat")) == "https://registry.example"
    assert _origin(open_oci("oci://registry.example:5000/x", "demo/cat")) == "https://registry.example:5000"
    assert _origin(open_oci("oci://registry.example/x", "demo/cat", insecure="true")) == "http://registry.example"
    assert _origin(open_oci("oci://localhost:5000/x", "demo/cat")) == "http://localhost:5000"
    assert _origin(open_oci("oci://localhost:5000/x", "demo/cat", insecure="false")) == "https://localhost:5000"
    monkeypatch.setenv("LORRY_INSECURE_REGISTRIES", "registry.lan:5000,other.lan")
    assert _origin(open_oci("oci://registry.lan:5000/x", "demo/cat")) == "http://registry.lan:5000"
    assert _origin(open_oci("oci://registry.lan/x", "demo/cat")) == "https://registry.lan"


def _origin(remote: OciRemote) -> str:
    return str(remote._repository._session._origin)  # type: ignore[attr-defined]


def test_docker_keeps_passwords_in_programs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker-credential-safe"
    program.write_text('#!/bin/sh\nread host; [ "$host" = a.example ] && echo \'{"Username": "ann", "Secret": "s"}\'\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"credsStore": "safe"}))
    assert credentials("a.example") == ("ann", "s", False)
    assert credentials("b.example") is None
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"credHelpers": {"a.example": "../safe"}}))
    with pytest.raises(AccessDenied, match="no program's name"):
        credentials("a.example")
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", "[]")
    with pytest.raises(AccessDenied, match="not as docker writes it"):
        credentials("a.example")


def test_docker_hub_goes_by_the_name_docker_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    auth = base64.b64encode(b"ann:secret").decode()
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {"https://index.docker.io/v1/": {"auth": auth}}}))
    assert credentials("registry-1.docker.io") == ("ann", "secret", False)
    assert _origin(open_oci("oci://docker.io", "demo/cat")) == "https://registry-1.docker.io"


def test_a_tag_of_another_tool_is_left_alone(published: Registry, elsewhere: Registry, server: OciRegistry) -> None:
    published.push("demo/cat", place(server))
    foreign = json.dumps({"schemaVersion": 2, "layers": []}).encode()
    for tag in ("1.0.0", "nightly"):
        server.manifests[REPOSITORY, tag] = ("application/vnd.oci.image.manifest.v1+json", foreign)
    with pytest.raises(InvalidFile, match=f"{server.host}/{REPOSITORY} has a tag 1.0.0 that lorry did not push"):
        published.push("demo/cat", place(server))
    with pytest.raises(InvalidFile, match="lorry did not push"):
        elsewhere.clone(f"{place(server)}#demo/cat@1.0.0")
    assert "nightly" not in open_oci(place(server), "demo/cat").aliases()
    assert server.manifests[REPOSITORY, "1.0.0"][1] == foreign


def test_a_registry_that_replaces_no_tag_keeps_the_first(server: OciRegistry, tmp_path: Path) -> None:
    server.immutable = True
    remote = open_oci(place(server), "demo/cat")
    first, second = (_written(remote, tmp_path, data) for data in (b"1", b"2"))
    late = Late(remote, lambda: remote.publish("1.0.0", first))
    assert late.publish("1.0.0", second) is False
    assert remote.manifest("1.0.0") == first


def test_the_later_of_two_wins_and_the_first_is_told(
    server: OciRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = open_oci(place(server), "demo/cat")
    first, second = (_written(remote, tmp_path, data) for data in (b"1", b"2"))
    told: list[bool] = []

    def meanwhile(_: float) -> None:
        monkeypatch.setattr(oci_remote, "sleep", lambda _: None)
        remote._repository.tag("1.0.0", server.manifests[REPOSITORY, "other"][1])

    remote.publish("9.0.0", second)
    server.manifests[REPOSITORY, "other"] = server.manifests[REPOSITORY, "9.0.0"]
    monkeypatch.setattr(oci_remote, "sleep", meanwhile)
    told.append(remote.publish("1.0.0", first))
    assert told == [False]
    assert remote.manifest("1.0.0") == second


def test_who_took_too_long_is_not_told_that_it_was_first(
    server: OciRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = open_oci(place(server), "demo/cat")
    digest = _written(remote, tmp_path, b"1")
    monkeypatch.setattr(oci_remote, "SETTLE", 0)
    with pytest.raises(UpstreamFailed, match="do it again"):
        remote.publish("1.0.0", digest)
    assert remote.publish("1.0.0", digest) is False


def test_a_damaged_note_is_mended_by_the_next(published: Registry, server: OciRegistry) -> None:
    published.push("demo/cat", place(server))
    remote = open_oci(place(server), "demo/cat")
    assert remote.say("1.0.0", None, b"{}")
    media_type, document = server.manifests[REPOSITORY, "NOTE-1.0.0"]
    server.manifests[REPOSITORY, "NOTE-1.0.0"] = (media_type, document.replace(b'"e30="', b'"W10="'))
    (damaged,) = remote.notes().values()
    assert damaged != b"{}"
    assert remote.say("1.0.0", damaged, b"{}")
    assert dict(remote.notes()) == {"1.0.0": b"{}"}


@pytest.mark.parametrize("answer", [b"[" * 1_000_000, b"\xff", b"[]", b'{"tags": 1}', bytes(5 << 20)])
def test_an_answer_that_is_none_is_told(answer: bytes, server: OciRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_list_tags", lambda *_: Answer(200, answer))
    with pytest.raises(UpstreamFailed):
        list(open_oci(place(server), "demo/cat").versions())


def test_tags_without_end_are_told(server: OciRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    page = json.dumps({"tags": ["x"] * 60_000}).encode()
    link = {"Link": f'</v2/{REPOSITORY}/tags/list?last=x>; rel="next"'}
    monkeypatch.setattr(server, "_list_tags", lambda *_: Answer(200, page, link))
    with pytest.raises(UpstreamFailed, match="without end"):
        list(open_oci(place(server), "demo/cat").versions())


def test_a_manifest_that_is_none_is_no_version(server: OciRegistry) -> None:
    for document in (b"[" * 1_000_000, b"[]", b'{"annotations": {"lorry.manifest": 1}}'):
        server.manifests[REPOSITORY, "1.0.0"] = ("application/vnd.oci.image.manifest.v1+json", document)
        with pytest.raises(InvalidFile):
            open_oci(place(server), "demo/cat").manifest("1.0.0")


@pytest.mark.parametrize(
    ("place", "adapter", "error"),
    [
        ("oci://", "demo/cat", InvalidArgument),
        ("oci://ann:secret@host.example/x", "demo/cat", InvalidArgument),
        ("oci://host.example/x:1.0.0", "demo/cat", InvalidArgument),
        ("oci://host.example/../x", "demo/cat", InvalidArgument),
        ("oci://host.example/x?y", "demo/cat", InvalidArgument),
        ("oci://host.example/x", "demo/a._b", InvalidArgument),
        ("oci://host.example/" + "x" * 255, "demo/cat", InvalidArgument),
    ],
)
def test_what_oci_has_no_name_for_is_refused(place: str, adapter: str, error: type[LorryError]) -> None:
    with pytest.raises(error):
        open_oci(place, adapter)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lorry_registry.remotes.oci.http", None)
    with pytest.raises(MissingExtra, match=re.escape("pip install 'lorry[oci]'")):
        open_oci("oci://localhost/x", "demo/cat")


def test_a_machine_that_is_not_there_is_told(published: Registry) -> None:
    with pytest.raises(UpstreamFailed, match="127.0.0.1:9"):
        published.push("demo/cat", "oci://127.0.0.1:9/x")


def _written(remote: OciRemote, tmp_path: Path, data: bytes) -> str:
    """Write everything that a version 1.0.0 of one file needs; return its manifest's digest."""
    manifest = data_manifest("demo/cat@1.0.0", data)
    for content, sha256 in ((data, manifest.files[0].sha256), (manifest.to_bytes(), manifest.digest())):
        (tmp_path / "content").write_bytes(content)
        remote.write(sha256, tmp_path / "content")
    return manifest.digest()


class Late(OciRemote):
    """Looks whether a version is there, and is overtaken before it puts its own."""

    def __init__(self, remote: OciRemote, meanwhile: Callable[[], object]) -> None:
        super().__init__(remote._repository)
        self._meanwhile = meanwhile

    def _replace(self, tag: str, before: bytes | None, after: bytes) -> bool:
        look = self._repository.manifest

        def overtaken(tag: str) -> bytes | None:
            found = look(tag)
            self._repository.manifest = look  # type: ignore[method-assign]
            self._meanwhile()
            return found

        self._repository.manifest = overtaken  # type: ignore[method-assign]
        return super()._replace(tag, before, after)
