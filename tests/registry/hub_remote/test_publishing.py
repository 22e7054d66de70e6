"""Publishing to the Hub: one commit and one tag, whatever is lost on the way and whoever else publishes."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from huggingface_hub import HfApi, get_session
from huggingface_hub.errors import GatedRepoError

from lorry.cli import cli
from lorry.errors import (
    AccessDenied,
    Conflict,
    InvalidArgument,
    InvalidFile,
    LorryError,
    LorryWarning,
    UpstreamFailed,
)
from lorry_registry import Card, Registry
from lorry_registry.remotes.hub.remote import open_hub
from lorry_registry.remotes.hub.repository import HubRepository
from tests.registry.helpers import write_lora
from tests.support.hub_server import HubServer, hub_server

from .conftest import use

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own
PLACE = "hf://demo/cat"


def version(home: Path, number: str, seed: int = 0) -> Registry:
    """Return a registry of its own with one version of demo/cat."""
    registry = Registry(home)
    source = home.parent / f"source-{home.name}"
    source.mkdir()
    registry.publish(f"demo/cat@{number}", [write_lora(source / "cat.safetensors", seed=seed)])
    return registry


def titles(api: HfApi, revision: str = "main") -> list[str]:
    return [each.title for each in api.list_repo_commits("demo/cat", revision=revision)]


def publishes(api: HfApi) -> int:
    return sum(title.startswith("Publish ") for title in titles(api))


def manifest_at(api: HfApi, revision: str, folder: Path) -> bytes:
    path = api.hf_hub_download("demo/cat", "adapter.json", revision=revision, local_dir=folder / revision)
    return Path(path).read_bytes()


def test_a_publish_is_one_commit_and_one_tag_and_private(published: Registry, api: HfApi) -> None:
    assert published.push("demo/cat", PLACE) is True
    assert publishes(api) == 1
    refs = api.list_repo_refs("demo/cat")
    assert {tag.name: tag.target_commit for tag in refs.tags} == {"v1.0.0": refs.branches[0].target_commit}
    assert api.model_info("demo/cat").private
    assert published.push("demo/cat", PLACE) is False
    assert publishes(api) == 1


def test_it_is_public_only_where_that_is_said(published: Registry, api: HfApi) -> None:
    published.push("demo/cat", PLACE, options={"public": "true"})
    assert not api.model_info("demo/cat").private
    published.push("demo/cat", PLACE)  # says nothing of it
    with pytest.raises(Conflict, match="is public already"):
        published.push("demo/cat", PLACE, options={"public": "false"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pubic": "true"}, "hf:// has no option 'pubic'; it has public, also, base_model"),
        ({"public": "yes"}, "public='yes' is neither true nor false"),
        ({"also": "kohia"}, "did you mean 'kohya'"),
        ({"base_model": "FLUX"}, "is no repository"),
    ],
)
def test_options_are_checked_before_anything_is_asked(
    options: dict[str, str], message: str, published: Registry, hub: HubServer
) -> None:
    with pytest.raises(LorryError, match=message):
        published.push("demo/cat", PLACE, options=options)
    assert not hub.seen


def test_a_lost_answer_to_the_commit_is_no_second_commit(published: Registry, hub: HubServer, api: HfApi) -> None:
    hub.faults.lose_times = 1
    assert published.push("demo/cat", PLACE) is True
    assert hub.faults.lose_times == 0
    assert publishes(api) == 1


def test_a_lost_answer_to_the_tag_is_no_failure(published: Registry, hub: HubServer) -> None:
    hub.faults.lose_path, hub.faults.lose_times = "/tag/", 1
    assert published.push("demo/cat", PLACE) is True
    assert hub.faults.lose_times == 0


def test_what_a_publisher_left_without_its_tag_is_finished_by_the_next_try(
    published: Registry, hub: HubServer, api: HfApi
) -> None:
    hub.faults.fail_path, hub.faults.fail_times = "/tag/", 1
    with pytest.raises(UpstreamFailed):
        published.push("demo/cat", PLACE)
    assert not api.list_repo_refs("demo/cat").tags
    assert published.push("demo/cat", PLACE) is True
    assert publishes(api) == 1


def test_and_by_whoever_comes_with_another_version_of_that_number(
    published: Registry, hub: HubServer, api: HfApi, tmp_path: Path
) -> None:
    hub.faults.fail_path, hub.faults.fail_times = "/tag/", 1
    with pytest.raises(UpstreamFailed):
        published.push("demo/cat", PLACE)
    with pytest.raises(Conflict, match="is there with other content"):
        version(tmp_path / "other", "1.0.0", seed=7).push("demo/cat", PLACE)
    assert manifest_at(api, "v1.0.0", tmp_path) == published.manifest("demo/cat").to_bytes()
    assert published.push("demo/cat", PLACE) is False


@pytest.mark.parametrize("higher", ["", "2.0.0"], ids=["the first", "below a higher one"])
def test_of_many_who_publish_one_version_one_does(higher: str, hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    registries = [version(tmp_path / f"racer{number}", "1.0.0", seed=number) for number in range(6)]
    if higher:
        version(tmp_path / "higher", higher, seed=99).push("demo/cat", PLACE)
    hub.seen.clear()
    barrier = threading.Barrier(len(registries))

    def race(registry: Registry) -> bool | None:
        barrier.wait()
        try:
            return registry.push("demo/cat", PLACE)
        except Conflict:
            return None

    with ThreadPoolExecutor(len(registries)) as pool:
        told = list(pool.map(race, registries))
    assert sorted(told, key=str) == [None] * (len(registries) - 1) + [True]
    winner = registries[told.index(True)].manifest("demo/cat").to_bytes()
    assert manifest_at(api, "v1.0.0", tmp_path) == winner
    assert (manifest_at(api, "main", tmp_path) == winner) is not bool(higher)
    assert publishes(api) == 1
    assert [each.status for each in hub.seen if "/tag/" in each.path].count(200) == 1


def test_of_many_who_publish_different_versions_all_do(api: HfApi, tmp_path: Path) -> None:
    numbers = ["1.0.0", "1.1.0", "2.0.0", "2.0.1-rc.1"]
    registries = [version(tmp_path / number, number, seed=at) for at, number in enumerate(numbers)]
    with ThreadPoolExecutor(len(registries)) as pool:
        told = list(pool.map(lambda each, number: each.push(f"demo/cat@{number}", PLACE), registries, numbers))
    assert all(told)
    assert {tag.name for tag in api.list_repo_refs("demo/cat").tags} == {f"v{number}" for number in numbers}
    assert manifest_at(api, "main", tmp_path) == registries[2].manifest("demo/cat@2.0.0").to_bytes()


def test_a_commit_of_somebody_else_in_between_is_kept(
    published: Registry, api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.push("demo/cat", PLACE)
    original: Any = HfApi.create_commit
    met: list[bool] = []

    def late(self: HfApi, *arguments: Any, **options: Any) -> Any:
        if not met:
            met.append(True)
            api.upload_file(path_or_fileobj=b"hello", path_in_repo="NOTES.txt", repo_id="demo/cat")
        return original(self, *arguments, **options)

    monkeypatch.setattr(HfApi, "create_commit", late)
    assert version(tmp_path / "second", "1.1.0", seed=1).push("demo/cat", PLACE) is True
    assert "NOTES.txt" in api.list_repo_files("demo/cat", revision="v1.1.0")


def test_a_lower_version_leaves_the_main_branch_alone(api: HfApi, tmp_path: Path) -> None:
    pushed = {}
    for number, seed in (("2.0.0", 2), ("1.0.0", 1), ("3.0.0-rc.1", 3)):
        registry = version(tmp_path / number, number, seed)
        assert registry.push(f"demo/cat@{number}", PLACE) is True
        pushed[number] = registry.manifest(f"demo/cat@{number}").to_bytes()
        assert manifest_at(api, f"v{number}", tmp_path) == pushed[number]
    assert manifest_at(api, "main", tmp_path) == pushed["2.0.0"]
    assert [branch.name for branch in api.list_repo_refs("demo/cat").branches] == ["main"]


def test_files_of_the_version_before_go_and_those_people_added_stay(
    registry: Registry, api: HfApi, tmp_path: Path
) -> None:
    registry.publish("demo/cat@1.0.0", [write_lora(tmp_path / "old.safetensors")])
    registry.push("demo/cat", PLACE, options={"also": "comfy"}, aliases=["best"])
    api.upload_file(path_or_fileobj=b"hello", path_in_repo="picture.txt", repo_id="demo/cat")
    registry.publish("demo/cat@1.1.0", [write_lora(tmp_path / "new.safetensors", seed=1)])
    registry.push("demo/cat", PLACE)
    files = {each for each in api.list_repo_files("demo/cat") if each != ".gitattributes"}
    assert files == {
        "README.md",
        "adapter.json",
        "aliases.json",
        "new.safetensors",
        "picture.txt",
        "pytorch_lora_weights.safetensors",
    }
    assert "comfy/cat.safetensors" in api.list_repo_files("demo/cat", revision="v1.0.0")


def test_a_repository_holds_one_adapter(published: Registry, api: HfApi, lora: Path) -> None:
    published.push("demo/cat", PLACE)
    published.publish("demo/dog@2.0.0", [lora])
    with pytest.raises(Conflict, match="holds demo/cat"):
        published.push("demo/dog", PLACE)
    assert publishes(api) == 1


@pytest.mark.usefixtures("hub")
def test_a_file_under_a_name_that_lorry_needs_is_refused(registry: Registry, lora: Path) -> None:
    taken = lora.with_name("notes.json")
    taken.write_text("{}")
    registry.publish("demo/cat@1.0.0", [lora, taken])
    with pytest.raises(InvalidFile, match=r"has a file notes\.json"):
        registry.push("demo/cat", PLACE)


def test_who_may_not_write_is_told_so(published: Registry, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.bob)
    with pytest.raises(AccessDenied, match="HF_TOKEN"):
        published.push("demo/cat", PLACE)
    published_by_alice = "hf://alice/cat"
    monkeypatch.setenv("HF_TOKEN", "hf_nobody")
    with pytest.raises(AccessDenied) as refused:
        published.push("demo/cat", published_by_alice)
    assert "hf_nobody" not in str(refused.value)


@pytest.mark.usefixtures("hub")
def test_a_revision_is_not_pushed_to(published: Registry, tmp_path: Path) -> None:
    published.push("demo/cat", PLACE)
    with pytest.raises(InvalidArgument, match="without @main"):
        version(tmp_path / "other", "2.0.0").push("demo/cat", f"{PLACE}@main")


def test_what_diffusers_cannot_hold_goes_alone_and_that_is_said(registry: Registry, api: HfApi, tmp_path: Path) -> None:
    from tests.registry.hub_remote.files import write_loha

    registry.publish("demo/cat@1.0.0", [write_loha(tmp_path / "cat.safetensors")], card=Card(title="A cat"))
    with pytest.warns(LorryWarning, match="without pytorch_lora_weights.safetensors"):
        assert registry.push("demo/cat", PLACE) is True
    assert "pytorch_lora_weights.safetensors" not in api.list_repo_files("demo/cat")


@pytest.mark.usefixtures("hub")
def test_aliases_move_only_from_where_they_were_seen(published: Registry, tmp_path: Path) -> None:
    published.push("demo/cat", PLACE)
    version(tmp_path / "second", "1.1.0", seed=1).push("demo/cat", PLACE)
    remote = open_hub(PLACE, "demo/cat")
    assert dict(remote.aliases()) == {"latest": "1.1.0"}
    assert remote.move("best", None, "1.0.0")
    assert not remote.move("best", None, "1.1.0")
    assert remote.move("best", "1.0.0", "1.1.0")
    assert dict(open_hub(PLACE, "").aliases()) == {"best": "1.1.0", "latest": "1.1.0"}
    assert not remote.move("latest", "1.1.0", "1.0.0")
    with pytest.raises(InvalidArgument, match="highest stable"):
        published.push("demo/cat", PLACE, aliases=["latest"])


def test_what_is_sent_by_xet_comes_back_the_same(
    published: Registry, elsewhere: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hf_xet")
    with hub_server(tmp_path / "xet", xet=True) as hub:
        use(hub, monkeypatch)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
        assert published.push("demo/cat", PLACE) is True
        assert not any(each.path.startswith("/lfs/") for each in hub.seen)
        assert elsewhere.clone(PLACE).digest == published.resolve("demo/cat").digest
    assert elsewhere.fsck() == ()


def test_a_hub_without_xet_is_told_as_such(
    published: Registry, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hf_xet")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    with pytest.raises(UpstreamFailed, match="set HF_HUB_DISABLE_XET=1"):
        published.push("demo/cat", PLACE)
    assert hub.seen


def test_a_gated_repository_is_told_as_such(
    published: Registry, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gated(_: HfApi, name: str, **_options: Any) -> None:
        response = get_session().get(f"{hub.url}/api/models/{name}/refs")
        raise GatedRepoError("403 Client Error.", response=response)

    monkeypatch.setattr(HfApi, "list_repo_refs", gated)
    with pytest.raises(AccessDenied, match="hf://demo/cat is gated: ask for access"):
        published.push("demo/cat", PLACE)


@pytest.mark.usefixtures("hub")
def test_the_commands_do_the_same(published: Registry, elsewhere: Registry) -> None:
    def run(*arguments: str, home: Path) -> str:
        result = CliRunner(env={"LORRY_HOME": str(home)}).invoke(cli, arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    said = ("-O", "public=true", "-O", "also=comfy")
    assert json.loads(run("push", "demo/cat", PLACE, *said, "--json", home=published.home))["new"] is True
    assert "demo/cat@1.0.0 was already at hf://demo/cat" in run("push", "demo/cat", PLACE, home=published.home)
    assert "demo/cat@1.0.0 is here now" in run("clone", f"{PLACE}@v1.0.0", home=elsewhere.home)


@pytest.mark.parametrize(("said", "message"), [("public", "write NAME=VALUE"), ("public=true", "given twice")])
def test_options_are_written_once_with_their_values(said: str, message: str, published: Registry) -> None:
    result = CliRunner(env={"LORRY_HOME": str(published.home)}).invoke(
        cli, ["push", "demo/cat", PLACE, "-O", said, "-O", said]
    )
    assert result.exit_code == 2
    assert message in result.output


def test_a_repository_may_be_called_otherwise_than_the_adapter_in_it(
    hub: HubServer, published: Registry, elsewhere: Registry, api: HfApi
) -> None:
    assert published.push("demo/cat", "hf://team/mycat", aliases=["best"])
    assert [tag.name for tag in api.list_repo_refs("team/mycat").tags] == ["v1.0.0"]
    assert Registry(hub.home).ls() == []
    assert Registry(hub.home).fsck() == ()
    for address in ("hf://team/mycat", "hf://team/mycat@best", "hf://team/mycat@v1.0.0"):
        assert elsewhere.clone(address)[:2] == published.resolve("demo/cat")


def test_the_reason_that_a_hub_gives_is_told(hub: HubServer, published: Registry) -> None:
    Registry(hub.home).publish("demo/cat@1.0.0", [published.pull("demo/cat", hub.home.parent / "copy")[0]])
    repository = HubRepository("demo/cat")
    head = repository.commit_of("main")
    assert head
    with pytest.raises(UpstreamFailed, match="^hf://demo/cat: main is the latest version of demo/cat, and this would"):
        repository.commit("main", head, "Change it", {"cat.safetensors": b"other"})
