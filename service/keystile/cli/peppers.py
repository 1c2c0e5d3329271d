"""`keystile peppers list`, and what `doctor` says of peppers: what still needs each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystile.assembly import now
from keystile.authority.pepper_use import PepperUse
from keystile.cli.output import print_json, print_line, print_table
from keystile.cli.owners import every_owner
from keystile.findings import Finding
from keystile.keys import Stamps
from keystile.wiring import load_peppers, open_deployment

if TYPE_CHECKING:
    from keystile.peppers import Peppers
    from keystile.settings import Settings


async def show(settings: Settings, *, as_json: bool) -> None:
    """Print what needs which pepper. Raises `CannotTellError`."""
    use = PepperUse()
    async with open_deployment(settings) as deployment:
        async for owner in every_owner(deployment, quiet=as_json):
            use += PepperUse.of(owner, now())
    document = use.to_document(load_peppers(settings))
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


def weak(peppers: Peppers) -> list[Finding]:
    """Return what `doctor` says of peppers that can be guessed, and of a rotation that changed nothing."""
    found = []
    for number, pepper in enumerate(peppers.all):
        twin = next((other.id for other in peppers.all[:number] if other.secret == pepper.secret), "")
        if not (twin or pepper.is_guessable):
            continue
        what = f"pepper {pepper.id} " + (f"is {twin} by another name" if twin else "was not drawn at random")
        fix = f"put one from 'keystile peppers new' first in KEYSTILE_PEPPERS, and drop {pepper.id} once removable"
        found.append(Finding(ok=False, what=what, fix=fix))
    return found


def _finding(use: PepperUse, peppers: Peppers, each: dict[str, object]) -> Finding:
    what = f"pepper {each['id']} ({each['state']}): {each['digests']} digests and {each['stamps']} stamps of live keys"
    if each["removable"]:
        return Finding(ok=True, what=f"{what}: removable")
    if each["state"] == "retired" and each["digests"]:
        fix = f"take ':retired' off {each['id']} in KEYSTILE_PEPPERS, or if it leaked let each key be used once"
        return Finding(ok=False, what=f"{what}: it proves none of them, and each costs a bcrypt", fix=fix)
    idle = each["id"] != peppers.current.id and use.unclear and not each["digests"] and not each["stamps"]
    return Finding(ok=True, what=what + (f"; {use.unclear} records do not tell what they need" if idle else ""))


def _lost(use: PepperUse, pepper_id: str, stamps: Stamps) -> Finding:
    stamped = use.stamps[pepper_id]
    what = f"pepper {pepper_id} is not set: {use.digests[pepper_id]} digests and {stamped} stamps of live keys need it"
    if stamped and stamps is Stamps.ENFORCE:
        fix = f"put {pepper_id} into KEYSTILE_PEPPERS, retired if it leaked; if it is lost, KEYSTILE_STAMPS=advisory"
        return Finding(ok=False, what=what, fix=fix)
    return Finding(ok=True, what=f"{what}; bcrypt decides")
