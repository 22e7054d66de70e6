"""From a path to a tensor map: which container reads it."""

from __future__ import annotations

from pathlib import Path

from lorry.errors import InvalidFile, NotFound, NotRecognised
from lorry.ir.tensor_map import TensorMap
from lorry.plugin.container import Container
from lorry.plugin.host import Host, host


def read_file(path: Path, plugins: Host | None = None) -> tuple[Container, TensorMap]:
    """Read a file or folder through the container whose sniff accepts it.

    Raises NotFound for a missing path, InvalidFile for an empty or broken file, and NotRecognised where
    no installed container reads it, saying what it looks like.
    """
    plugins = plugins or host()
    path = Path(path)
    if not path.exists():
        raise NotFound(f"{path} does not exist; check the path")
    if path.is_file() and path.stat().st_size == 0:
        raise InvalidFile(f"{path} is empty (0 bytes); the download or copy was cut off, fetch it again")
    for container in plugins.containers().values():
        if container.sniff(path):
            return container, container.read(path)
    known = ", ".join(container.title for container in plugins.containers().values())
    raise NotRecognised(f"{path} {looks_like(path)}; what lorry reads: {known or 'nothing, with these plugins'}")


def is_container(path: Path, plugins: Host) -> bool:
    """Tell whether a file holds tensors, as a container sees it."""
    return any(each.sniff(path) for each in plugins.containers().values())


def is_program(path: Path, plugins: Host) -> bool:
    """Tell whether a file's bytes are instructions, as a pickle's are."""
    return any(each.program and each.sniff(path) for each in plugins.containers().values())


def inside(folder: Path, file: Path) -> Path:
    """Return the file; raise InvalidFile for a link out of its folder, which could bring in any file of this machine.

    A snapshot in the Hub's cache consists of links to the `blobs` one or two folders above; they are taken.
    """
    home, real = folder.resolve(), file.resolve()
    cache = next((each.parent for each in home.parents if each.name == "snapshots"), None)
    roots = [home, *([cache / "blobs", cache.parent / "blobs"] if cache else [])]
    if not any(root in real.parents for root in roots):
        raise InvalidFile(f"{file} is a link to {real}, outside its folder; copy the file itself there")
    return file


_SIGNATURES = (
    (b"\x89PNG", "is a PNG picture"),
    (b"\xff\xd8\xff", "is a JPEG picture"),
    (b"RIFF", "is a RIFF file (WebP picture, sound or video)"),
    (b"GGUF", "is a GGUF file: quantised weights, which no arithmetic here can use"),
    (b"PK", "is a zip archive, but not one that torch wrote"),
    (b"version https://git-lfs", "is a git-lfs pointer, not the file itself: run git lfs pull"),
    (b"<!DOCTYPE", "is a web page: the download needs a login, or the address is wrong"),
    (b"<html", "is a web page: the download needs a login, or the address is wrong"),
    (b"{", "is JSON, but no adapter"),
    (b"[", "is JSON, but no adapter"),
)


def looks_like(path: Path) -> str:
    """Say in words what the path seems to be, for an error message."""
    if path.is_dir():
        if (path / "model_index.json").exists() or any(path.glob("*/config.json")):
            return "is a base model's folder, not an adapter's"
        return "is a folder that holds no adapter"
    if not path.is_file():  # a pipe would be waited for
        return "is neither a file nor a folder"
    with path.open("rb") as file:
        head = file.read(64)
    return next((text for magic, text in _SIGNATURES if head.startswith(magic)), "is no container of tensors")
