"""Keys in PEM files: whether one is of a kind that signs, said before the signing library is asked."""

from __future__ import annotations

from pathlib import Path

from lorry.errors import AccessDenied, Incompatible, InvalidArgument, NotFound, NotRecognised

CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""P-256, P-384 and P-521, which OpenSSF's model signing takes."""

_MAKE = "make one: openssl ecparam -name prime256v1 -genkey -noout -out key.pem"


def check_private(path: Path, password: str | None) -> None:
    """Raise where a file is no private key that signs.

    NotRecognised for what is none, Incompatible for one of another kind, AccessDenied where its password is missing or
    wrong, InvalidArgument where there is a password and it needs none.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _bytes(path)
    # Of both forms, PKCS#8 and the older one, the text says so.
    encrypted = b"ENCRYPTED" in data
    if encrypted and not password:
        raise AccessDenied(f"{path} is encrypted; say its password in LORRY_KEY_PASSWORD")
    if password and not encrypted and b"PRIVATE KEY" in data:
        raise InvalidArgument(f"{path} is not encrypted; leave LORRY_KEY_PASSWORD out")
    try:
        key = load_pem_private_key(data, password=password.encode() if password else None)
    except UnsupportedAlgorithm as error:
        raise Incompatible(f"{path} is a key that cannot sign: {error}; {_MAKE}") from error
    except (ValueError, TypeError) as error:
        if encrypted:
            raise AccessDenied(f"LORRY_KEY_PASSWORD does not open {path}; say the password it was made with") from error
        raise NotRecognised(f"{path} is no private key in PEM{_public(data)}; {_MAKE}") from error
    _check_kind(path, key, _MAKE)


def check_public(path: Path) -> None:
    """Raise NotRecognised where a file is no public key, Incompatible where it is one of another kind."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    advice = "the one that belongs to key.pem: openssl ec -in key.pem -pubout -out pub.pem"
    data = _bytes(path)
    try:
        key = load_pem_public_key(data)
    except UnsupportedAlgorithm as error:
        raise Incompatible(f"{path} is a key that cannot sign: {error}") from error
    except ValueError as error:
        what = ", but a private one" if b"PRIVATE KEY" in data else ""
        raise NotRecognised(f"{path} is no public key in PEM{what}; name {advice}") from error
    _check_kind(path, key, f"name {advice}")


def _check_kind(path: Path, key: object, advice: str) -> None:
    curve = getattr(key, "curve", None)
    if curve is None:
        kind = type(key).__name__.lstrip("_").removesuffix("PrivateKey").removesuffix("PublicKey")
        raise Incompatible(
            f"{path} is a key of {kind}, and keys of elliptic curves sign (P-256, P-384, P-521); {advice}"
        )
    if curve.name not in CURVES:
        raise Incompatible(f"{path} is a key of the curve {curve.name}, and P-256, P-384 and P-521 sign; {advice}")


def _public(data: bytes) -> str:
    return ", but a public one, with which nobody can sign" if b"PUBLIC KEY" in data else ""


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise NotFound(f"{path} is no file; name a key in PEM")
    return path.read_bytes()
