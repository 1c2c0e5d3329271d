"""`keystile peppers list`, and what `doctor` says of peppers: what still needs each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystile.adapters.keycloak.diagnosis import Finding
from keystile.assembly import now
from keystile.authority.pepper_use import PepperUse
from keystile.authority.walking import owner_pages
from keystile.cli.output import print_json, print_line, print_table
from keystile.cli.progress import progress
from keystile.keys import Stamps
from keystile.wiring import load_peppers, open_deployment

if TYPE_CHECKING:
    from keystile.peppers import Peppers
    from keystile.settings import Settings


async def count(settings: Settings, *, quiet: bool) -> PepperUse:
    """Count over every live key. Raises `CannotTellError`."""
    use = PepperUse()
    async with open_deployment(settings) as deployment:
        with progress("looking at owners", None, quiet=quiet) as told:
            async for page in owner_pages(deployment.directory):
                for owner in page:
                    use += PepperUse.of(owner, now())
                    told()
    return use


async def show(settings: Settings, *, as_json: bool) -> None:
    """Print what needs which pepper."""
    document = (await count(settings, quiet=as_json)).to_document(load_peppers(settings))
    if as_json:
        print_json(document)
        return
    rows = [
        (each["id"], each["state"], each["digests"], each["stamps"], "yes" if each["removable"] else "no")
        for each in document["peppers"]
    ]
    print_table(("pepper", "state", "digests", "stamps", "removable"), rows)
    print_line(f"Live keys of the older form, which have no stamp: {document['older_records']}.")
    if document["unclear"]:
        print_line(f"{document['unclear']} records do not tell what they need: no pepper is called removable.")


def findings(use: PepperUse, peppers: Peppers, stamps: Stamps) -> list[Finding]:
    """Return what `doctor` says of each pepper that is set, and of those that are not and are needed."""
    return [
        *(_finding(use, peppers, each) for each in use.to_document(peppers)["peppers"] if each["state"] != "not set"),
        *(_lost(use, pepper_id, stamps) for pepper_id in use.lost(peppers)),
    ]


def _finding(use: PepperUse, peppers: Peppers, each: dict[str, object]) -> Finding:
    what = f"pepper {each['id']} ({each['state']}): {each['digests']} digests and {each['stamps']} stamps of live keys"
    if each["removable"]:
        return Finding(ok=True, what=f"{what}: removable")
    idle = each["id"] != peppers.current.id and use.unclear and not each["digests"] and not each["stamps"]
    return Finding(ok=True, what=what + (f"; {use.unclear} records do not tell what they need" if idle else ""))


def _lost(use: PepperUse, pepper_id: str, stamps: Stamps) -> Finding:
    stamped = use.stamps[pepper_id]
    what = f"pepper {pepper_id} is not set: {use.digests[pepper_id]} digests and {stamped} stamps of live keys need it"
    if stamped and stamps is Stamps.ENFORCE:
        fix = f"put {pepper_id} into KEYSTILE_PEPPERS, retired if it leaked; if it is lost, KEYSTILE_STAMPS=advisory"
        return Finding(ok=False, what=what, fix=fix)
    return Finding(ok=True, what=f"{what}; bcrypt decides")
