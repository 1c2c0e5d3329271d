"""`keystile keys …`: issue, list, show and revoke API keys."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from keystile.assembly import now
from keystile.authority.lifecycle import KeyRequest
from keystile.claims import parse_resource, parse_scope
from keystile.cli.output import print_json, print_key, print_keys, print_line
from keystile.cli.running import operator, with_deployment
from keystile.documents import key_document
from keystile.expiries import parse_expiry
from keystile.records import RevocationReason, format_moment
from keystile.restrictions import Policy
from keystile.settings import parse_duration

if TYPE_CHECKING:
    from keystile.assembly import Deployment
    from keystile.authority.lifecycle import IssuedKey
    from keystile.authority.stops import StoppedKey
    from keystile.records import KeyRecord, Owner

app = typer.Typer(help="Issue, list, show and revoke API keys.", no_args_is_help=True, rich_markup_mode=None)
_WHOLE_KEY = re.compile(r"[a-z0-9]+_(?:live|test)_([0-9a-z]{12})_", re.ASCII)
_MAX_KEY_ID = 64


def check_key_id(text: str) -> str:
    """Refuse a whole API key where its id is meant, without repeating it."""
    match = _WHOLE_KEY.match(text)
    if match or len(text) > _MAX_KEY_ID:
        which = f": its id is {match[1]}" if match else ""
        raise typer.BadParameter(f"this is an API key, and does not belong on a command line{which}")
    return text


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's public id.", callback=check_key_id)]


@app.command(epilog="Example: keystile keys issue --owner alice --name laptop --scope read --expires 90d")
def issue(
    owner: Annotated[str, typer.Option(help="Username of the user or service account the key acts for.")],
    name: Annotated[str, typer.Option(help="A label for people.")],
    scope: Annotated[list[str] | None, typer.Option(help="A scope the key holds; repeat for more.")] = None,
    audience: Annotated[list[str] | None, typer.Option(help="An audience it may ask for; repeat for more.")] = None,
    project: Annotated[list[str] | None, typer.Option(help="A project it is limited to; repeat for more.")] = None,
    expires: Annotated[str | None, typer.Option(help="90d, 1y, never, or a date. Default: the deployment's.")] = None,
    test: Annotated[bool, typer.Option("--test", help="Issue a test key.")] = False,  # noqa: FBT002 - typer's flags
    json: AsJson = False,  # noqa: FBT002
) -> None:
    """Issue a key and print it. It is shown this once and kept nowhere."""

    async def work(deployment: Deployment) -> IssuedKey:
        policy = Policy(
            scopes=tuple(dict.fromkeys(token for text in scope or [] for token in parse_scope(text))),
            audiences=tuple(dict.fromkeys(parse_resource(text) for text in audience or [])),
            projects=tuple(dict.fromkeys(project or [])),
        )
        request = KeyRequest(
            owner=owner,
            name=name,
            issued_by=operator(),
            environment="test" if test else "live",
            expires_at=parse_expiry(expires or deployment.settings.default_expiry, now()),
            policy=policy,
        )
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


@app.command("list", epilog="Example: keystile keys list --owner alice")
def list_keys(
    owner: Annotated[str | None, typer.Option(help="Only the keys of that username.")] = None,
    json: AsJson = False,  # noqa: FBT002
) -> None:
    """List keys."""

    async def work(deployment: Deployment) -> list[tuple[Owner, KeyRecord]]:
        if owner is None:
            return await deployment.lifecycle.all_keys()
        holder, records = await deployment.lifecycle.keys_of(owner)
        return [(holder, record) for record in records]

    keys = with_deployment(work)
    if json:
        print_json({"keys": [key_document(holder, record, now()) for holder, record in keys]})
    else:
        print_keys(keys)


@app.command(epilog="Example: keystile keys show k3v9x0q2m7ab")
def show(key_id: KeyId, json: AsJson = False) -> None:  # noqa: FBT002
    """Show one key."""
    document = key_document(*with_deployment(lambda deployment: deployment.lifecycle.show(key_id)), now())
    (print_json if json else print_key)(document)


@app.command(epilog="Example: keystile keys suspend k3v9x0q2m7ab --yes")
def suspend(key_id: KeyId, yes: Yes = False, json: AsJson = False) -> None:  # noqa: FBT002
    """Refuse a key, and every JWT made from it, within a second, until it is resumed."""
    if not yes:
        typer.confirm(f"Suspend {key_id}?", abort=True, err=True)
    stopped = with_deployment(lambda deployment: deployment.lifecycle.suspend(key_id, suspended_by=operator()))
    print_stopped(stopped, "suspended", as_json=json)


@app.command(epilog="Example: keystile keys resume k3v9x0q2m7ab")
def resume(key_id: KeyId, yes: Yes = False, json: AsJson = False) -> None:  # noqa: ARG001, FBT002 - nobody is asked
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
    yes: Yes = False,  # noqa: FBT002
    json: AsJson = False,  # noqa: FBT002
) -> None:
    """Give a key a new secret under the same id, and print it. It is shown this once and kept nowhere."""
    lasting = parse_grace(grace)
    if not yes:
        typer.confirm(f"Rotate {key_id}? Its present secret ends after {grace}.", abort=True, err=True)
    rotated = with_deployment(lambda deployment: deployment.alterations.rotate(key_id, grace=lasting, by=operator()))
    shown = rotated.key.reveal()  # the one moment the holder gets it
    document = key_document(rotated.owner, rotated.record, now())
    if json:
        print_json(
            {"key_id": key_id, "api_key": shown, "old_secret_ends_at": format_moment(rotated.ends_at), **document}
        )
        return
    print_line(f"{'api_key':15} {shown}")
    print_line(f"Keep it now: it is not shown again. The old one ends at {format_moment(rotated.ends_at)}.")


@app.command(epilog="Example: keystile keys revoke k3v9x0q2m7ab --reason key_compromise --yes")
def revoke(
    key_id: KeyId,
    reason: Annotated[RevocationReason, typer.Option(help="Why.")] = RevocationReason.UNSPECIFIED,
    yes: Yes = False,  # noqa: FBT002
    json: AsJson = False,  # noqa: FBT002
) -> None:
    """Revoke a key for ever, and every JWT made from it, within a second."""
    if not yes:
        typer.confirm(f"Revoke {key_id} for ever?", abort=True, err=True)

    async def work(deployment: Deployment) -> StoppedKey:
        return await deployment.lifecycle.revoke(key_id, reason=reason, revoked_by=operator())

    print_stopped(with_deployment(work), "revoked", as_json=json)


def print_stopped(stopped: StoppedKey, status: str, *, as_json: bool) -> None:
    """Print what became of a key that was stopped; Keycloak may not know it yet."""
    if as_json:
        pending = {"key_id": stopped.key_id, "status": status, "pending": True}
        print_json(pending if stopped.held is None else key_document(*stopped.held, now()))
    elif stopped.held is None:
        print_line(
            f"If there is a key {stopped.key_id}, it is refused from now on; Keycloak is away, and learns it later."
        )
    else:
        print_line(f"{stopped.key_id} is {status}.")


def parse_grace(text: str) -> timedelta:
    """Read `0`, `90s`, `12h` or `7d`."""
    lasting = parse_duration(text)
    if not isinstance(lasting, timedelta):
        raise typer.BadParameter("a grace is like 0, 90s, 12h or 7d", param_hint="--grace")
    return lasting
