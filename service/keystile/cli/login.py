"""`keystile login`: a private key in, a JWT out, over HTTP."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import Annotated, Any

import typer

from keystile.authority.sign_in import LOGIN
from keystile.cli.keypairs import load_private, public_half, sign_text, text_algorithm
from keystile.cli.keys.arguments import AsJson  # noqa: TC001 - typer reads it
from keystile.cli.output import print_json, print_line
from keystile.cli.running import settings_for_command
from keystile.client.wire import post, server_url
from keystile.errors import CannotTellError, ChangeRefusedError
from keystile.public_keys import encode, signed_text

_PATIENCE = 15.0  # seconds
_LATER = (429, 503)


def login(
    private_key: Annotated[Path, typer.Option(help="Your private key, as `keystile keypair new` makes it.")],
    url: Annotated[str | None, typer.Option(help="The server's issuer. Default: KEYSTILE_ISSUER.")] = None,
    resource: Annotated[str, typer.Option(help="The audience of the JWT.")] = "",
    scope: Annotated[str, typer.Option(help="Scopes, separated by spaces.")] = "",
    json: AsJson = False,
) -> None:
    """Sign in with a registered key and print a JWT. The private key is read here and sent nowhere."""
    private = load_private(private_key)
    public = public_half(private)
    issuer = server_url(url or settings_for_command().issuer)
    asked = {"fingerprint": public.fingerprint, "alg": text_algorithm(public)}
    challenge = _post(f"{issuer}/auth/challenge", asked)
    text = signed_text(
        # The attack: a server that one was led to passes a challenge of another on, and signs in there. So the
        # issuer is the one that was typed here, whatever a server says of itself.
        issuer=issuer,
        purpose=LOGIN,
        fingerprint=public.fingerprint,
        algorithm=asked["alg"],
        nonce=str(challenge.get("nonce")),
        exp=int(challenge.get("exp", 0)),
    )
    signed = {**asked, "nonce": str(challenge.get("nonce")), "signature": encode(sign_text(private, text))}
    wanted = {name: value for name, value in (("resource", resource), ("scope", scope)) if value}
    token = _post(f"{issuer}/auth/verify", {**signed, **wanted})
    if json:
        print_json(token)
    else:
        print_line(str(token.get("access_token")))


def _post(url: str, document: dict[str, str]) -> dict[str, Any]:
    answer = post(url, within=_PATIENCE, document=document)
    if answer.status in _LATER:
        raise CannotTellError(f"the server answers {answer.said}")
    if answer.status != 200 or answer.document is None:  # noqa: PLR2004 - HTTP's
        why = "is the key registered there, and --url its issuer?"
        raise ChangeRefusedError(f"the server answers {answer.said}: {why}")
    return answer.document
