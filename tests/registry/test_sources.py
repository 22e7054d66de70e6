"""Adding from elsewhere: https addresses and Civitai, by real servers on this machine."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import pytest

from lorry.errors import AccessDenied, Incompatible, InvalidArgument, NotFound, VerificationFailed
from lorry.ir.watch import watched
from lorry.plugin.fetched import Limits
from lorry_registry import Registry
from lorry_registry.adding.add import Wishes
from lorry_registry.sources.air import Air
from lorry_registry.sources.file_names import name_of, safe_name
from lorry_registry.sources.guarded import Guarded, is_public, shown
from lorry_registry.sources.https import download
from lorry_registry.sources.plain import plain
from tests.support import civitai
from tests.support.servers import HOST, Asked, Reply, Server, files, serving

from .helpers import write_lora

HERE = Limits(hosts=(HOST,))
WISHES = Wishes(limits=HERE)


def test_a_file_from_an_address(registry: Registry, lora: Path) -> None:
    data = lora.read_bytes()
    with serving(files({"/some/ink.safetensors": data})) as server:
        address = f"{server.url}/some/ink.safetensors?token=secret#sha256={hashlib.sha256(data).hexdigest()}"
        (told,) = registry.add([address], wishes=WISHES)
    assert told.reference == "foreign/ink@1.0.0"
    lineage = registry.manifest(told.reference).lineage
    assert lineage
    assert lineage.recipe["source"] == f"{server.url}/some/ink.safetensors?…"
    assert not list(registry.store.layout.drafts.glob("fetch-*[!k]"))
    assert [each.headers.get("accept-encoding") for each in server.asked] == ["identity"]


def test_another_sha256_than_was_told_is_never_let_in(registry: Registry, lora: Path) -> None:
    with serving(files({"/ink.safetensors": lora.read_bytes()})) as server:
        (told,) = registry.add([f"{server.url}/ink.safetensors#sha256={'0' * 64}"], wishes=WISHES)
    assert (told.outcome, told.id != "") == ("refused", True)
    assert "SHA256 is 0000" in told.why
    assert registry.quarantine.get(told.id).facts.source.endswith("/ink.safetensors")
    with pytest.raises(VerificationFailed, match="never let in"):
        registry.accept(told.id, "demo/mine@1.0.0")
    assert not registry.ls()


def test_a_page_instead_of_a_file_is_told_as_such(registry: Registry) -> None:
    with serving(files({"/login": b"<!DOCTYPE html><title>Log in</title>"})) as server:
        (told,) = registry.add([f"{server.url}/login"], wishes=WISHES)
    assert "is a web page" in told.why


def test_a_fetch_that_was_killed_is_gone_on_with_and_two_at_once_are_one(registry: Registry, tmp_path: Path) -> None:
    data = write_lora(tmp_path / "ink.safetensors", metadata={"notes": "x" * 60_000}).read_bytes()
    honest, half = files({"/ink.safetensors": data}), 30_000
    killed = threading.Event()

    def stop_halfway(file: BufferedIOBase) -> None:
        file.write(data[:half])
        killed.wait(20)

    def answer(asked: Asked) -> Reply | None:
        told = {"ETag": '"one"', "Content-Length": str(len(data))}
        return honest(asked) if killed.is_set() else Reply(stop_halfway, headers=told)

    with serving(answer) as server:
        address = f"{server.url}/ink.safetensors"
        first = subprocess.Popen([sys.executable, "-m", "lorry", "add", address, "--allow-host", HOST])
        while sum(each.stat().st_size for each in registry.home.rglob("*.part")) < half:
            assert first.poll() is None
            time.sleep(0.02)
        (second,) = registry.add([address], wishes=WISHES)
        assert "is being fetched by another process" in second.why
        first.kill()
        first.wait()
        killed.set()
        (told,) = registry.add([address], wishes=WISHES)
    assert told.outcome == "added", told.why
    assert [each.headers.get("range") for each in server.asked] == [None, f"bytes={half}-"]


@pytest.mark.parametrize("tag", ['W/"weak"', "", '"two"'])
def test_without_a_strong_tag_or_with_another_one_it_begins_anew(tmp_path: Path, tag: str) -> None:
    data = bytes(range(256)) * 4
    cut = [True]

    def answer(asked: Asked) -> Reply:
        if cut.pop() if cut else False:
            return Reply(data[:300], headers={"ETag": tag} if tag != '"two"' else {"ETag": '"one"'}, length=len(data))
        return files({"/a.bin": data}, tag=tag)(asked) or Reply(status=404)

    with serving(answer) as server, Guarded(HERE) as web:
        assert download(web, f"{server.url}/a.bin", tmp_path, 1 << 20).read_bytes() == data


@pytest.mark.parametrize("held", [300, 684])
def test_a_part_that_the_server_does_not_go_on_with_is_begun_anew(tmp_path: Path, lora: Path, held: int) -> None:
    """What was whole when it was interrupted, or is of another file with the same tag."""
    data = lora.read_bytes()
    honest = files({"/a": data})

    def answer(asked: Asked) -> Reply | None:
        return Reply(status=416) if "range" in asked.headers else honest(asked)

    with serving(answer) as server, Guarded(HERE) as web:
        name = hashlib.sha256(f"{server.url}/a".encode()).hexdigest()[:16]
        (tmp_path / f"{name}.part").write_bytes(data[:held])
        (tmp_path / f"{name}.etag.part").write_text('"one"')
        assert download(web, f"{server.url}/a", tmp_path, 1 << 20).read_bytes() == data
    assert len(server.asked) == 2


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, Server, dict[str, Any]]]:
    """Civitai, where its files lie, and what of its answers a test changes."""
    weights = write_lora(tmp_path / "inkcat.safetensors")
    at: dict[str, str] = {}
    changed: dict[str, Any] = {}
    with serving(files({"/blob": weights.read_bytes()})) as bytes_of:
        elsewhere = bytes_of.url.replace(HOST, "localhost")
        with serving(lambda asked: civitai.answers(weights, at, elsewhere, **changed)(asked)) as server:  # noqa: PLW0108  as changed by then
            at["url"] = server.url
            monkeypatch.setenv("CIVITAI_ENDPOINT", server.url)
            monkeypatch.setenv("CIVITAI_API_TOKEN", civitai.TOKEN)
            yield server, bytes_of, changed


CIVITAI = Wishes(limits=Limits(hosts=(HOST, "localhost")))


@pytest.mark.parametrize(
    "address",
    ["urn:air:sd1:lora:civitai:7@11", "air:sd1:lora:civitai:7", "urn:air:sd1:lora:civitai:7@11+13.safetensors",
     "civitai://7", "civitai://models/7@11", "https://civitai.com/models/7", "https://civitai.com/models/7/ink-cat",
     "https://civitai.com/models/7/ink-cat?a=b&modelVersionId=11"],
)  # fmt: skip
def test_civitai_brings_a_version_with_what_it_says_of_it(
    registry: Registry, stand_in: tuple[Server, Server, dict[str, Any]], address: str
) -> None:
    server, elsewhere, _ = stand_in
    (told,) = registry.add([address], wishes=CIVITAI)
    assert told.outcome == "added", told.why
    manifest = registry.manifest(told.reference)
    assert (told.reference, manifest.id.title) == ("foreign/ink-cat@1.0.0", "Ink Cat")
    assert manifest.id.description == "Second try\n\nInk\nUse at 0.8 & up"
    assert manifest.id.tags == ("style", "ink")
    assert manifest.id.authors == ("somebody",)
    assert "commercial use: image, rent" in manifest.id.license
    assert manifest.adapter.trigger_words == ("inkcat", "brush")
    assert [(file.path, file.role) for file in manifest.files] == [
        ("inkcat-1.png", "preview"),
        ("inkcat.safetensors", "weights"),
    ]
    assert manifest.lineage
    assert manifest.lineage.recipe["source"] == "urn:air:sd1:lora:civitai:7@11"
    # The token goes to Civitai and to nobody else, and is not written down.
    assert {each.headers.get("authorization") for each in server.asked} == {f"Bearer {civitai.TOKEN}"}
    assert {each.headers.get("authorization") for each in elsewhere.asked} == {None}
    assert not [
        path
        for path in registry.home.rglob("*")
        if path.is_file() and (civitai.TOKEN.encode() in path.read_bytes() or b"Signature" in path.read_bytes())
    ]


def test_hashes_that_civitai_tells_are_held_against_the_bytes(
    registry: Registry, stand_in: tuple[Server, Server, dict[str, Any]]
) -> None:
    server, _, changed = stand_in
    file = {"id": 13, "name": "x.safetensors", "hashes": {"AutoV2": "0123456789"}, "primary": True}
    changed["version"] = {"files": [file | {"downloadUrl": f"{server.url}/api/download/models/11"}]}
    (told,) = registry.add(["civitai://7"], wishes=CIVITAI)
    assert "AutoV2 is 0123456789" in told.why
    assert not registry.ls()


def test_a_base_that_the_tensors_contradict_waits(
    registry: Registry, stand_in: tuple[Server, Server, dict[str, Any]]
) -> None:
    stand_in[2]["version"] = {"baseModel": "Flux.1 D"}
    (told,) = registry.add(["civitai://7"], wishes=CIVITAI)
    assert told.outcome == "waits"
    assert "the source says it is for FLUX.1" in told.why


@pytest.mark.parametrize(
    ("address", "error", "says"),
    [
        ("civitai://8", NotFound, "is not there"),
        ("civitai://7@12", NotFound, "no version 12"),
        ("urn:air:sd1:lora:civitai:7@11+99", NotFound, "names no file"),
        ("urn:air:sd1:lora:huggingface:a/b@main", InvalidArgument, "held by huggingface"),
        ("urn:isbn:1", InvalidArgument, "is no AIR"),
        ("civitai://cat", InvalidArgument, "with their numbers"),
        ("https://civitai.com/models/7?modelVersionId=12", NotFound, "no version 12"),
        ("https://civitai.com/models/cat", InvalidArgument, "with their numbers"),
    ],
)
def test_what_civitai_has_not(
    registry: Registry,
    stand_in: tuple[Server, Server, dict[str, Any]],
    address: str,
    error: type[Exception],
    says: str,
) -> None:
    assert stand_in
    (told,) = registry.add([address], wishes=CIVITAI)
    assert type(told.error) is error
    assert says in told.why


def test_what_is_no_adapter_is_not_fetched(registry: Registry, stand_in: tuple[Server, Server, dict[str, Any]]) -> None:
    _, elsewhere, changed = stand_in
    changed["type"] = "Checkpoint"
    (told,) = registry.add(["civitai://7"], wishes=CIVITAI)
    assert isinstance(told.error, Incompatible)
    assert not elsewhere.asked


def test_a_missing_token_is_told(
    registry: Registry, stand_in: tuple[Server, Server, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stand_in
    monkeypatch.delenv("CIVITAI_API_TOKEN")
    (told,) = registry.add(["civitai://7"], wishes=CIVITAI)
    assert isinstance(told.error, AccessDenied)


def test_a_file_is_looked_up_by_its_hash_where_that_is_asked_for(
    registry: Registry, stand_in: tuple[Server, Server, dict[str, Any]], tmp_path: Path
) -> None:
    weights = tmp_path / "inkcat.safetensors"
    (told,) = registry.add([weights], "demo/quiet@1.0.0", wishes=CIVITAI)
    assert not stand_in[0].asked  # nothing is asked unasked
    assert registry.manifest(told.reference).id.title == ""
    (told,) = registry.add([weights], "demo/known@1.0.0", CIVITAI._replace(look_up=True))
    manifest = registry.manifest(told.reference)
    assert (manifest.id.title, manifest.adapter.trigger_words) == ("Ink Cat", ("inkcat", "brush"))
    other = write_lora(tmp_path / "other.safetensors", seed=9)
    (told,) = registry.add([other], wishes=CIVITAI._replace(look_up=True))
    assert told.outcome == "added"


@pytest.mark.parametrize(("name", "inside"), [("cat.civitai.info", None), ("cat.metadata.json", "civitai")])
def test_side_files_of_other_tools_tell_what_civitai_says(
    registry: Registry, lora: Path, name: str, inside: str | None
) -> None:
    told = civitai.model(lora, "https://civitai.example")["modelVersions"][0]
    told |= {"modelId": 7, "model": {"name": "Ink Cat", "type": "LORA"}}
    lora.with_name(name).write_text(json.dumps({inside: told} if inside else told))
    (outcome,) = registry.add([lora])
    manifest = registry.manifest(outcome.reference)
    assert (outcome.reference, manifest.id.description) == ("foreign/ink-cat@1.0.0", "Second try")
    assert manifest.adapter.trigger_words == ("inkcat", "brush")
    assert manifest.lineage
    assert manifest.lineage.recipe["source"] == "urn:air:sd1:lora:civitai:7@11"


def test_airs_are_read_as_they_are_written() -> None:
    for text in ("urn:air:sdxl:lora:civitai:328553@368189", "urn:air:flux1:lora:civitai:1@2+3.safetensors"):
        assert str(Air.parse(text)) == text
    assert str(Air.parse("AIR:SDXL:Lora:Civitai:1")) == "urn:air:sdxl:lora:civitai:1"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("../../.bashrc", "bashrc"),
        ("..\\..\\evil.safetensors", "evil.safetensors"),
        ("/etc/passwd", "passwd"),
        ("a\u202egpj.safetensors", "agpj.safetensors"),
        ("a\x00\n\x1b[31m.safetensors", "a[31m.safetensors"),
        ("CON", "_CON"),
        ("nul.safetensors", "_nul.safetensors"),
        ('a<b>:"c|d?*.bin', "a_b___c_d__.bin"),
        ("...", "download"),
        ("", "download"),
        (" cat .safetensors ", "cat .safetensors"),
        ("x" * 500 + ".safetensors", "x" * 108 + ".safetensors"),
        ("é.safetensors", "é.safetensors"),
    ],
)
def test_file_names_are_made_safe(text: str, name: str) -> None:
    assert safe_name(text) == name


def test_names_come_from_the_header_then_from_the_address() -> None:
    assert name_of('attachment; filename="a b.safetensors"', "https://h/c.bin") == "a b.safetensors"
    assert name_of("attachment; filename*=UTF-8''caf%C3%A9.bin", "https://h/c.bin") == "café.bin"
    assert name_of('attachment; filename="../../x.bin"', "https://h/c.bin") == "x.bin"
    assert name_of("", "https://h/d%2Fc.bin?x=y", "https://h/z") == "c.bin"


@pytest.mark.parametrize(
    ("address", "public"),
    [("8.8.8.8", True), ("2606:4700::1111", True), ("127.0.0.1", False), ("10.1.2.3", False), ("0.0.0.0", False),  # noqa: S104  an address to refuse
     ("169.254.169.254", False), ("100.64.0.1", False), ("224.0.0.1", False), ("::1", False), ("fe80::1%eth0", False),
     ("fc00::1", False), ("::ffff:127.0.0.1", False), ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False),
     ("240.0.0.1", False), ("255.255.255.255", False), ("::", False)],
)  # fmt: skip
def test_which_addresses_are_public(address: str, *, public: bool) -> None:
    assert is_public(address) is public


def test_what_is_shown_of_an_address_holds_no_secret() -> None:
    assert shown("https://me:pw@host:8/a/b?token=1#x") == "https://host:8/a/b?…"


def test_html_becomes_text() -> None:
    assert plain("<p>a<br>b</p><style>x{}</style><li>c &lt;b&gt;") == "a\nb\nc <b>"
    assert plain("<" * 100_000 + "<p>" * 100_000 + "x") is not None
    assert len(plain("word " * 100_000)) <= 16_000


@pytest.mark.parametrize(("elsewhere", "sent"), [(False, True), (True, False)])
def test_a_secret_is_sent_to_the_origin_that_was_asked_and_on_no_redirect_away(*, elsewhere: bool, sent: bool) -> None:
    with serving(files({"/b": b"x"})) as other:

        def lead(asked: Asked) -> Reply | None:
            place = other.url if elsewhere else ""
            return Reply(b"x") if asked.path == "/b" else Reply(status=302, headers={"Location": f"{place}/b"})

        with serving(lead) as server, Guarded(HERE, {HOST: "Bearer s3cret"}) as web, web.get(f"{server.url}/a"):
            pass
    assert server.asked[0].headers["authorization"] == "Bearer s3cret"
    last = (other if elsewhere else server).asked[-1]
    assert last.path == "/b"
    assert ("authorization" in last.headers) is sent
    assert last.headers["host"] == (other if elsewhere else server).url.removeprefix("http://")


def test_whoever_watches_is_told_of_the_bytes(tmp_path: Path) -> None:
    class Counted:
        expected = done = 0

        def expect(self, size: int, /) -> None:
            self.expected += size

        def advance(self, size: int, /) -> None:
            self.done += size

    seen = Counted()
    with serving(files({"/a": bytes(5000)})) as server, Guarded(HERE) as web, watched(seen):
        download(web, f"{server.url}/a", tmp_path, 1 << 20)
    assert (seen.expected, seen.done) == (5000, 5000)
