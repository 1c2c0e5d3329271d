"""The end of keys: revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from keystile.cli.keys.arguments import AsJson, KeyId, Yes, app
from keystile.cli.output import print_stopped
from keystile.cli.running import operator, with_deployment
from keystile.records import RevocationReason

if TYPE_CHECKING:
    from keystile.assembly import Deployment
    from keystile.authority.stops import StoppedKey


@app.command(epilog="Example: keystile keys revoke k3v9x0q2m7ab --reason key_compromise --yes")
def revoke(
    key_id: KeyId,
    reason: Annotated[RevocationReason, typer.Option(help="Why.")] = RevocationReason.UNSPECIFIED,
    yes: Yes = False,  # noqa: FBT002 - typer's flags
    json: AsJson = False,  # noqa: FBT002
) -> None:
    """Revoke a key for ever, and every JWT made from it, within a second."""
    if not yes:
        typer.confirm(f"Revoke {key_id} for ever?", abort=True, err=True)

    async def work(deployment: Deployment) -> StoppedKey:
        return await deployment.lifecycle.revoke(key_id, reason=reason, revoked_by=operator())

    print_stopped(with_deployment(work), "revoked", as_json=json)
