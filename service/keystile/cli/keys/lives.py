"""Keys that live: issued, changed, suspended, resumed, rotated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from keystile.assembly import now
from keystile.authority.alterations import Wanted
from keystile.cli.keys.arguments import AsJson, Expires, KeyId, KeyName, OwnerName, Yes, app, read_span
from keystile.cli.keys.options import Sent, cleared, with_policy
from keystile.cli.keys.requests import key_request
from keystile.cli.output import confirm, print_json, print_key, print_line, print_stopped
from keystile.cli.running import operator, with_deployment
from keystile.documents import key_document
from keystile.expiries import parse_expiry
from keystile.records import format_moment

if TYPE_CHECKING:
    from keystile.assembly import Deployment
    from keystile.authority.lifecycle import IssuedKey
    from keystile.records import KeyRecord, Owner


@app.command(epilog="Example: keystile keys issue --owner alice --name laptop --scope read --expires 90d --level user")
@with_policy
def issue(
    owner: OwnerName,
    name: KeyName,
    expires: Expires = None,
    test: Annotated[bool, typer.Option("--test", help="Issue a test key.")] = False,
    json: AsJson = False,
    policy: Sent = {},  # noqa: B006 - never the default: `with_policy` sets it
) -> None:
    """Issue a key and print it. It is shown this once and kept nowhere."""

    async def work(deployment: Deployment) -> IssuedKey:
        request = key_request(deployment, owner=owner, name=name, expires=expires, test=test, policy=policy)
        return await deployment.lifecycle.issue(request)

    issued = with_deployment(work)
    document = key_document(issued.owner, issued.record, now())
    shown = issued.key.reveal()  # the one moment the holder gets it
    if json:
        print_json({"key_id": document["key_id"], "api_key": shown, **document})
        return
    print_key(document)
    print_line(f"{'api_key':15} {shown}")
    print_line("Keep it now: it is not shown again.")


@app.command(epilog="Example: keystile keys change k3v9x0q2m7ab --requests-per-day 1000 --clear allowed_ips")
@with_policy
def change(
    key_id: KeyId,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    expires: Annotated[str | None, typer.Option(help="90d, 1y, never, or a date.")] = None,
    clear: Annotated[
        list[str] | None, typer.Option(metavar="FIELD", help="A field to take away, as `keys show` names it; repeat.")
    ] = None,
    json: AsJson = False,
    policy: Sent = {},  # noqa: B006
) -> None:
    """Change a key's name, expiry or policy. What becomes narrower bites within a second, for its JWTs too."""
    taken = cleared(clear or [])
    both = taken.keys() & policy.keys()
    if both:
        raise typer.BadParameter(f"{min(both)} is set and cleared", param_hint="--clear")
    if not policy and not taken and name is None and expires is None:
        raise typer.BadParameter("there is nothing to change")

    async def work(deployment: Deployment) -> tuple[Owner, KeyRecord]:
        expires_at = None if expires is None else parse_expiry(expires, now())
        wanted = Wanted(name=name, policy={**policy, **taken}, expires=expires is not None, expires_at=expires_at)
        return await deployment.alterations.alter(key_id, wanted, by=operator())

    document = key_document(*with_deployment(work), now())
    (print_json if json else print_key)(document)


@app.command(epilog="Example: keystile keys suspend k3v9x0q2m7ab --yes")
def suspend(key_id: KeyId, yes: Yes = False, json: AsJson = False) -> None:
    """Refuse a key, and every JWT made from it, within a second, until it is resumed."""
    if not yes:
        confirm(f"Suspend {key_id}?")
    stopped = with_deployment(lambda deployment: deployment.lifecycle.suspend(key_id, suspended_by=operator()))
    print_stopped(stopped, "suspended", as_json=json)


@app.command(epilog="Example: keystile keys resume k3v9x0q2m7ab")
def resume(key_id: KeyId, yes: Yes = False, json: AsJson = False) -> None:  # noqa: ARG001 - nobody is asked
    """Accept a suspended key again; JWTs from before stay dead."""
    held = with_deployment(lambda deployment: deployment.alterations.resume(key_id, by=operator()))
    if json:
        print_json(key_document(*held, now()))
    else:
        print_line(f"{key_id} is active.")


@app.command(epilog="Example: keystile keys rotate k3v9x0q2m7ab --grace 7d --yes")
def rotate(
    key_id: KeyId,
    grace: Annotated[
        str, typer.Option(help="How long the old secret still works: 0, 90s, 12h, 7d, at most 30d.")
    ] = "7d",
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Give a key a new secret under the same id, and print it. It is shown this once and kept nowhere.

    A key of the older format has no id in it: a new one takes its place, under an id of its own.
    """
    lasting = read_span(grace, "--grace")
    if not yes:
        confirm(f"Rotate {key_id}? Its present secret ends after {grace}.")
    rotated = with_deployment(lambda deployment: deployment.alterations.rotate(key_id, grace=lasting, by=operator()))
    shown = rotated.key.reveal()  # the one moment the holder gets it
    document = key_document(rotated.owner, rotated.record, now())
    if json:
        print_json({"api_key": shown, "old_secret_ends_at": format_moment(rotated.ends_at), **document})
        return
    if rotated.record.key_id != key_id:
        print_line(f"{'key_id':15} {rotated.record.key_id}, in the place of {key_id}")
    print_line(f"{'api_key':15} {shown}")
    print_line(f"Keep it now: it is not shown again. The old one ends at {format_moment(rotated.ends_at)}.")
