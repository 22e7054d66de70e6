"""Preview pictures of versions, drawn in the terminal: in its own graphics where it has any, else in half blocks."""

from __future__ import annotations

from io import BytesIO

from lorry.errors import InvalidFile, LorryError, MissingExtra
from lorry_registry.home.store import LocalStore
from lorry_registry.references.reference import Reference

_FORMATS = ("PNG", "JPEG", "WEBP")
_LARGEST_FILE = 32 << 20
_MOST_PIXELS = 64_000_000
_SIDE = 512
_ROWS = 12


def preview(store: LocalStore, reference: Reference) -> bytes | None:
    """Return the first preview picture of a version; None where it has none."""
    manifest = store.manifest(store.resolve(reference))
    found = next((file for file in manifest.files if file.role == "preview"), None)
    if found is None:
        return None
    if found.size > _LARGEST_FILE:
        raise InvalidFile(f"{reference}: {found.path} is too large to be drawn: {found.size:,} bytes")
    return store.blobs.read(found.sha256)


def draw(picture: bytes) -> None:
    """Draw a picture on the terminal that stdout is; raise InvalidFile for what is none."""
    try:
        from PIL import Image
        from textual_image.renderable import Image as Drawn
    except ImportError as error:
        raise MissingExtra("drawing previews", "textual-image", "previews") from error
    from rich.console import Console

    try:
        with Image.open(BytesIO(picture), formats=_FORMATS) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                raise InvalidFile(f"it has {opened.width} by {opened.height} pixels, too many to be drawn")
            opened.thumbnail((_SIDE, _SIDE))
            Console().print(Drawn(opened.convert("RGB"), height=_ROWS, width="auto"))
    except (
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
    ) as error:  # all that Pillow raises for bad files
        raise InvalidFile(f"it is no picture: {error}") from error
    except ZeroDivisionError as error:
        raise LorryError("this terminal does not tell its size, so nothing can be drawn on it") from error
