"""`keystile signing-keys`: which keys sign our JWTs, and the next one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import typer

from keystile.assembly import now
from keystile.cli.keys.arguments import AsJson  # noqa: TC001 - typer reads it
from keystile.cli.output import print_json, print_line, print_table
from keystile.cli.running import with_deployment
from keystile.records import format_moment

if TYPE_CHECKING:
    from keystile.assembly import Deployment
    from keystile.authority.rotation import Rotated
    from keystile.authority.signing import KeyView
    from keystile.signing_keys import PublishedKey

app = typer.Typer(help="Keys that sign our JWTs.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list", epilog="Example: keystile signing-keys list --json")
def list_keys(json: AsJson = False) -> None:
    """Show each signing key, its state, and the running processes that have loaded it."""

    async def work(deployment: Deployment) -> dict[str, Any]:
        views = await deployment.rotation.overview()
        return {"keys": [_document(view) for view in views], "processes": list(deployment.rotation.ring.processes())}

    document = with_deployment(work)
    if json:
        print_json(document)
        return
    heads = ("kid", "algorithm", "state", "file", "not before use", "published until", "loaded by")
    processes = len(document["processes"])
    print_table(heads, [_row(each, processes) for each in document["keys"]])


@app.command(epilog="Example: keystile signing-keys rotate")
def rotate(json: AsJson = False) -> None:
    """Make the next signing key, and delete those whose last JWT is dead.

    Every running process shows the new key within a second, and signs with it once all have shown it for
    KEYSTILE_JWKS_MAX_AGE: no verifier meets a JWT whose key it cannot know.
    """

    async def work(deployment: Deployment) -> Rotated:
        return await deployment.rotation.rotate()

    rotated = with_deployment(work)
    if json:
        print_json({"next": _facts(rotated.made), "removed": [key.kid for key in rotated.removed]})
        return
    print_line(f"{rotated.made.name}: {rotated.made.kid} is next, and signs no earlier than {_from(rotated.made)}.")
    _print_removed(rotated.removed)


@app.command(epilog="Example: keystile signing-keys purge")
def purge(json: AsJson = False) -> None:
    """Delete the signing keys whose last JWT is dead; `rotate` does it too."""

    async def work(deployment: Deployment) -> tuple[PublishedKey, ...]:
        return await deployment.rotation.purge()

    removed = with_deployment(work)
    if json:
        print_json({"removed": [key.kid for key in removed]})
    elif removed:
        _print_removed(removed)
    else:
        print_line("Nothing to delete.")


def _print_removed(removed: tuple[PublishedKey, ...]) -> None:
    for key in removed:
        print_line(f"{key.name}: {key.kid} is deleted: no JWT of it lives.")


def _document(view: KeyView) -> dict[str, Any]:
    until = None if view.needed_for is None else format_moment(now() + timedelta(seconds=view.needed_for))
    return {
        **_facts(view.key),
        "state": view.state.value,
        "published_until": until,
        "removable": view.needed_for == 0,
        "loaded_by": list(view.loaded_by),
    }


def _facts(key: PublishedKey) -> dict[str, Any]:
    not_before = None if key.not_before is None else _from(key)
    return {"kid": key.kid, "algorithm": key.algorithm, "file": key.name, "not_before_use": not_before}


def _from(key: PublishedKey) -> str:
    return "at once" if key.not_before is None else format_moment(datetime.fromtimestamp(key.not_before, UTC))


def _row(each: dict[str, Any], processes: int) -> tuple[str, ...]:
    until = "removable" if each["removable"] else each["published_until"] or "-"
    loaded = f"{len(each['loaded_by'])} of {processes}"
    return (each["kid"], each["algorithm"], each["state"], each["file"], each["not_before_use"] or "-", until, loaded)
