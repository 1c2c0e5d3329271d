"""The end of keys: revoked one by one or many at once, and purged long after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keystile.assembly import now
from keystile.authority.purging import Purged
from keystile.cli.keys.arguments import AsJson, KeyId, Yes, app, read_moment, read_span
from keystile.cli.output import confirm, print_json, print_keys, print_line, print_stopped, stopped_document
from keystile.cli.owners import every_owner
from keystile.cli.progress import progress
from keystile.cli.running import operator, with_deployment
from keystile.documents import key_document
from keystile.errors import CannotTellError
from keystile.records import RevocationReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystile.assembly import Deployment
    from keystile.authority.incidents import Swept
    from keystile.authority.stops import StoppedKey
    from keystile.records import KeyRecord, Owner

Reason = Annotated[RevocationReason, typer.Option(help="Why.")]


@dataclass(frozen=True, slots=True)
class _Revoked:
    """A revoked key, what it issued (None: nobody asked) and what became of that; *unknown* is why nobody can say."""

    stopped: StoppedKey
    issued: list[tuple[Owner, KeyRecord]] | None = None
    swept: Swept | None = None
    unknown: CannotTellError | None = None

    def to_document(self) -> dict[str, Any]:
        document = stopped_document(self.stopped, "revoked")
        if self.issued is not None:
            document["issued"] = [key_document(owner, record, now()) for owner, record in self.issued]
        return document if self.swept is None else {**document, "cascade": self.swept.to_document()}


@app.command(epilog="Example: keystile keys revoke k3v9x0q2m7ab --reason key_compromise --cascade --yes")
def revoke(
    key_id: KeyId,
    reason: Reason = RevocationReason.UNSPECIFIED,
    cascade: Annotated[bool, typer.Option("--cascade", help="Revoke all that it issued, too.")] = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Revoke a key for ever, and every JWT made from it, within a second.

    For a compromised key, the keys that it issued are listed, and those that they issued.
    """
    if not yes:
        confirm(f"Revoke {key_id}{' and all that it issued' if cascade else ''} for ever?")

    async def work(deployment: Deployment) -> _Revoked:
        stopped = await deployment.lifecycle.revoke(key_id, reason=reason, revoked_by=operator())
        if not cascade and reason is not RevocationReason.KEY_COMPROMISE:
            return _Revoked(stopped)
        try:
            if not cascade:
                return _Revoked(stopped, issued=await deployment.incidents.issued_by([key_id]))
            with progress("revoking what it issued", None, quiet=json) as told:
                swept = await deployment.incidents.revoke_issued_by([key_id], reason=reason, by=operator(), told=told)
            return _Revoked(stopped, swept=swept)
        except CannotTellError as error:  # the key itself is revoked all the same
            return _Revoked(stopped, unknown=error)

    _print_revoked(with_deployment(work), as_json=json)


@app.command("revoke-all", epilog="Example: keystile keys revoke-all --issued-before 2027-01-31 --reason superseded")
def revoke_all(
    owner: Annotated[str | None, typer.Option(help="Only the keys of that username.")] = None,
    issued_before: Annotated[str | None, typer.Option(help="Only keys issued before that date or moment.")] = None,
    issued_by: Annotated[str | None, typer.Option(help="Only keys issued by that actor, as `keys show` tells.")] = None,
    reason: Reason = RevocationReason.UNSPECIFIED,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Revoke every live key that fits all that is named; without any, every key there is."""
    before = None if issued_before is None else read_moment(issued_before, "--issued-before")

    def fits(_: Owner, record: KeyRecord) -> bool:
        return (before is None or record.issued_at < before) and (issued_by is None or record.issued_by == issued_by)

    async def work(deployment: Deployment) -> Swept:
        keys = await _held_by(deployment, owner, fits)
        if keys and not yes:
            confirm(f"Revoke {_count(len(keys), 'key')} for ever?")
        with progress("revoking", len(keys), quiet=json) as told:
            return await deployment.incidents.revoke_each(keys, reason=reason, by=operator(), told=told)

    swept = with_deployment(work)
    if json:
        print_json(swept.to_document())
    else:
        _print_swept(swept)
    if swept.failed:
        raise typer.Exit(1)


@app.command(epilog="Example: keystile keys purge --older-than 30d --yes")
def purge(
    older_than: Annotated[str, typer.Option(help="Keys that expired so long ago shrink to tombstones.")] = "30d",
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Shrink keys that expired long ago, and drop the dead beyond the last ten of each owner; `serve` does so, too."""
    age = read_span(older_than, "--older-than")

    async def work(deployment: Deployment) -> Purged:
        purger = deployment.purger
        found: list[Owner] = []
        async for owner in every_owner(deployment, quiet=json):
            found += [owner] if purger.due(owner, age) else []
        due = sum(len(purger.due(owner, age)) for owner in found)
        if due and not yes:
            confirm(f"Purge {_count(due, 'record')} of {_count(len(found), 'owner')}?")
        done = Purged()
        with progress("purging owners", len(found), quiet=json) as told:
            for owner in found:
                done += await purger.purge(owner, age, by=operator())
                told()
        return done

    done = with_deployment(work)
    if json:
        print_json({"shrunk": list(done.shrunk), "dropped": list(done.dropped)})
    else:
        print_line(f"{_count(len(done.shrunk), 'record')} shrunk to tombstones, {len(done.dropped)} dropped.")


async def _held_by(
    deployment: Deployment, username: str | None, fits: Callable[[Owner, KeyRecord], bool]
) -> list[tuple[Owner, KeyRecord]]:
    if username is None:
        return await deployment.incidents.fitting(fits)
    holder, records = await deployment.lifecycle.keys_of(username)  # one query, and a name nobody has is an error
    return [(holder, record) for record in records if record.is_live(now()) and fits(holder, record)]


def _print_revoked(revoked: _Revoked, *, as_json: bool) -> None:
    if as_json:
        print_json(revoked.to_document())
    else:
        print_stopped(revoked.stopped, "revoked", as_json=False)
        if revoked.issued:
            print_line("It issued these, which are good; --cascade revokes them:")
            print_keys(revoked.issued)
        elif revoked.issued is not None:
            print_line("It issued no key that is still good.")
        if revoked.swept is not None:
            _print_swept(revoked.swept)
    if revoked.unknown is not None:
        raise revoked.unknown
    if revoked.swept is not None and revoked.swept.failed:
        raise typer.Exit(1)


def _print_swept(swept: Swept) -> None:
    for each in swept.stopped:
        print_stopped(each, "revoked", as_json=False)
    for key_id, why in swept.failed:
        print_line(f"{key_id} is NOT revoked: {why}")
    print_line(f"{_count(len(swept.stopped), 'key')} revoked, {len(swept.failed)} failed.")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
