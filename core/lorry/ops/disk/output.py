"""Writing without ever leaving half a file: a temporary name beside the target, then one rename."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

from lorry.errors import Conflict, InvalidArgument, LorryError, NotFound
from lorry.ops.disk.alone import alone


@contextmanager
def replacing(target: Path, *, force: bool = False, job: str = "") -> Iterator[Path]:
    """Yield a new path beside `target` to write a file or folder at, and rename it there at the end.

    Whatever is raised inside, Ctrl-C included, the new path is removed and `target` is as it was; a link is
    followed. Raises Conflict where something is at `target` already, unless `force`, and even then where that
    would lose more than a file or folder of the same making; NotFound where its folder is missing; InvalidArgument
    for ".", ".." and "/", beside which no draft would have a name; LorryError where the system refuses to write there.

    `job` names what a folder is made of. Where that is stopped from outside (Ctrl-C, a full disk), the new path stays
    with what is finished in it, which a note on the error tells, and the same job is given it again, one at a time:
    Conflict. What goes into it must be written through `replacing` too, so that everything there is whole.
    """
    target = Path(target)
    check_target(target, force=force)
    target = _followed(target)
    if _exists(target) and not (target.is_file() or target.is_dir()):
        raise Conflict(f"{target} is neither a file nor a folder and is never replaced; choose another output")
    draft = target.parent / f".{target.name}.{job or os.urandom(4).hex()}.part"
    with alone(draft, target) if job else nullcontext(), _removed(draft, job):
        try:
            yield draft
            _sync(draft)
            _check_nothing_else_goes(draft, target)
            if _exists(target) and not force:
                raise Conflict(f"{target} appeared meanwhile; nothing was written")
            if draft.is_dir() or target.is_dir():
                _replace_folder(draft, target)
            elif force:
                draft.replace(target)
            else:
                _move_new(draft, target)
        except OSError as error:
            if error.errno is None or not _about(error, draft):
                raise
            raise LorryError(f"{target} was not written: {target.parent}: {error.strerror}") from error


def check_target(target: Path, *, force: bool = False) -> None:
    """Raise what `replacing` would raise at once: for what takes long before there is something to write."""
    if target.name in ("", ".."):
        raise InvalidArgument(f"{target} cannot be written as a whole; give the output a name of its own")
    if not target.parent.is_dir():
        raise NotFound(f"{target.parent} is not a folder; make it first, or choose another output")
    folder = _followed(target).parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise LorryError(f"{target} cannot be written: {folder} may not be written in; choose another output")
    if _exists(target) and not force:
        raise Conflict(f"{target} exists; choose another output, or say --force to replace it")


def check_outputs(named: Mapping[str, str | None], *, force: bool = False) -> None:
    """Check several targets, by the options that name them; raise InvalidArgument where two are one path."""
    taken: dict[Path, str] = {}
    for option, name in named.items():
        if name:
            first = taken.setdefault(Path(name).resolve(), option)
            if first != option:
                raise InvalidArgument(f"{first} and {option} are both {name}; give each a file of its own")
            check_target(Path(name), force=force)


@contextmanager
def _removed(draft: Path, job: str) -> Iterator[None]:
    """Remove a draft in the end, unless it is a job's, which was stopped from outside with something finished."""
    if job:
        for unfinished in draft.rglob("*.part"):
            remove(unfinished)
    try:
        yield
    except BaseException as error:
        finished = sum(path.is_file() for path in draft.rglob("*")) if job and _from_outside(error) else 0
        if finished:
            what = "1 file is" if finished == 1 else f"{finished} files are"
            error.add_note(f"{what} finished and kept in {draft}; the same command goes on from there")
        else:
            remove(draft)
        raise
    remove(draft)


def _from_outside(error: BaseException) -> bool:
    """Tell whether an error may be gone the next time: an interruption, or what the system refused."""
    return not isinstance(error, LorryError) or isinstance(error.__cause__, OSError)


def _check_nothing_else_goes(draft: Path, target: Path) -> None:
    """Refuse to replace a folder with a file, a file with a folder, or a folder that holds what the new one lacks."""
    if not target.exists():
        return
    if draft.is_dir() != target.is_dir():
        was, new = ("folder", "file") if target.is_dir() else ("file", "folder")
        raise Conflict(f"{target} is a {was}, and a {new} would take its place; choose another output")
    if draft.is_dir():
        mine = {path.relative_to(draft) for path in draft.rglob("*")}
        others = sorted(path.relative_to(target) for path in target.rglob("*") if path.relative_to(target) not in mine)
        if others:
            raise Conflict(f"{target} holds {others[0]}, which would be lost; choose another output, or move it away")


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _about(error: OSError, draft: Path) -> bool:
    """Tell whether the system refused something about the draft; it names no file where a write failed."""
    return error.filename is None or Path(os.fsdecode(error.filename)).is_relative_to(draft)


def _followed(target: Path) -> Path:
    return target.resolve() if target.is_symlink() else target


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _sync(path: Path) -> None:
    files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    for file in files:
        with file.open("rb+") as handle:
            os.fsync(handle.fileno())


def _move_new(draft: Path, target: Path) -> None:
    """Rename onto a name that must still be free: a link refuses where a rename would replace."""
    try:
        os.link(draft, target)
    except FileExistsError as error:
        raise Conflict(f"{target} appeared meanwhile; nothing was written") from error
    except OSError:  # no hard links on this disk (FAT, some network ones)
        draft.rename(target)


def _replace_folder(draft: Path, target: Path) -> None:
    """Move the old one aside first: a folder cannot be renamed onto another. Ctrl-C too puts it back."""
    aside = target.parent / f".{target.name}.{os.urandom(4).hex()}.old"
    try:
        if _exists(target):
            target.rename(aside)
        draft.rename(target)
    except BaseException:
        if _exists(aside) and not _exists(target):
            aside.rename(target)
        raise
    for old in target.parent.glob(f".{glob.escape(target.name)}.{'?' * 8}.old"):  # of interrupted removals too
        remove(old)
