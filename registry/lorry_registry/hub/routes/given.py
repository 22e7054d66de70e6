"""What a call is given: who calls, and the repository it is about."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from lorry.errors import InvalidArgument
from lorry_registry.hub.answers import Refusal
from lorry_registry.hub.commits import Commit
from lorry_registry.hub.hub import Hub, HubRepository
from lorry_registry.hub.possession import Possession
from lorry_registry.hub.settings import Settings
from lorry_registry.hub.tokens import Caller
from lorry_registry.hub.xet import XetArea

_BEARER = "bearer "
_SHOWN = 6


def the_settings(request: Request) -> Settings:
    """Return how this server behaves."""
    settings: Settings = request.app.state.settings
    return settings


def the_hub(request: Request) -> Hub:
    """Return the repositories."""
    hub: Hub = request.app.state.hub
    return hub


def the_caller(request: Request, settings: Annotated[Settings, Depends(the_settings)]) -> Caller | None:
    """Return who calls, None for nobody in particular; refuse a token that is none."""
    told = request.headers.get("authorization", "")
    if not told:
        return None
    token = told[len(_BEARER) :].strip() if told.lower().startswith(_BEARER) else ""
    caller = settings.tokens.find(token)
    if caller is None:
        # Clients know this sentence from the Hub's own answer.
        raise Refusal(401, "Invalid credentials in Authorization header")
    return caller


def the_xet_area(request: Request) -> XetArea | None:
    """Return where clients upload by xet, None where they cannot."""
    area: XetArea | None = request.app.state.xet
    return area


SettingsGiven = Annotated[Settings, Depends(the_settings)]
HubGiven = Annotated[Hub, Depends(the_hub)]
XetGiven = Annotated[XetArea | None, Depends(the_xet_area)]
CallerGiven = Annotated[Caller | None, Depends(the_caller)]


def a_writer(caller: CallerGiven, settings: SettingsGiven, hub: HubGiven) -> Caller:
    """Return who calls to change something; refuse who may change nothing at all."""
    if settings.read_only or not hub.store.layout.writable:
        raise Refusal(403, "this server is read-only")
    if caller is None:
        raise Refusal(401, "a token is needed to change anything here")
    if caller.role != "write":
        raise Refusal(403, f"the token of {caller.name} is for reading only")
    return caller


WriterGiven = Annotated[Caller, Depends(a_writer)]


def readable(namespace: str, name: str, hub: HubGiven, caller: CallerGiven, settings: SettingsGiven) -> HubRepository:
    """Return a repository that the caller may see; what they may not see is not there."""
    missing = Refusal(404 if caller else 401, f"Repository not found: {namespace}/{name}", "RepoNotFound")
    if caller is None and not settings.anonymous:
        raise missing
    try:
        repository = hub.repository(namespace, name)
    except InvalidArgument:
        raise missing from None
    if not repository.exists or not may_see(repository, caller):
        raise missing
    return repository


def may_see(repository: HubRepository, caller: Caller | None) -> bool:
    """Tell whether a repository is there for somebody."""
    return not repository.written.private or (caller is not None and caller.belongs_to(repository.reference.namespace))


Readable = Annotated[HubRepository, Depends(readable)]


def writable(repository: Readable, writer: WriterGiven) -> HubRepository:
    """Return a repository that the caller may change."""
    refuse_other(writer, repository.reference.namespace)
    return repository


def refuse_other(writer: Caller, namespace: str) -> None:
    """Refuse a change in a namespace that is not the caller's."""
    if not writer.may_write(namespace):
        raise Refusal(403, f"{writer.name} has no right to write to {namespace}")


Writable = Annotated[HubRepository, Depends(writable)]


def the_possession(repository: Writable, writer: WriterGiven, hub: HubGiven, area: XetGiven) -> Possession:
    """Return what the caller has, of what they may say is in a commit."""
    visible = (each for each in hub.repositories() if may_see(each, writer))
    return Possession(writer.name, repository, visible, area)


PossessionGiven = Annotated[Possession, Depends(the_possession)]


def at_revision(repository: Readable, revision: str) -> Commit:
    """Return the commit that the revision in the address names."""
    found = repository.find(revision)
    if found is None:
        known = [*repository.branches(), *reversed(repository.tags())]
        shown = ", ".join(known[:_SHOWN]) + (" …" if len(known) > _SHOWN else "")
        raise Refusal(404, f"Invalid rev id: {revision}; {repository.id} has {shown}", "RevisionNotFound")
    return found


AtRevision = Annotated[Commit, Depends(at_revision)]
