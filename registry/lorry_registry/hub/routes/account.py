"""Who somebody is, and whether a card can be read."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from lorry_registry.hub.answers import Refusal
from lorry_registry.hub.routes.given import CallerGiven
from lorry_registry.hub.yaml_check import front_matter

router = APIRouter()


class CardText(BaseModel):
    """A card to be checked."""

    content: str


@router.get("/api/whoami-v2")
def whoami(caller: CallerGiven) -> dict[str, Any]:
    """Tell whose token was sent."""
    if caller is None:
        raise Refusal(401, "a token is needed to tell who you are")
    others = [name for name in caller.namespaces if name not in {caller.name, "*"}]
    return {
        "type": "user",
        "id": caller.name,
        "name": caller.name,
        "fullname": caller.name,
        "email": None,
        "orgs": [{"type": "org", "id": name, "name": name, "fullname": name} for name in others],
        "auth": {"type": "access_token", "accessToken": {"displayName": caller.name, "role": caller.role}},
    }


@router.post("/api/validate-yaml")
def validate_yaml(card: CardText) -> JSONResponse:
    """Tell whether the front matter of a card can be read."""
    try:
        front_matter(card.content)
    except ValueError as error:
        return JSONResponse({"errors": [{"message": str(error)}], "warnings": []}, 400)
    return JSONResponse({"errors": [], "warnings": []})
