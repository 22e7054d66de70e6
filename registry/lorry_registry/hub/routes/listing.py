"""Which repositories there are, and what is in one."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from lorry.errors import LorryError, VerificationFailed
from lorry_registry.hub.answers import Refusal, card_data, told_in_list, told_repository, told_tags
from lorry_registry.hub.hub import HubRepository
from lorry_registry.hub.routes.given import AtRevision, CallerGiven, HubGiven, Readable, SettingsGiven, may_see
from lorry_registry.hub.tokens import Caller

router = APIRouter()
_PAGE = 1000


@router.get("/api/models")
def list_models(  # noqa: PLR0913, PLR0917  what a list can be asked for
    request: Request,
    hub: HubGiven,
    caller: CallerGiven,
    settings: SettingsGiven,
    author: str = "",
    search: str = "",
    limit: int = _PAGE,
    after: str = "",
) -> JSONResponse:
    """List the repositories the caller may see, by name; a page at a time, with the next in the Link header."""
    if caller is None and not settings.anonymous:
        raise Refusal(401, "a token is needed to list repositories")
    wanted = [each for value in request.query_params.getlist("filter") for each in value.split(",")]
    rows: list[dict[str, Any]] = []
    for repository in hub.repositories():
        name = repository.id
        if name <= after or not _shown(repository, caller):
            continue
        if (author and repository.reference.namespace != author.lower()) or search.lower() not in name:
            continue
        row = _row(repository, with_card=bool(wanted) or "full" in request.query_params)
        if not set(wanted) <= set(row["tags"]):
            continue
        if len(rows) == max(1, min(limit, _PAGE)):
            return JSONResponse(rows, headers={"Link": _next(request, rows[-1]["id"])})
        rows.append(row)
    return JSONResponse(rows)


@router.get("/api/models/{namespace}/{name}")
def info(repository: Readable, request: Request) -> dict[str, Any]:
    """Tell a repository as main has it."""
    commit = repository.commit(repository.main())
    return told_repository(repository, commit, blobs="blobs" in request.query_params)


@router.get("/api/models/{namespace}/{name}/revision/{revision:path}")
def info_at(repository: Readable, commit: AtRevision, request: Request) -> dict[str, Any]:
    """Tell a repository as a revision has it."""
    return told_repository(repository, commit, blobs="blobs" in request.query_params)


@router.get("/api/models/{namespace}/{name}/auth-check")
def auth_check(_: Readable) -> dict[str, Any]:
    """Tell by the status alone that the caller may read here."""
    return {}


def _shown(repository: HubRepository, caller: Caller | None) -> bool:
    """Tell whether the caller may see a repository; where that is not known, nobody does."""
    try:
        return may_see(repository, caller)
    except VerificationFailed:
        return False


def _row(repository: HubRepository, *, with_card: bool) -> dict[str, Any]:
    """Tell a repository in a list; one that is damaged is told as disabled, and not in the way of the others."""
    try:
        commit_id = repository.main()
        card = card_data(repository, repository.commit(commit_id)) if with_card else {}
    except LorryError:
        return {**told_in_list(repository, None), "disabled": True}
    row = told_in_list(repository, commit_id)
    return {**row, "tags": told_tags(card), "pipeline_tag": card.get("pipeline_tag")}


def _next(request: Request, after: str) -> str:
    query = [pair for pair in parse_qsl(request.url.query) if pair[0] != "after"]
    return f'<{request.url.replace(query=urlencode([*query, ("after", after)]))}>; rel="next"'
