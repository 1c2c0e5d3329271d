"""`keystile login`: a private key in, a JWT out, over HTTP."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import Annotated, Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, build_opener

import typer

from keystile.authority.sign_in import LOGIN
from keystile.cli.fetching import Stay
from keystile.cli.keypairs import load_private, public_half, sign_text, text_algorithm
from keystile.cli.keys.arguments import AsJson  # noqa: TC001 - typer reads it
from keystile.cli.output import print_json, print_line
from keystile.cli.running import settings_for_command
from keystile.errors import CannotTellError, ChangeRefusedError
from keystile.public_keys import encode, signed_text

_PATIENCE = 15.0  # seconds
_MAX_ANSWER = 65_536  # bytes


def login(
    private_key: Annotated[Path, typer.Option(help="Your private key, as `keystile keypair new` makes it.")],
    url: Annotated[str | None, typer.Option(help="The server's issuer. Default: KEYSTILE_ISSUER.")] = None,
    resource: Annotated[str, typer.Option(help="The audience of the JWT.")] = "",
    scope: Annotated[str, typer.Option(help="Scopes, separated by spaces.")] = "",
    json: AsJson = False,  # noqa: FBT002 - typer's flags
) -> None:
    """Sign in with a registered key and print a JWT. The private key is read here and sent nowhere."""
    private = load_private(private_key)
    public = public_half(private)
    issuer = (url or settings_for_command().issuer).rstrip("/")
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
    if urlsplit(url).scheme not in ("http", "https"):
        raise ChangeRefusedError("--url is the server's issuer, like https://id.example.com/sts")
    sent = Request(url, json.dumps(document).encode(), {"Content-Type": "application/json"})  # noqa: S310 - checked
    try:
        with build_opener(Stay).open(sent, timeout=_PATIENCE) as answer:
            read = json.loads(answer.read(_MAX_ANSWER))
    except HTTPError as error:
        with error:
            _refuse(error.code, error.read(_MAX_ANSWER))
    except (URLError, OSError) as error:
        raise CannotTellError(f"{url} does not answer: {getattr(error, 'reason', error)}") from error
    except ValueError as error:
        raise ChangeRefusedError(f"{url} answers no JSON: is it the issuer?") from error
    if not isinstance(read, dict):
        raise ChangeRefusedError(f"{url} answers no JSON object: is it the issuer?")
    return read


def _refuse(status: int, body: bytes) -> NoReturn:
    try:
        said = json.loads(body)
        why = " ".join(str(said[name]) for name in ("error", "error_description") if name in said)
    except (ValueError, TypeError):
        why = ""
    shown = "".join(letter for letter in why if letter.isprintable())[:200]
    if status in (429, 503):
        raise CannotTellError(f"the server answers {status} {shown}")
    raise ChangeRefusedError(f"the server answers {status} {shown}: is the key registered there, and --url its issuer?")
