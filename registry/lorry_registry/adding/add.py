"""Adding: foreign files through quarantine, examined, and published with where they came from."""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from lorry.errors import Conflict, InvalidArgument, LorryError, LorryWarning, VerificationFailed
from lorry.ops.disk.output import remove
from lorry.ops.judging.findings import REJECT, WARN
from lorry.ops.reading.files import is_container, is_program
from lorry.plugin.fetched import PART, Facts, Limits
from lorry.plugin.host import host
from lorry_registry.adding.convert import CONTAINER
from lorry_registry.adding.examine import examine
from lorry_registry.adding.naming import named, title_of
from lorry_registry.adding.origins import Local, Origin, Remote, origins, reason
from lorry_registry.adding.quarantine import Examined, Quarantine, lawful
from lorry_registry.disk import durable
from lorry_registry.home.blobs import measure
from lorry_registry.home.index import find_file
from lorry_registry.home.store import LocalStore, Resolved
from lorry_registry.publishing.publish import choose, drafted
from lorry_registry.references.reference import Reference
from lorry_registry.version.card import Card

ADDED, ALREADY, WAITS, REFUSED = "added", "already here", "waits", "refused"


class Wishes(NamedTuple):
    """How to add: the namespace of what brings no name, whether to let in what is warned of, and what a fetch may take.

    `look_up` says that the stores may be asked over the network what they know of a local file. `in_place` says that
    weights stay where they are: the registry holds a link to them, and they are neither converted nor in quarantine.
    """

    namespace: str = "foreign"
    warned: bool = False
    limits: Limits = Limits()
    look_up: bool = False
    in_place: bool = False


class Outcome(NamedTuple):
    """What became of one adapter.

    outcome: "added" and "already here" (`reference`, `manifest`), "waits" (in quarantine as `id`, until a person
    decides), "refused" (in quarantine too where it was fetched). why: the worst finding, or what else stands against
    it. step: what to do about it. error: where it was refused before it could be examined.
    """

    source: str
    outcome: str
    why: str = ""
    reference: str = ""
    manifest: str = ""
    id: str = ""
    step: str = ""
    examined: Examined | None = None
    error: LorryError | None = None


def add(store: LocalStore, sources: Sequence[str], target: Reference | None, wishes: Wishes) -> Iterator[Outcome]:
    """Bring foreign adapters into the registry, one after the other; yield what became of each.

    With `target`, an exact reference, all sources are the files of that one version; else every file, every adapter
    below a folder and every address is one for itself. Raises only for what concerns them all.
    """
    plugins = host()
    found = list(origins(sources, plugins, wishes.limits, together=target is not None))
    if target is not None and len(found) > 1:
        raise InvalidArgument(f"{target} is one version, and {found[0]} and {found[1]} are two; add them one by one")
    store.layout.prepare()
    for origin in found:
        try:
            origin.check(plugins)
            yield _add(store, origin, target, wishes)
        except LorryError as error:
            yield Outcome(str(origin), REFUSED, reason(error, origin), error=error)
        except OSError as error:
            why = durable.reason(error)
            yield Outcome(str(origin), REFUSED, why, error=LorryError(f"{origin}: {why}"))


def accept(store: LocalStore, examined: Examined, target: Reference | None = None) -> Resolved:
    """Publish what waits in quarantine, under its own name or another, and so take it out of there.

    It is examined again. Raises VerificationFailed for what is rejected, which nothing lets in.
    """
    again = examine(examined.files, examined.facts._replace(hashes={}))
    if not (lawful(examined) and lawful(again)):
        worst = examined if not lawful(examined) else again
        raise VerificationFailed(f"{examined.id} was rejected, and is never let in: {worst.worst}")
    reference = target or Reference.parse(examined.wanted)
    return _publish(store, examined, reference)


def _add(store: LocalStore, origin: Origin, target: Reference | None, wishes: Wishes) -> Outcome:
    with _room(store, origin) as room:
        adopted = _weights(origin) if wishes.in_place else ()
        files, facts = origin.bring(room, leave=adopted)
        if wishes.look_up and isinstance(origin, Local):
            facts = _looked_up(files, facts, wishes.limits)
        examined = examine(files, facts)
        known = origin.paths[0] if isinstance(origin, Local) else files[0]
        wanted = target or named(wishes.namespace, facts.title or title_of(known), examined.originals[0].sha256)
        examined = replace(examined, wanted=str(wanted), source=_source(origin, facts))
        told = Outcome(str(origin), REFUSED, examined.worst, examined=examined)
        if examined.verdict == REJECT:
            # What lies on this machine stays where it is; what was fetched is kept to be looked at.
            return _kept(store, told, examined) if isinstance(origin, Remote) else told
        if target is None and (there := _held(store, examined)):
            for file in adopted:  # it may have been somewhere else the last time
                with durable.draft(store.layout.drafts) as link:
                    link.symlink_to(file.resolve())
                    store.blobs.add(link, measure(file))
            return told._replace(outcome=ALREADY, why="", reference=str(there.reference), manifest=there.digest)
        if examined.verdict == WARN and not wishes.warned:
            return _waiting(store, told, examined, adopted, "lorry add -y lets it in")
        try:
            resolved = _publish(store, examined, wanted, adopted)
        except Conflict as error:
            if target is not None:
                raise
            step = "give it another name: lorry add FILE NS/NAME@VERSION"
            return _waiting(store, told._replace(why=str(error)), examined, adopted, step)
        return told._replace(outcome=ADDED, reference=str(resolved.reference), manifest=resolved.digest)


