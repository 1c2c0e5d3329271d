"""Public keys, registered in the place of a secret: `keystile keys register`."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated

import typer

from keystile.assembly import now
from keystile.cli.keypairs import read_text
from keystile.cli.keys.arguments import AsJson, Expires, KeyName, OwnerName, app
from keystile.cli.keys.options import Sent, with_policy
from keystile.cli.keys.requests import key_request
from keystile.cli.output import print_json, print_key, print_line
from keystile.cli.running import with_deployment
from keystile.documents import key_document
from keystile.public_keys import PublicKey, parse_public_key

if TYPE_CHECKING:
    from keystile.assembly import Deployment
    from keystile.authority.registering import RegisteredKey


@app.command(epilog="Example: keystile keys register --owner alice --name laptop --public-key laptop.jwk --scope read")
@with_policy
def register(
    owner: OwnerName,
    name: KeyName,
    public_key: Annotated[Path, typer.Option(help="A file with the public key: Ed25519, P-256 or RSA; JWK or PEM.")],
    expires: Expires = None,
    test: Annotated[bool, typer.Option("--test", help="Register a test key.")] = False,
    json: AsJson = False,
    policy: Sent = {},  # noqa: B006 - never the default: `with_policy` sets it
) -> None:
    """Register a public key: its holder signs, by private_key_jwt or `keystile login`, and no secret is kept."""
    key = parse_public_key(PublicKey.from_text, read_text(public_key))

    async def work(deployment: Deployment) -> RegisteredKey:
        request = key_request(deployment, owner=owner, name=name, expires=expires, test=test, policy=policy)
        return await deployment.registrar.register(request, key)

    registered = with_deployment(work)
    document = key_document(registered.owner, registered.record, now())
    if json:
        print_json(document)
        return
    print_key(document)
    print_line(f"Its client_id is {registered.record.key_id}.")
