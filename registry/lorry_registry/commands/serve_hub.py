"""lorry serve-hub: serve the registry by the Hugging Face Hub's protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lorry.cli import options
from lorry.cli.output import echo, echo_json, note
from lorry.errors import InvalidArgument, MissingExtra

if TYPE_CHECKING:
    from lorry_registry.hub.tokens import Tokens


@click.command("serve-hub")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--read-only", is_flag=True, help="Refuse every change.")
@click.option("--token-file", type=click.Path(path_type=Path), help="Who may read and write; see --add-token.")
@click.option("--add-token", metavar="NAME", help="Add a token for NAME to --token-file, print it, and serve nothing.")
@click.option("--role", type=click.Choice(["read", "write"]), default="write", help="What that token is for.")
@click.option("--namespace", "namespaces", metavar="NS", multiple=True, help="Where it may write: NAME if not given.")
@options.as_json
def command(
    host: str,
    port: int,
    read_only: bool,
    token_file: Path | None,
    add_token: str | None,
    role: str,
    namespaces: tuple[str, ...],
    as_json: bool,
) -> None:
    """Serve the registry so that HF_ENDPOINT makes diffusers, transformers and huggingface_hub use it.

    Without --token-file everybody on this machine may read, and a token for writing is made and shown once. With it
    every call needs a token; listening on other addresses than this machine's own asks for it. Ctrl-C stops.
    """
    if add_token is not None:
        _add(token_file, add_token, role, namespaces, as_json=as_json)
        return
    if role != "write" or namespaces:
        raise InvalidArgument("--role and --namespace describe the token that --add-token makes")
    try:
        from lorry_registry.hub.server import address_of, is_loopback, listen, make_server
        from lorry_registry.hub.settings import LOOPBACK, Settings
    except ImportError as error:
        raise MissingExtra("serving the registry", error.name or "FastAPI", "serve") from error
    loopback = is_loopback(host)
    if not loopback and token_file is None:
        raise InvalidArgument(
            f"{host} can be reached from other machines, so give --token-file; lorry serve-hub --token-file FILE "
            "--add-token NAME makes one"
        )
    tokens, token = _tokens(token_file, read_only=read_only)
    settings = Settings(
        tokens=tokens,
        anonymous=token_file is None,
        read_only=read_only,
        hosts=(*LOOPBACK, host) if loopback else (),
        xet=loopback,
    )
    server = make_server(settings)
    with listen(host, port) as listener:
        endpoint = address_of(listener)
        if as_json:
            echo_json({"endpoint": endpoint, "token": token}, indent=None)
        else:
            echo(f"serving {_home()} at {endpoint}; Ctrl-C stops")
            echo(f"export HF_ENDPOINT={endpoint}")
            echo(f"export HF_TOKEN={token}  # for writing, shown this once") if token else None
        server.run([listener])
    note("stopped")


def _home() -> Path:
    from lorry_registry.home.layout import default_home

    return default_home()


def _tokens(path: Path | None, *, read_only: bool) -> tuple[Tokens, str | None]:
    """Return the tokens of the file, or one for all namespaces, made now and told."""
    from lorry_registry.hub.tokens import EVERY, Tokens, grant

    if path is not None:
        return Tokens(file=path.expanduser()), None
    if read_only:
        return Tokens(), None
    made, token = grant("local", namespaces=[EVERY])
    return Tokens([made]), token


def _add(path: Path | None, name: str, role: str, namespaces: tuple[str, ...], *, as_json: bool) -> None:
    from lorry_registry.hub.tokens import add_grant, grant

    if path is None:
        raise InvalidArgument("--add-token needs --token-file FILE to keep the token's hash in")
    made, token = grant(name, role, namespaces)
    add_grant(path.expanduser(), made)
    if as_json:
        echo_json({"name": made.caller.name, "role": role, "namespaces": made.caller.namespaces, "token": token})
    else:
        echo(token)
        note(f"the token of {made.caller.name}, to {role}, is shown this once; {path} keeps its hash")
