"""`keystile keycloak …`: what a realm needs before Keystile can work in it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Annotated

import typer

from keystile.adapters.keycloak.access import AdminAccess, Credentials
from keystile.adapters.keycloak.setup import setup as set_up
from keystile.adapters.keycloak.wanted import WantedRealm
from keystile.cli.output import print_json, print_line
from keystile.cli.running import settings_for_command
from keystile.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from keystile.settings import Settings

app = typer.Typer(help="Prepare a Keycloak realm.", no_args_is_help=True)


@app.callback()
def keycloak() -> None:
    """Prepare a Keycloak realm."""


@app.command(
    epilog="Example: KEYCLOAK_ADMIN_USER=admin KEYCLOAK_ADMIN_PASSWORD=… keystile keycloak setup. "
    "The administrator is read from KEYCLOAK_ADMIN_URL (default KEYSTILE_KEYCLOAK_URL), KEYCLOAK_ADMIN_USER "
    "and KEYCLOAK_ADMIN_PASSWORD."
)
def setup(
    create_realm: Annotated[bool, typer.Option("--create-realm", help="Create the realm if it is not there.")] = False,  # noqa: FBT002 - typer's flags
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,  # noqa: FBT002
) -> None:
    """Declare attributes, make clients, roles, events and the canary; a second run changes nothing."""
    settings = settings_for_command()
    wanted = WantedRealm(
        realm=settings.keycloak_realm,
        reader=_client("READER", settings.keycloak_reader_id, settings.keycloak_reader_secret),
        writer=_client("WRITER", settings.keycloak_writer_id, settings.keycloak_writer_secret),
        tokens=_client("TOKENS", settings.keycloak_tokens_id, settings.keycloak_tokens_secret),
        create_realm=create_realm,
        older_keys=settings.older_keys,
    )
    changes = asyncio.run(set_up(_admin(settings), wanted))
    if json:
        print_json({"realm": settings.keycloak_realm, "changes": changes})
        return
    for line in changes or ["nothing to change"]:
        print_line(line)


def _client(role: str, client_id: str, secret: SecretStr | None) -> Credentials:
    if secret is None:
        raise ConfigurationError(f"KEYSTILE_KEYCLOAK_{role}_SECRET is not set: setup gives that secret to {client_id}")
    return Credentials(id=client_id, secret=secret.get_secret_value())


def _admin(settings: Settings) -> AdminAccess:
    user, password = os.environ.get("KEYCLOAK_ADMIN_USER"), os.environ.get("KEYCLOAK_ADMIN_PASSWORD")
    if not user or not password:
        raise ConfigurationError("setup needs an administrator: set KEYCLOAK_ADMIN_USER and KEYCLOAK_ADMIN_PASSWORD")
    return AdminAccess(url=os.environ.get("KEYCLOAK_ADMIN_URL") or settings.keycloak_url, user=user, password=password)
