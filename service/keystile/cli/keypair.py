"""`keystile keypair …`: key pairs of one's own."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import Annotated

import typer

from keystile.cli.keypairs import KeyAlgorithm, make_pair
from keystile.cli.keys.arguments import AsJson  # noqa: TC001 - typer reads it
from keystile.cli.output import print_json, print_line

app = typer.Typer(help="Key pairs, to sign in without a secret.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def pairs() -> None:
    """Key pairs, to sign in without a secret."""


@app.command("new", epilog="Example: keystile keypair new --private-key laptop.pem > laptop.jwk")
def new(
    private_key: Annotated[Path, typer.Option(help="Where to write the private key: a file that is not there yet.")],
    algorithm: Annotated[KeyAlgorithm, typer.Option(help="For Ed25519, P-256 or RSA.")] = KeyAlgorithm.EDDSA,
    json: AsJson = False,
) -> None:
    """Make a key pair: the private key into a file of yours (0600), the public one printed as a JWK."""
    public = make_pair(private_key, algorithm)
    document = {"public_key": public.to_jwk(), "fingerprint": public.fingerprint, "private_key": str(private_key)}
    if json:
        print_json(document)
    else:
        print_line(public.canonical)
