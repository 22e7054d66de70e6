"""Cloning from the Hub: by whatever names a version, checked, and going on where it was cut."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

import lorry
from lorry.errors import (
    AccessDenied,
    Conflict,
    InvalidArgument,
    LorryError,
    LorryWarning,
    NotFound,
    UpstreamFailed,
    VerificationFailed,
)
from lorry_registry import Registry
from lorry_registry.references.reference import Reference
from lorry_registry.remotes import transfer
from lorry_registry.remotes.hub.remote import HubRemote, open_hub
from tests.registry.helpers import write_lora
from tests.support.hub_server import HubServer, hub_server

from .conftest import use

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own
PLACE = "hf://demo/cat"
CAT = Reference.parse("demo/cat")


@pytest.fixture
def pushed(published: Registry, hub: HubServer) -> Registry:
    """A registry whose demo/cat@1.0.0 is on the Hub, with the alias "best"."""
    published.push("demo/cat", PLACE, aliases=["best"])
    hub.seen.clear()
    return published


def test_there_and_back_is_the_same_version(pushed: Registry, elsewhere: Registry, api: HfApi) -> None:
    original = pushed.resolve("demo/cat")
    head = api.model_info("demo/cat").sha
    for address in (
        PLACE,
        *(f"{PLACE}@{revision}" for revision in ("v1.0.0", "1.0.0", "^1", "best", "latest", "main", head)),
        f"{PLACE}@sha256:{original.digest[:12]}",
        *(f"{PLACE}#demo/cat{selector}" for selector in ("", "@1.0.0", "@^1", "@best", "@latest")),
    ):
        cloned = elsewhere.clone(address)
        assert (cloned.reference, cloned.digest) == original
    assert elsewhere.verify("demo/cat") == pushed.verify("demo/cat")
    assert elsewhere.fsck() == ()
    assert lorry.open(elsewhere.pull("demo/cat", elsewhere.home.parent / "out")).layers


def test_branches_and_commits_are_followed_to_the_version_they_hold(
    pushed: Registry, elsewhere: Registry, api: HfApi, tmp_path: Path
) -> None:
    api.create_branch("demo/cat", branch="team-old", revision="v1.0.0")
    first = api.model_info("demo/cat", revision="v1.0.0").sha
    pushed.publish("demo/cat@1.1.0", [write_lora(tmp_path / "new.safetensors", seed=1)])
    pushed.push("demo/cat", PLACE)
    for revision, version in (("main", "1.1.0"), ("team-old", "1.0.0"), (first, "1.0.0"), ("latest", "1.1.0")):
        assert str(elsewhere.clone(f"{PLACE}@{revision}").reference) == f"demo/cat@{version}"


def test_blobs_are_read_from_anywhere_in_them(pushed: Registry) -> None:
    remote = open_hub(PLACE, "")
    (file,) = pushed.manifest("demo/cat").files
    assert remote.size("0" * 64) is None
    with pytest.raises(NotFound):
        next(remote.read("0" * 64))
    assert remote.size(file.sha256) == file.size
    data = pushed.store.blobs.path(file.sha256).read_bytes()
    for start in (0, 1, file.size - 1):
        assert b"".join(remote.read(file.sha256, start)) == data[start:]


def test_what_is_damaged_here_is_mended_from_there(pushed: Registry) -> None:
    files = [pushed.manifest("demo/cat").files[0].sha256, pushed.resolve("demo/cat").digest]
    for sha256 in files:
        path = pushed.store.blobs.path(sha256)
        path.chmod(0o644)
        path.write_bytes(b"rotten")
    assert pushed.verify("demo/cat@1.0.0", at=PLACE)
    assert pushed.repair(pushed.fsck(), [PLACE])
    assert pushed.fsck() == ()


def warm() -> HubRemote:
    """Open the place and read all that is small, so that what happens next happens to the weights."""
    remote = open_hub(PLACE, "")
    assert remote.manifest("1.0.0")
    assert dict(remote.notes()) == {}
    assert dict(remote.aliases()) == {"best": "1.0.0", "latest": "1.0.0"}
    return remote


def asked(hub: HubServer, name: str) -> list[str]:
    """Return the ranges that a file was asked for in."""
    return [each.range for each in hub.seen if "/resolve/" in each.path and each.path.endswith(name)]


def test_a_cut_connection_is_taken_up_where_it_was(pushed: Registry, hub: HubServer, elsewhere: Registry) -> None:
    remote = warm()
    hub.faults.cut_after, hub.faults.cut_times = 400, 1
    transfer.clone(elsewhere.store, remote, CAT)
    assert elsewhere.verify("demo/cat") == pushed.verify("demo/cat")
    assert asked(hub, "cat.safetensors") == ["", "bytes=400-"]


def test_and_so_is_an_interrupted_clone_by_the_next_process(
    pushed: Registry, hub: HubServer, elsewhere: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = pushed.manifest("demo/cat").files
    original = HubRemote.read

    def interrupted(self: HubRemote, sha256: str, start: int = 0) -> Iterator[bytes]:
        for chunk in original(self, sha256, start):
            yield chunk[:300] if sha256 == file.sha256 else chunk
            if sha256 == file.sha256:
                raise KeyboardInterrupt

    monkeypatch.setattr(HubRemote, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        elsewhere.clone(PLACE)
    assert elsewhere.ls() == []
    monkeypatch.setattr(HubRemote, "read", original)
    hub.seen.clear()
    elsewhere.clone(PLACE)
    assert asked(hub, "cat.safetensors") == ["bytes=300-"]
    assert elsewhere.verify("demo/cat") == pushed.verify("demo/cat")


def test_a_flipped_bit_is_refused_and_nothing_of_it_kept(pushed: Registry, hub: HubServer, elsewhere: Registry) -> None:
    remote = warm()
    hub.faults.flip_times = 1
    with pytest.raises(VerificationFailed, match=r"cat\.safetensors: the bytes there are not"):
        transfer.clone(elsewhere.store, remote, CAT)
    assert hub.faults.flip_times == 0
    assert elsewhere.ls() == []
    assert elsewhere.clone(PLACE).digest == pushed.resolve("demo/cat").digest


def test_a_flipped_bit_in_the_manifest_is_refused(pushed: Registry, hub: HubServer, elsewhere: Registry) -> None:
    hub.faults.flip_times = 100
    with pytest.raises(LorryError):
        elsewhere.clone(f"{PLACE}@v1.0.0")
    assert elsewhere.ls() == []
    assert pushed


def test_a_tag_that_was_moved_is_noticed(
    pushed: Registry, elsewhere: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.clone(f"{PLACE}@v1.0.0")
    other = Registry(tmp_path / "other")
    other.publish("demo/cat@1.0.0", [write_lora(tmp_path / "other.safetensors", seed=9)])
    with hub_server(tmp_path / "another-hub") as moved:  # where the same tag is on another commit
        use(moved, monkeypatch)
        other.push("demo/cat", PLACE)
        with pytest.raises(Conflict, match="moved a tag") as told:
            elsewhere.clone(f"{PLACE}@v1.0.0")
    for registry in (pushed, other):
        assert registry.resolve("demo/cat").digest[:12] in str(told.value)
    assert elsewhere.resolve("demo/cat").digest == pushed.resolve("demo/cat").digest


def test_a_yanked_version_is_found_by_its_number_alone_and_warned_of(
    pushed: Registry, elsewhere: Registry, tmp_path: Path
) -> None:
    pushed.publish("demo/cat@1.1.0", [write_lora(tmp_path / "new.safetensors", seed=1)])
    pushed.push("demo/cat", PLACE)
    assert pushed.yank("demo/cat@1.1.0", "too dark", at=PLACE)
    for address in (PLACE, f"{PLACE}@latest", f"{PLACE}@^1", f"{PLACE}#demo/cat"):
        assert str(elsewhere.clone(address).reference) == "demo/cat@1.0.0"
    for address in (f"{PLACE}@v1.1.0", f"{PLACE}#demo/cat@1.1.0"):
        with pytest.warns(LorryWarning, match="too dark"):
            assert str(elsewhere.clone(address).reference) == "demo/cat@1.1.0"


def test_what_is_not_there_is_told_with_what_is(pushed: Registry, hub: HubServer, elsewhere: Registry) -> None:
    for address, message in (
        ("hf://demo/dog", "there is no hf://demo/dog, or this token may not see it"),
        (f"{PLACE}@v2.0.0", "has no v2.0.0, .*versions: 1.0.0"),
        (f"{PLACE}@nowhere", "has no nowhere"),
        (f"{PLACE}#demo/cat@^2", r"no demo/cat@\^2 at hf://.*; versions: 1\.0\.0"),
    ):
        with pytest.raises(NotFound, match=message):
            elsewhere.clone(address)
    with pytest.raises(VerificationFailed, match=r"is that of demo/cat@1\.0\.0"):
        elsewhere.clone(f"{PLACE}#demo/dog")
    HfApi(endpoint=hub.url, token=hub.alice).create_repo("demo/foreign")
    with pytest.raises(NotFound, match="was not pushed by lorry: it has no adapter.json; .*lorry add"):
        elsewhere.clone("hf://demo/foreign@main")
    with pytest.raises(NotFound, match="at hf://demo/foreign: lorry pushed nothing to it; .*lorry add"):
        elsewhere.clone("hf://demo/foreign")
    assert pushed


@pytest.mark.parametrize("address", ["hf://cat", "hf://a/b/c", "hf://a/..", "hf://a/b@", "hf://a b/c", "hf://.git/x"])
def test_what_is_no_repository_is_refused(address: str, registry: Registry) -> None:
    with pytest.raises(InvalidArgument, match="hf://owner/name"):
        registry.clone(address)


def test_offline_is_told_as_such(
    pushed: Registry, hub: HubServer, elsewhere: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UpstreamFailed, match="HF_HUB_OFFLINE is set"):
        elsewhere.clone(PLACE)
    assert not hub.seen
    assert pushed


def test_who_may_not_see_it_is_told_what_to_do(
    pushed: Registry, hub: HubServer, elsewhere: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.bob)
    with pytest.raises(NotFound, match="or this token may not see it; .*HF_TOKEN"):
        elsewhere.clone(PLACE)
    monkeypatch.setenv("HF_TOKEN", hub.alice)
    hub.faults.fail_path, hub.faults.fail_status, hub.faults.fail_times = "cat.safetensors", 403, 1
    with pytest.raises(AccessDenied, match="HF_TOKEN"):
        elsewhere.clone(PLACE)
    assert pushed


def test_the_token_goes_to_the_hub_alone_and_into_no_word(
    pushed: Registry,
    hub: HubServer,
    elsewhere: Registry,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    pushed.publish("demo/dog@1.0.0", [write_lora(elsewhere.home.parent / "dog.safetensors", seed=3)])
    pushed.push("demo/dog", "hf://demo/dog", options={"public": "true"})
    hub.faults.redirect = True
    hub.seen.clear()
    elsewhere.clone("hf://demo/dog")
    gone = [each for each in hub.seen if each.host.startswith("localhost")]
    assert gone
    assert not any(each.authorized for each in gone)
    assert all(each.authorized for each in hub.seen if each not in gone)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(AccessDenied) as refused:
        elsewhere.clone(PLACE)
    words = [str(refused.value), caplog.text, *capfd.readouterr()]
    assert not [token for token in (hub.alice, "hf_wrong") for text in words if token in text]
    everything = [path.read_bytes() for path in (*elsewhere.home.rglob("*"), *pushed.home.rglob("*")) if path.is_file()]
    assert not [data for data in everything if hub.alice.encode() in data]


@pytest.mark.parametrize(
    ("others", "what"),
    [
        (b"", "cat.safetensors has 0 bytes, and its manifest says 684"),
        (b"short", "cat.safetensors has 5 bytes, and its manifest says 684"),
        (bytes(700), "cat.safetensors has 700 bytes, and its manifest says 684"),
        (bytes(684), "cat.safetensors: the bytes there are not sha256:"),
        (None, "cat.safetensors, which its manifest names"),
    ],
    ids=["empty", "short", "long", "another", "gone"],
)
def test_a_branch_whose_files_are_not_those_of_its_manifest_is_no_version(
    pushed: Registry, elsewhere: Registry, api: HfApi, others: bytes | None, what: str
) -> None:
    api.create_branch("demo/cat", branch="mixed")
    path = "cat.safetensors"
    change = CommitOperationDelete(path) if others is None else CommitOperationAdd(path, others)
    api.create_commit("demo/cat", [change], commit_message="Change it", revision="mixed")
    for _ in range(2):
        with pytest.raises(VerificationFailed, match=what):
            elsewhere.clone(f"{PLACE}@mixed")
    assert not [*elsewhere.store.layout.drafts.glob("*part-*")]
    assert elsewhere.clone(PLACE)[:2] == pushed.resolve("demo/cat")
