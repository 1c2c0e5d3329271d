"""`keystile doctor --reconcile`: after a backup of Keycloak was restored, what was revoked since is revoked again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystile.authority.reconciling import Reconciled
from keystile.cli.owners import every_owner
from keystile.errors import CannotTellError, KeystileError
from keystile.findings import Finding

if TYPE_CHECKING:
    from keystile.assembly import Deployment


async def reconcile(deployment: Deployment, *, quiet: bool) -> list[Finding]:
    """Walk through all owners, put right what can be, and return what was done and what could not be."""
    reconciler, done, failed = deployment.reconciler, Reconciled(), list[str]()
    if reconciler is None:
        return [Finding(ok=True, what="nothing to reconcile: the embedded store and its changes are one file")]
    try:
        async for owner in every_owner(deployment, quiet=quiet):
            try:
                done += await reconciler.review(owner)
            except CannotTellError:
                raise
            except KeystileError as error:
                failed.append(f"{owner.username}: {error}")
    except CannotTellError as error:
        fix = "see that Keycloak and Redis answer, and run it again"
        return [Finding(ok=False, what=f"not reconciled to the end: {error}", fix=fix)]
    return findings(done, failed)


def findings(done: Reconciled, failed: list[str]) -> list[Finding]:
    """Return what a person is told."""
    found = [Finding(ok=True, what=f"{done.keys} keys compared with what was said of them")]
    if done.restored:
        found.append(Finding(ok=True, what=f"revoked or suspended again: {', '.join(done.restored)}"))
    if done.said:
        found.append(Finding(ok=True, what=f"revoked already, and said again: {', '.join(done.said)}"))
    if done.undone:
        what = f"change_undone: changed since, and refused as they are now: {', '.join(done.undone)}"
        found.append(Finding(ok=False, what=what, fix="keystile keys revoke each, and issue another"))
    found += [Finding(ok=False, what=f"not reconciled: {each}", fix="mend that, and run it again") for each in failed]
    return found
