"""Looking at keys: listed, shown, how they were used, and what happened to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from keystile.assembly import now
from keystile.cli.keys.arguments import AsJson, KeyId, app
from keystile.cli.output import print_events, print_json, print_key, print_keys, print_usage
from keystile.cli.running import with_deployment
from keystile.documents import key_document, status_of
from keystile.records import Status  # noqa: TC001 - typer reads it

if TYPE_CHECKING:
    from keystile.assembly import Deployment
    from keystile.ports import EventPage
    from keystile.records import KeyRecord, Owner
    from keystile.usage import KeyUsage


@app.command("list", epilog="Example: keystile keys list --owner alice --status active")
def list_keys(
    owner: Annotated[str | None, typer.Option(help="Only the keys of that username.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only keys of that status.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only keys of that tenant.")] = None,
    name: Annotated[str | None, typer.Option(help="Only keys of that name.")] = None,
    json: AsJson = False,
) -> None:
    """List keys."""

    async def work(deployment: Deployment) -> list[tuple[Owner, KeyRecord]]:
        if owner is None:
            return await deployment.lifecycle.all_keys()
        holder, records = await deployment.lifecycle.keys_of(owner)
        return [(holder, record) for record in records]

    def fits(record: KeyRecord) -> bool:
        return (
            (status is None or status_of(record, now()) == status)
            and (tenant is None or record.policy.tenant == tenant)
            and (name is None or record.name == name)
        )

    keys = [(holder, record) for holder, record in with_deployment(work) if fits(record)]
    if json:
        print_json({"keys": [key_document(holder, record, now()) for holder, record in keys]})
    else:
        print_keys(keys)


@app.command(epilog="Example: keystile keys show k3v9x0q2m7ab")
def show(key_id: KeyId, json: AsJson = False) -> None:
    """Show one key."""
    document = key_document(*with_deployment(lambda deployment: deployment.lifecycle.show(key_id)), now())
    (print_json if json else print_key)(document)


@app.command(epilog="Example: keystile keys usage k3v9x0q2m7ab --days 30")
def usage(
    key_id: KeyId,
    days: Annotated[int, typer.Option(min=1, max=400, help="How many days back.")] = 30,
    json: AsJson = False,
) -> None:
    """Show how a key was used: by day, in all, and when last."""

    async def work(deployment: Deployment) -> KeyUsage:
        _, record = await deployment.lifecycle.show(key_id)
        return await deployment.usage.usage(record.key_id, days)

    used = with_deployment(work)
    if json:
        print_json(used.to_document())
    else:
        print_usage(used)


@app.command(epilog="Example: keystile keys events k3v9x0q2m7ab --limit 20")
def events(
    key_id: KeyId,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 50,
    before: Annotated[str, typer.Option(help="Go on where an earlier page ended: its next_cursor.")] = "",
    json: AsJson = False,
) -> None:
    """Show what happened to a key lately, the newest first."""

    async def work(deployment: Deployment) -> EventPage:
        _, record = await deployment.lifecycle.show(key_id)
        return await deployment.recent.of_key(record.key_id, limit=limit, before=before)

    page = with_deployment(work)
    documents = [event.to_document() for event in page.events]
    if json:
        print_json({"events": documents, **({"next_cursor": page.next} if page.next else {})})
    else:
        print_events(documents, page.next)
