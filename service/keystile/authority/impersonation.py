"""Keys for somebody else: a right of its own, refused where it would be a way to more rights, and always audited."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keystile.errors import RightsError
from keystile.ports import AuditEvent
from keystile.rights import Action, Relation, allows, is_impersonation

if TYPE_CHECKING:
    from keystile.authority.auditing import Auditor
    from keystile.policy import RequestContext
    from keystile.ports import Directory
    from keystile.records import Owner
    from keystile.rights import Caller


@dataclass(frozen=True, kw_only=True)
class Impersonation:
    """Judges whether a caller may get a secret that acts as *owner*."""

    directory: Directory
    auditor: Auditor

    async def check(
        self, caller: Caller, action: Action, owner: Owner, *relations: Relation, context: RequestContext
    ) -> None:
        """Raise a `RightsError` unless *caller* may do that for *owner*; what is no impersonation passes unseen.

        Raises `CannotTellError` where nobody can say what the owner holds, and `OwnerUnknownError`.
        """
        if not is_impersonation(action, *relations):
            return
        try:
            await self._check(caller, action, owner, *relations)
        except RightsError as error:
            self._audit(caller, action, owner, context, refused=str(error))
            raise
        self._audit(caller, action, owner, context)

    async def _check(self, caller: Caller, action: Action, owner: Owner, *relations: Relation) -> None:
        if not allows(caller, action, *relations):
            raise RightsError("keys for somebody else are an admin's to issue and rotate")
        # Such a key would be the way to rights its issuer may not have; who is not there yet (no id) has none.
        if owner.id and await self.directory.administers(owner.id):
            raise RightsError("this owner administers Keystile or the realm: only the owner gets keys for it")

    def _audit(
        self, caller: Caller, action: Action, owner: Owner, context: RequestContext, refused: str | None = None
    ) -> None:
        self.auditor.changed(
            AuditEvent(
                event="impersonation",
                outcome="refused" if refused else "accepted",
                owner=owner.username,
                address=context.address or None,
                reason=refused,
                request_id=context.request_id or None,
                detail={"by": caller.actor, "action": action.value},
            )
        )
