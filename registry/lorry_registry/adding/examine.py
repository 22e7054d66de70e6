"""Examining other people's files: what is found wrong with them, and what would be published of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lorry.errors import LorryError
from lorry.ops.judging.findings import ACCEPT, REJECT, WARN, Finding
from lorry.ops.judging.validate import validate
from lorry.ops.reading.files import is_container, is_program
from lorry.ops.reading.identify import claimed_base
from lorry.ops.reading.read import open_adapter
from lorry.plugin.fetched import Facts
from lorry.plugin.host import Host, host
from lorry_registry.adding.convert import converted
from lorry_registry.adding.quarantine import Examined, Original
from lorry_registry.home.blobs import measure

PICTURES: Mapping[str, tuple[bytes, ...]] = {
    ".png": (b"\x89PNG\r\n\x1a\n",),
    ".jpg": (b"\xff\xd8\xff",),
    ".jpeg": (b"\xff\xd8\xff",),
    ".webp": (b"RIFF",),
}
"""How the pictures begin that may go with an adapter."""

TEXTS = (".md", ".txt", ".json", ".info", ".yaml", ".toml")
_LARGEST_TEXT, _LARGEST_PICTURE = 1 << 20, 32 << 20
_LEVELS = (ACCEPT, WARN, REJECT)


def examine(files: Sequence[Path], facts: Facts) -> Examined:
    """Look at the files of one adapter, in a folder that nobody else writes to, and at what is said of them.

    Nothing is taken on trust: hashes told are held against the bytes, tensors are read as `lorry validate` does, what
    is no tensors must be a picture or text. Pickles are converted to safetensors, unless something is rejected.
    """
    plugins = host()
    originals = tuple(Original(file.name, *measure(file)) for file in files)
    found = [*_lies(files, facts), *_strangers(files, plugins)]
    if not found:
        found += validate(files).findings
    if _worst(found) != REJECT:
        try:
            made = [converted(file) if is_program(file, plugins) else file for file in files]
        except LorryError as error:
            found.append(Finding(REJECT, files[0].name, f"it cannot be made a safetensors file: {error}"))
        else:
            found += validate(made).findings if made != list(files) else ()
            found += _claims(made, facts, plugins)
            files = made
    ordered = sorted(dict.fromkeys(found), key=lambda each: -_LEVELS.index(each.level))
    return Examined(
        files=tuple(files), originals=originals, facts=facts, verdict=_worst(found), findings=tuple(ordered)
    )


def _worst(found: Sequence[Finding]) -> str:
    return max((each.level for each in found), key=_LEVELS.index, default=ACCEPT)


def _lies(files: Sequence[Path], facts: Facts) -> Iterator[Finding]:
    """Yield the hashes told that are not those of the bytes."""
    for file in files:
        told = {name: digits.lower() for name, digits in facts.hashes.get(file.name, {}).items()}
        if not told:
            continue
        from lorry.ops.disk.hashes import hash_file

        have = hash_file(file).named()
        for name, digits in told.items():
            # Civitai tells the first digits of AutoV3 alone; a hash of a kind we do not know tells nothing.
            if name in have and not (digits and have[name].startswith(digits)):
                what = f"the source says that its {name} is {digits[:64]}, and of these bytes it is {have[name]}"
                yield Finding(REJECT, file.name, what)


def _strangers(files: Sequence[Path], plugins: Host) -> Iterator[Finding]:
    """Yield the files that are neither tensors nor what may go with them."""
    for file in files:
        if is_container(file, plugins):
            continue
        suffix, size = file.suffix.lower(), file.stat().st_size
        if suffix in PICTURES:
            with file.open("rb") as reader:
                head = reader.read(8)
            if size > _LARGEST_PICTURE or not head.startswith(PICTURES[suffix]):
                yield Finding(REJECT, file.name, "is not the picture that its name says")
        elif suffix in TEXTS:
            if size > _LARGEST_TEXT or not _is_text(file):
                yield Finding(REJECT, file.name, "is not the short text that its name says")
        elif len(files) > 1:  # one file alone is judged as the adapter it should be
            yield Finding(REJECT, file.name, "is neither tensors, nor a picture, nor text")


def _is_text(file: Path) -> bool:
    try:
        file.read_text(encoding="utf-8")
    except ValueError:
        return False
    return True


def _claims(files: Sequence[Path], facts: Facts, plugins: Host) -> Iterator[Finding]:
    """Yield the base that the source names where the tensors say otherwise."""
    claimed = claimed_base(facts.base, plugins) if facts.base else ""
    if not claimed:
        return
    adapter = open_adapter(list(files), plugins=plugins)
    titles = {name: model.title for name, model in plugins.base_models().items()}
    doubt = dict(adapter.report.ambiguous).get("base", "")
    if claimed != adapter.base and titles[claimed] not in doubt:
        what = (
            f"the source says it is for {titles[claimed]} ({facts.base[:80]}), the tensors say {titles[adapter.base]}"
        )
        yield Finding(WARN, files[0].name, what)
