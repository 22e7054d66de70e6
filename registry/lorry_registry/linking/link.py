"""Links: versions of the registry put where a tool looks for files, under names for people.

What stands there is a clone of the blob where the disk shares blocks between files, else a hard link, which is
read-only as blobs are and writes to the blob where somebody writes to it all the same, else a copy. A note in the
tool's folder says what was put there: nothing else is ever replaced or removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lorry.errors import Conflict, InvalidArgument, NotFound
from lorry.plugin.loader import Loader
from lorry_registry.disk import durable
from lorry_registry.home.blobs import MEND, measure
from lorry_registry.home.store import LocalStore, Resolved
from lorry_registry.linking.materialise import materialise
from lorry_registry.linking.note import HARD, SIDE, THERE, Link, read_note, write_note
from lorry_registry.linking.plan import Planned, plan
from lorry_registry.references.reference import Reference


def link(  # noqa: PLR0913  what is put where, and how
    store: LocalStore,
    found: Sequence[Resolved],
    tool: Loader,
    folder: Path,
    *,
    copied: bool = False,
    dry_run: bool = False,
) -> tuple[Link, ...]:
    """Put versions where a tool finds them, in a dialect that it loads right; return every file there is of them now.

    Another version of the same adapter takes the place of the one before, and so does a copy of a hard link, if they
    are to be `copied`. Raises NotFound where `folder` is missing,
    Incompatible for what no conversion brings into the tool, and Conflict for a file that is in the way; all this
    before anything is changed, so that either all of them are there or none.
    """
    _check(tool, folder)
    store.layout.scratch.prepare()
    held = read_note(folder)
    with durable.draft(store.layout.scratch.drafts) as room:
        room.mkdir()
        plans = {each: list(plan(store, each, tool, room / str(at))) for at, each in enumerate(found)}
        _check_all_free(folder, plans, held)
        links, put = dict(held), []
        for each, planned in plans.items():
            for file in planned:
                mine = held.get(file.path)
                done = None if copied and mine and mine.how == HARD else _there(folder, file, mine, each.reference)
                if done is None and dry_run:
                    done = Link(file.path, file.content.sha256, str(each.reference), file.how)
                done = done or _put(store, folder, file, each.reference, ours=mine is not None, copied=copied)
                put.append(done)
                if not dry_run and done.how != THERE:
                    links[file.path] = done
                    write_note(folder, links)
        adapters = {each.reference.adapter: {file.path for file in planned} for each, planned in plans.items()}
        old = [each for each in held.values() if each.path not in adapters.get(_adapter(each), {each.path})]
        if not dry_run:
            _remove(folder, old, links)
    return tuple(put)


def unlink(references: Sequence[str], folder: Path, *, dry_run: bool = False) -> tuple[Link, ...]:
    """Take away what was put in a tool's folder for these references, for all where there are none; return it.

    A reference without a version means whichever is there. Raises NotFound for one of which nothing is there, and
    Conflict for a file that was changed since.
    """
    if not folder.is_dir():
        raise NotFound(f"{folder} is no folder; name the one that a tool is installed in")
    links = read_note(folder)
    wanted = [Reference.parse(each) for each in references]
    gone: list[Link] = []
    for reference in wanted:
        mine = [each for each in links.values() if _means(reference, each)]
        if not mine:
            raise NotFound(f"nothing of {reference} was put in {folder}; it has {_names(links) or 'nothing at all'}")
        gone += mine
    gone = gone if wanted else list(links.values())
    if not dry_run:
        _remove(folder, gone, links)
    return tuple(gone)


def _check(tool: Loader, folder: Path) -> None:
    if not tool.layers:
        raise InvalidArgument(f"{tool.title} has no folder that it finds adapters in")
    if not folder.is_dir():
        raise NotFound(f"{folder} is no folder; name the one {tool.title} is installed in")


def _check_all_free(folder: Path, plans: Mapping[Resolved, Sequence[Planned]], held: Mapping[str, Link]) -> None:
    """Raise Conflict where two versions want one name, or something that is not theirs has it."""
    taken: dict[str, Reference] = {}
    for each, planned in plans.items():
        for file in planned:
            other = taken.setdefault(file.path.casefold(), each.reference)
            if other != each.reference:
                raise Conflict(f"{other} and {each.reference} would both be {file.path}; link one of them elsewhere")
            _check_free(folder, file, held.get(file.path), each.reference)


def _check_free(folder: Path, file: Planned, mine: Link | None, reference: Reference) -> None:
    target = folder / file.path
    if not _exists(target) or file.how == SIDE or _holds(target, file.content.sha256):
        return
    if mine is None:
        raise Conflict(f"{target} is there, and lorry did not put it there; move it away, or keep that one")
    if _adapter(mine) != reference.adapter:
        raise Conflict(f"{target} is there for {mine.reference}; take that away first: lorry unlink {mine.reference}")
    if not _holds(target, mine.sha256):
        raise Conflict(f"{_changed(target, mine)}; move it away")


def _changed(target: Path, link: Link) -> str:
    """Say that a file was changed, and what else was changed with it where it is still another name of a blob."""
    told = f"{target} was changed since lorry put it there"
    if link.how != HARD or target.lstat().st_nlink == 1:
        return told
    return (
        f"{told}, and is a hard link: what was written to it stands in the registry too, where lorry verify "
        f"{link.reference} tells of it; {MEND}; lorry link --copy puts there what may be written to"
    )


def _exists(target: Path) -> bool:
    return target.exists() or target.is_symlink()


def _holds(target: Path, sha256: str) -> bool:
    return target.is_file() and not target.is_symlink() and measure(target).sha256 == sha256


def _there(folder: Path, file: Planned, mine: Link | None, reference: Reference) -> Link | None:
    """Return what is there and stays: the bytes that are wanted, or a side file that a person made or changed."""
    target = folder / file.path
    if not _exists(target):
        return None
    ours = mine is not None and _holds(target, mine.sha256)
    if ours and mine and mine.sha256 != file.content.sha256:
        return None
    how = mine.how if ours and mine else THERE
    return Link(file.path, file.content.sha256, str(reference), how, new=False)


def _put(  # noqa: PLR0913  what is put where, and how
    store: LocalStore, folder: Path, file: Planned, reference: Reference, *, ours: bool, copied: bool
) -> Link:
    """Put one file there, in place of another one of ours."""
    target = folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    with durable.draft(target.parent) as path:
        draft = path.with_name(f".{path.name}.part")  # which tools do not list
        try:
            how = materialise(store, file, draft, copied=copied)
            if ours:
                durable.put(draft, target)
            elif not durable.put_new(draft, target):
                raise Conflict(f"{target} appeared meanwhile; it was left as it is")
        finally:
            draft.unlink(missing_ok=True)
    return Link(file.path, file.content.sha256, str(reference), file.how or how)


def _remove(folder: Path, gone: Sequence[Link], links: Mapping[str, Link]) -> None:
    """Take files away, and write down what is left.

    Raises Conflict for one that was changed, before any is gone; a side file that a person changed stays.
    """
    there = [each for each in gone if _exists(folder / each.path)]
    mine = [each for each in there if _holds(folder / each.path, each.sha256)]
    changed = [each for each in there if each not in mine and each.how != SIDE]
    if changed:
        told = _changed(folder / changed[0].path, changed[0])
        raise Conflict(f"{told}; move it away, and say the same again for the others")
    for each in mine:
        (folder / each.path).unlink()
    write_note(folder, {path: each for path, each in links.items() if each not in gone})


def _adapter(link: Link) -> str:
    return link.reference.partition("@")[0]


def _means(reference: Reference, link: Link) -> bool:
    return link.reference == str(reference) or (reference.selector is None and _adapter(link) == reference.adapter)


def _names(links: Mapping[str, Link]) -> str:
    return ", ".join(sorted({each.reference for each in links.values()}))
