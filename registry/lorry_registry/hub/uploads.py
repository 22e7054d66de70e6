"""Large files on their way in: straight to the disk, hashed on the way, and kept if they are what was announced."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from lorry.errors import InvalidArgument, InvalidFile
from lorry_registry.disk import durable
from lorry_registry.home.blobs import Content
from lorry_registry.home.store import LocalStore

PART = 32 << 20
"""Bytes of a part, where a file comes in several."""


def part_sizes(size: int) -> list[int]:
    """Return the bytes of each part of a file."""
    return [min(PART, size - start) for start in range(0, size, PART)]


async def receive(store: LocalStore, content: Content, chunks: AsyncIterator[bytes]) -> None:
    """Take in a whole file; raise InvalidFile, and keep nothing, where its bytes are not the announced ones."""
    store.layout.prepare()
    with durable.draft(store.layout.drafts) as draft:
        found = await _write(draft, chunks, content.size)
        _keep(store, draft, content, found)


async def receive_part(store: LocalStore, content: Content, number: int, chunks: AsyncIterator[bytes]) -> str:
    """Take in a part of a file, to be joined with the others by `join`; return its sha256."""
    store.layout.prepare()
    with durable.draft(store.layout.drafts) as draft:
        size = part_sizes(content.size)[number]
        found = await _write(draft, chunks, size)
        if found.size != size:
            raise InvalidFile(f"part {number + 1} has {found.size:,} bytes, and {size:,} were announced")
        draft.replace(_part(store, content, number))
        return found.sha256


def join(store: LocalStore, content: Content) -> None:
    """Make a file of its parts; raise InvalidArgument where one is missing, InvalidFile for other bytes."""
    parts = [_part(store, content, number) for number in range(len(part_sizes(content.size)))]
    missing = [number for number, path in enumerate(parts, start=1) if not path.is_file()]
    if missing:
        raise InvalidArgument(f"part {missing[0]} of sha256 {content.sha256} was not uploaded")
    digest, size = hashlib.sha256(), 0
    with durable.draft(store.layout.drafts) as draft:
        with durable.open_new(draft, durable.READ_ONLY) as writer:
            for path in parts:
                data = path.read_bytes()
                digest.update(data)
                size += writer.write(data)
        for path in parts:
            path.unlink(missing_ok=True)
        _keep(store, draft, content, Content(digest.hexdigest(), size))


async def _write(draft: Path, chunks: AsyncIterator[bytes], most: int) -> Content:
    digest, size = hashlib.sha256(), 0
    with durable.open_new(draft, durable.READ_ONLY) as writer:
        async for chunk in chunks:
            size += len(chunk)
            if size > most:
                raise InvalidFile(f"more bytes came than the {most:,} that were announced; nothing was kept")
            digest.update(chunk)
            writer.write(chunk)
    return Content(digest.hexdigest(), size)


def _keep(store: LocalStore, draft: Path, announced: Content, found: Content) -> None:
    if found != announced:
        raise InvalidFile(f"the bytes that came have sha256 {found.sha256}, and {announced.sha256} was announced")
    store.blobs.add(draft, announced)


def _part(store: LocalStore, content: Content, number: int) -> Path:
    return store.layout.drafts / f"hub-{content.sha256}-{content.size}-{number}"