def _source(origin: Origin, facts: Facts) -> str:
    """Say where it came from; the query of an address may hold a secret, so the store says what is told of it."""
    return " ".join(str(path.absolute()) for path in origin.paths) if isinstance(origin, Local) else facts.source


def _weights(origin: Origin) -> tuple[Path, ...]:
    """Return the files that stay where they are; raise InvalidArgument where that cannot be."""
    if isinstance(origin, Remote):
        raise InvalidArgument(f"{origin} is fetched, so that it has no place of its own; leave --in-place out")
    plugins = host()
    files = [file for file in choose(origin.paths).values() if is_container(file, plugins)]
    program = next((file for file in files if is_program(file, plugins)), None)
    if program:
        raise InvalidArgument(f"{program} is a pickle, of which the registry needs a copy; leave --in-place out")
    return tuple(files)


def _waiting(store: LocalStore, told: Outcome, examined: Examined, adopted: Sequence[Path], step: str) -> Outcome:
    """Keep it in quarantine, unless it stays where it is: then `step` says what lets it in."""
    if adopted:
        return told._replace(outcome=WAITS, step=step)
    return _kept(store, told._replace(outcome=WAITS), examined)


def _kept(store: LocalStore, told: Outcome, examined: Examined) -> Outcome:
    name = Quarantine(store.layout).put(examined)
    return told._replace(id=name, step=f"see lorry quarantine show {name}")


@contextmanager
def _room(store: LocalStore, origin: Origin) -> Iterator[Path]:
    """Yield a folder for what an origin brings; an address finds there what an interrupted fetch of it left."""
    if isinstance(origin, Local):
        with durable.draft(store.layout.drafts) as folder:
            folder.mkdir()
            yield folder
        return
    from filelock import FileLock, Timeout

    folder = store.layout.drafts / origin.key
    try:
        with FileLock(f"{folder}.lock", timeout=0):
            folder.mkdir(exist_ok=True)
            try:
                yield folder
            finally:
                if not any(folder.glob(f"*{PART}")):
                    remove(folder)
    except Timeout:
        raise Conflict(f"{origin} is being fetched by another process; wait for that one") from None


def _looked_up(files: Sequence[Path], facts: Facts, limits: Limits) -> Facts:
    """Return what a store knows of a file by its hashes; what side files say stands where none knows it."""
    from lorry.ops.disk.hashes import hash_file

    for store in [each for each in host().stores().values() if each.look_up]:
        module, _, attribute = store.look_up.partition(":")
        look_up = getattr(importlib.import_module(module), attribute)
        for file in files:
            try:
                found: Facts | None = look_up(hash_file(file), limits)
            except LorryError as error:
                warnings.warn(f"{store.title} could not be asked: {error}", LorryWarning, stacklevel=2)
                break
            if found:
                words = found.trigger_words or facts.trigger_words
                told = next(iter(found.hashes.values()), {})
                return found._replace(trigger_words=words, hashes={file.name: told})
    return facts


def _held(store: LocalStore, examined: Examined) -> Resolved | None:
    """Return the lowest version that holds these very files, under whatever name."""
    weights = [file for file in examined.files if file.suffix.lower() == f".{CONTAINER}"]
    found = [set(find_file(store, measure(file).sha256)) for file in weights]
    shared = sorted(set.intersection(*found), key=str) if found else []
    return Resolved(*shared[0]) if shared else None


def _publish(store: LocalStore, examined: Examined, reference: Reference, adopted: Sequence[Path] = ()) -> Resolved:
    """Publish an adapter, and delete what an earlier try left of it in quarantine."""
    facts = examined.facts
    card = Card(
        title=facts.title,
        description=facts.description,
        license=facts.license,
        authors=facts.authors,
        tags=facts.tags,
        trigger_words=facts.trigger_words,
    )
    recipe = _recipe(examined)
    made = drafted(store, reference, examined.files, card=card, recipe=recipe, foreign=True, adopted=adopted)
    with made as draft:
        draft.publish()
        Quarantine(store.layout).rm(examined.id)
        return Resolved(draft.manifest.reference, draft.digest)


def _recipe(examined: Examined) -> str:
    """Say how it came here: from where, which bytes, and what the source claimed of the base."""
    told = {
        "op": "import",
        "files": [each._asdict() for each in examined.originals],
        "source": examined.facts.source,
        "base": examined.facts.base,
    }
    return json.dumps({name: value for name, value in told.items() if value})
