"""`keystile token` and `keystile headers`: an API key in, a JWT out, over HTTP."""

from __future__ import annotations

import json as json_text
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keystile.cli.keys.arguments import AsJson  # noqa: TC001 - typer reads it
from keystile.cli.output import print_json, print_line
from keystile.cli.running import settings_for_command
from keystile.client.exchange import make_exchange
from keystile.client.keys import VARIABLE, key_source
from keystile.errors import ChangeRefusedError

if TYPE_CHECKING:
    from keystile.client.exchange import Token

_PATIENCE = 8.0  # seconds: tools that run a command for headers wait for it, the least of them 10 s

Resource = Annotated[str, typer.Option(help="The audience of the JWT: the address of the server it is for.")]
Scopes = Annotated[list[str] | None, typer.Option("--scope", help="A scope; may be repeated. Default: all of the key.")]
Issuer = Annotated[str | None, typer.Option("--url", "--issuer", help="The server's issuer. Default: KEYSTILE_ISSUER.")]
KeyFile = Annotated[
    Path | None, typer.Option(help=f"A file that holds the key. Default: {VARIABLE}, else standard input.")
]


def token(
    resource: Resource,
    scope: Scopes = None,
    url: Issuer = None,
    key_file: KeyFile = None,
    json: AsJson = False,
) -> None:
    """Exchange an API key at the server for a JWT and print it."""
    got = _exchange(resource, scope, url, key_file)
    if json:
        print_json(got.document)
    else:
        print_line(got.text)


def headers(resource: Resource, scope: Scopes = None, url: Issuer = None, key_file: KeyFile = None) -> None:
    """Print one JSON object with the header that carries a JWT, for tools that run a command to get headers."""
    got = _exchange(resource, scope, url, key_file)
    print_line(json_text.dumps({"Authorization": f"Bearer {got.text}"}))


def presented_key() -> str:
    """Return the API key in `KEYSTILE_API_KEY`, else on standard input."""
    presented = (os.environ.get(VARIABLE) or sys.stdin.readline()).strip()
    if not presented:
        raise ChangeRefusedError(f"no API key on standard input, and {VARIABLE} is not set")
    return presented


def _exchange(resource: str, scopes: list[str] | None, url: str | None, key_file: Path | None) -> Token:
    key = key_source(file=key_file) if key_file else key_source(presented_key())
    words = " ".join(scopes or ())
    return make_exchange(url or settings_for_command().issuer, key, resource, words, _PATIENCE)()
