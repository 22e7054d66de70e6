"""What the Hub's client raises, told in the errors of lorry; a token that a server sends back is left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from lorry.errors import AccessDenied, LorryError, NotFound, UpstreamFailed

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

TOKEN_ADVICE = "set HF_TOKEN, or log in with: hf auth login"  # noqa: S105  what to do about a token, and none
_LONGEST = 500


@contextmanager
def told(repository: str) -> Iterator[None]:
    """Turn what the Hub's client raises into NotFound, AccessDenied and UpstreamFailed."""
    # The client stands on another HTTP library from one major version to the next: this is that library's own error.
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is not exported by name
        HfHubHTTPError,
        HTTPError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
    )

    try:
        yield
    except OfflineModeIsEnabled as error:
        raise UpstreamFailed(f"hf://{repository} is not asked: HF_HUB_OFFLINE is set; unset it to go online") from error
    except LocalTokenNotFoundError as error:
        raise AccessDenied(f"hf://{repository} needs a token; {TOKEN_ADVICE}") from error
    except HfHubHTTPError as error:
        raise _refusal(repository, error) from error
    except (HTTPError, OSError) as error:
        raise UpstreamFailed(f"hf://{repository}: the Hub did not answer: {said(error)}; try again") from error


def said(error: Exception) -> str:
    """Return what the server gave as its reason, else the first line of an error; without the token in use."""
    from huggingface_hub import get_token

    reasons = (getattr(error, "server_message", None) or "").split("\n")
    text = "; ".join(filter(None, map(str.strip, reasons)))[:_LONGEST]
    text = text or next(iter(str(error).strip().splitlines()), type(error).__name__)
    return text.replace(token, "…") if (token := get_token()) else text


def status(error: Exception) -> int:
    """Return the HTTP status that an error of the client's came with; 0 where there is none."""
    return getattr(getattr(error, "response", None), "status_code", 0)


def _refusal(repository: str, error: HfHubHTTPError) -> LorryError:
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    place = f"hf://{repository}"
    if isinstance(error, GatedRepoError):
        return AccessDenied(f"{place} is gated: ask for access on its page on the Hub, then {TOKEN_ADVICE}")
    if isinstance(error, RepositoryNotFoundError):
        return NotFound(f"there is no {place}, or this token may not see it; check the name, or {TOKEN_ADVICE}")
    if isinstance(error, RevisionNotFoundError | EntryNotFoundError):
        return NotFound(f"{place}: {said(error)}")
    if status(error) in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return AccessDenied(f"{place} refuses: {said(error)}; {TOKEN_ADVICE}")
    return UpstreamFailed(f"{place}: {said(error)}")
