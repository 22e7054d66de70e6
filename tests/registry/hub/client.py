"""The real huggingface_hub client, in a process of its own: it reads its settings when it is imported.

python client.py FOLDER            prints one line of JSON for each check: [name, passed, what was found]
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub as hub
from huggingface_hub import errors

WORK = Path(sys.argv[1])
REPO = "alice/cat-lora"
BIG = os.urandom(33 << 20)
"""More than one part."""

alice = hub.HfApi(token=os.environ["HF_TOKEN"])
bob = hub.HfApi(token="hf_bob")


def check(name: str, passed: object, found: object = "") -> None:
    sys.stdout.write(json.dumps([name, bool(passed), str(found)[:300]]) + "\n")
    sys.stdout.flush()


def raises(name: str, kind: type[Exception], call: Callable[[], Any], status: int = 0) -> None:
    try:
        found = call()
    except kind as error:
        code = getattr(getattr(error, "response", None), "status_code", 0)
        check(name, not status or status == code, f"{type(error).__name__} {code} {error}")
    except Exception as error:  # noqa: BLE001  any other is a failure to be told
        check(name, passed=False, found=f"{type(error).__name__}: {error}")
    else:
        check(name, passed=False, found=found)


def package() -> Path:
    folder = WORK / "package"
    (folder / "sub").mkdir(parents=True)
    header = b'{"__metadata__":{"title":"cat"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    header += b" " * (-len(header) % 8)
    weights = len(header).to_bytes(8, "little") + header + bytes(8)
    (folder / "pytorch_lora_weights.safetensors").write_bytes(weights)
    (folder / "big.safetensors").write_bytes(BIG)
    (folder / "sub/notes.txt").write_text("hello")
    (folder / "image_0.png").write_bytes(b"\x89PNG\0" + bytes(300))
    data = hub.ModelCardData(
        base_model="black-forest-labs/FLUX.1-dev", base_model_relation="adapter", library_name="diffusers",
        license="other", tags=["lora", "flux"], widget=[{"text": "a cat", "output": {"url": "image_0.png"}}],
    )  # fmt: skip
    hub.ModelCard(f"---\n{data}\n---\n# cat\n").save(folder / "README.md")
    return folder


def main() -> None:  # noqa: PLR0915  one call after the other, as a user makes them
    folder = package()
    me = alice.whoami()
    check("whoami", me["name"] == "alice" and me["auth"]["accessToken"]["role"] == "write", me)
    raises("whoami of a wrong token", Exception, lambda: hub.HfApi(token="hf_no").whoami(), 401)
    check("create_repo", alice.create_repo(REPO).repo_id == REPO)
    check("create_repo, exist_ok", alice.create_repo(REPO, exist_ok=True).repo_id == REPO)
    raises("create_repo again", errors.HfHubHTTPError, lambda: alice.create_repo(REPO), 409)
    raises("create_repo of another", errors.HfHubHTTPError, lambda: bob.create_repo("alice/dog"), 403)
    raises("a data set", errors.HfHubHTTPError, lambda: alice.create_repo("alice/d", repo_type="dataset"), 400)
    check("a repository with nothing in it", alice.list_repo_files(REPO) == [])

    first = alice.upload_folder(repo_id=REPO, folder_path=folder, commit_message="v1")
    check("upload_folder", len(first.oid) == 40, first)
    files = alice.list_repo_files(REPO)
    check("list_repo_files", len(files) == 5, files)
    alice.create_tag(REPO, tag="v1.0.0", revision=first.oid, tag_message="one")
    raises("a tag twice", errors.HfHubHTTPError, lambda: alice.create_tag(REPO, tag="v1.0.0"), 409)
    alice.create_tag(REPO, tag="v1.0.0", exist_ok=True)
    alice.create_branch(REPO, branch="dev")
    raises("a branch twice", errors.HfHubHTTPError, lambda: alice.create_branch(REPO, branch="dev"), 409)
    refs = alice.list_repo_refs(REPO)
    check("refs", [tag.target_commit for tag in refs.tags] == [first.oid] and len(refs.branches) == 2, refs)

    def change(text: bytes, parent: str | None) -> Any:
        added = [hub.CommitOperationAdd("sub/notes.txt", text)]
        return alice.create_commit(REPO, operations=added, commit_message="edit", parent_commit=parent)

    second = change(b"changed", first.oid)
    check("create_commit with a parent", second.oid != first.oid)
    raises("a stale parent", errors.HfHubHTTPError, lambda: change(b"again", first.oid), 412)
    third = alice.upload_folder(repo_id=REPO, folder_path=folder / "sub", path_in_repo="sub")
    same = alice.upload_folder(repo_id=REPO, folder_path=folder)
    check("uploading the same makes no commit", third.oid == same.oid, same)
    dev = alice.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=REPO, revision="dev")
    check("a commit to a branch", alice.model_info(REPO, revision="dev").sha == dev.oid)
    copied: list[Any] = [
        hub.CommitOperationCopy("big.safetensors", "copy.safetensors"),
        hub.CommitOperationDelete("sub/"),
    ]
    alice.create_commit(REPO, operations=copied, commit_message="copy", revision="dev")
    check("copied and deleted", set(alice.list_repo_files(REPO, revision="dev")) - set(files) == {
        "copy.safetensors", "x.txt"})  # fmt: skip
    alice.delete_branch(REPO, branch="dev")
    check("delete_branch", len(alice.list_repo_refs(REPO).branches) == 1)

    info = alice.model_info(REPO, revision="v1.0.0", files_metadata=True)
    sizes = {each.rfilename: each.size for each in info.siblings or ()}
    check("model_info of a tag", info.sha == first.oid and sizes["big.safetensors"] == len(BIG), sizes)
    check("card data", info.card_data and info.card_data.base_model == "black-forest-labs/FLUX.1-dev", info.card_data)
    tree = list(alice.list_repo_tree(REPO, expand=True))
    check("tree", {each.path for each in tree} >= {"sub", "README.md"} and tree[0].last_commit, tree)
    paths = alice.get_paths_info(REPO, ["sub", "big.safetensors", "nothing"])
    check("paths-info", [each.path for each in paths] == ["sub", "big.safetensors"], paths)
    check("commits", [each.title for each in alice.list_repo_commits(REPO)][-2:] == ["v1", "initial commit"])

    path = Path(hub.snapshot_download(REPO, revision="v1.0.0"))
    check("snapshot_download of a tag", path.name == first.oid and (path / "sub/notes.txt").read_text() == "hello")
    check("bytes", (path / "big.safetensors").read_bytes() == BIG)
    newer = Path(hub.snapshot_download(REPO))
    blobs = [(each / "big.safetensors").resolve() for each in (path, newer)]
    check("blobs are shared in the client's cache", blobs[0] == blobs[1], blobs)
    if hasattr(alice, "verify_repo_checksums"):  # not before 1.0
        check("verify_repo_checksums", not alice.verify_repo_checksums(REPO, revision="v1.0.0").mismatches)
    local = hub.hf_hub_download(REPO, "big.safetensors", revision=first.oid, local_dir=WORK / "local")
    check("hf_hub_download", Path(local).read_bytes() == BIG)

    files_of = hub.HfFileSystem()
    check("HfFileSystem", files_of.read_text(f"{REPO}@v1.0.0/sub/notes.txt") == "hello" and files_of.ls(REPO))
    with files_of.open(f"{REPO}/big.safetensors") as opened:
        opened.seek(1000)
        check("a range", opened.read(100) == BIG[1000:1100])
    header = alice.parse_safetensors_file_metadata(REPO, "pytorch_lora_weights.safetensors")
    check("the header alone", header.metadata.get("title") == "cat", header)

    raises("no such file", errors.EntryNotFoundError, lambda: hub.hf_hub_download(REPO, "nothing.bin"))
    raises("no such revision", errors.RevisionNotFoundError, lambda: alice.model_info(REPO, revision="v9"))
    raises("no such repository", errors.RepositoryNotFoundError, lambda: alice.model_info("alice/none"))
    upload: dict[str, Any] = {"path_or_fileobj": b"x", "path_in_repo": "x", "repo_id": REPO}
    raises("somebody else's", errors.HfHubHTTPError, lambda: bob.upload_file(**upload), 403)
    reader = hub.HfApi(token="hf_reader")
    raises("a token for reading", errors.HfHubHTTPError, lambda: reader.upload_file(**upload), 403)

    check("list_models", [model.id for model in alice.list_models(author="alice")] == [REPO])
    check("search", [model.id for model in alice.list_models(search="CAT", filter="flux")] == [REPO])
    check("search for what is not there", not list(alice.list_models(search="zebra")))
    alice.create_repo("alice/secret", private=True)
    raises("private", errors.RepositoryNotFoundError, lambda: bob.model_info("alice/secret"), 404)
    raises("private, to nobody", errors.RepositoryNotFoundError,
           lambda: hub.HfApi(token=False).model_info("alice/secret"), 401)  # fmt: skip
    check("private, to its reader", reader.model_info("alice/secret").private)
    check("private, in a list", "alice/secret" not in [model.id for model in bob.list_models()])
    alice.update_repo_settings("alice/secret", private=False)
    check("public again", not bob.model_info("alice/secret").private)

    card = hub.ModelCard.load(REPO)
    check("card", card.data.base_model == "black-forest-labs/FLUX.1-dev")
    bad: dict[str, Any] = {"path_or_fileobj": b"---\na: [\n---\n", "path_in_repo": "README.md", "repo_id": REPO}
    raises("a card that is no YAML", ValueError, lambda: alice.upload_file(**bad))
    alice.delete_tag(REPO, tag="v1.0.0")
    check("delete_tag", not alice.list_repo_refs(REPO).tags)
    alice.delete_repo("alice/secret")
    check("delete_repo", not alice.repo_exists("alice/secret"))
    sys.stdout.write(json.dumps(["the end", True, hub.__version__]) + "\n")


if __name__ == "__main__":
    main()
