"""Who calls the management API: an access token of the realm, a key or a JWT of it, or the bootstrap admin key."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from keystile.authority.newcomers import is_newcomer
from keystile.errors import CannotTellError, KeyRefusedError, Reason, RightsError
from keystile.policy import API_SCOPES, KEY_ADMIN, TENANT_ADMIN, held_scopes
from keystile.ports import AuditEvent
from keystile.rights import Caller, CallerKind, Role

if TYPE_CHECKING:
    from collections.abc import Collection

    from keystile.authority.auditing import Auditor
    from keystile.authority.jwts import JwtVerifier
    from keystile.authority.verifier import Verifier
    from keystile.policy import RequestContext
    from keystile.ports import Directory, RealmTokens, RealmUser
    from keystile.records import KeyRecord
    from keystile.verdicts import Verdict

_OWNER = frozenset({Role.OWNER_READ, Role.OWNER_WRITE})
_BY_REALM_ROLE = {"key-admin": Role.ADMIN, "tenant-admin": Role.TENANT_ADMIN}
_BY_SCOPE = {"keys:read": Role.OWNER_READ, "keys:write": Role.OWNER_WRITE}


@dataclass(frozen=True, kw_only=True)
class Callers:
    """Proves callers. *realm* is None where no realm is, *admin_key* None where that way in is closed."""

    verifier: Verifier
    jwts: JwtVerifier
    directory: Directory
    auditor: Auditor
    realm: RealmTokens | None = None
    admin_key: str | None = None

    async def identify(self, presented: str, context: RequestContext, *, writing: bool, urgent: bool = False) -> Caller:
        """Return who presents that credential at the API, in a request with this *context* (no audience, no scopes).

        *writing*: what the realm says of a user now counts, beside what the token said. *urgent*: a revoke or suspend,
        for which the token's word is enough while the realm cannot be asked. Raises `KeyRefusedError` (401),
        `RightsError` for a good key that may not come in here (403), or `CannotTellError`.
        """
        if self._is_admin_key(presented):
            self._audit_admin_key(context)
            return Caller(kind=CallerKind.ADMIN_KEY, actor="admin-key", roles=frozenset({Role.ADMIN}))
        if presented.count(".") != 2:  # noqa: PLR2004 - RFC 7515, 3.1; no API key has a dot in it
            verdict = await self.verifier.verify(presented, context)
            return _caller_by_key(CallerKind.KEY, verdict, held_scopes(verdict.record, verdict.owner, context.rules))
        if self.realm is None or self.jwts.tokens.verify(presented) is not None:
            return await self._identify_jwt(presented, context)
        return await self._identify_user(self.realm, presented, context, writing=writing, urgent=urgent)

    def _is_admin_key(self, presented: str) -> bool:
        if self.admin_key is None:
            return False
        # Hashed first, so that not even the length is told by how long the comparison takes.
        digests = (hashlib.sha256(text.encode()).digest() for text in (presented, self.admin_key))
        return hmac.compare_digest(*digests)

    def _audit_admin_key(self, context: RequestContext) -> None:
        self.auditor.changed(
            AuditEvent(
                event="admin_key_used",
                outcome="accepted",
                address=context.address or None,
                request_id=context.request_id or None,
                detail={"door": context.door, "method": context.method, "path": context.path},
            )
        )

    async def _identify_jwt(self, token: str, context: RequestContext) -> Caller:
        presented = await self.jwts.verify(token, replace(context, audience=context.rules.api_audience))
        scopes = tuple(str(presented.claims.get("scope", "")).split())
        ceiling = _as_the_jwt(presented.verdict.record, presented.claims["gen"], scopes)
        return _caller_by_key(CallerKind.JWT, replace(presented.verdict, record=ceiling), scopes)

    async def _identify_user(
        self, realm: RealmTokens, token: str, context: RequestContext, *, writing: bool, urgent: bool
    ) -> Caller:
        try:
            user = await self._user(realm, token, writing=writing, urgent=urgent)
        except KeyRefusedError as refusal:
            self.auditor.refused(refusal, context)
            raise
        return Caller(
            kind=CallerKind.REALM_USER,
            actor=f"realm:{user.username}",
            subject=user.id,
            username=user.username,
            roles=_OWNER | {_BY_REALM_ROLE[role] for role in user.roles if role in _BY_REALM_ROLE},
            tenants=user.tenants,
        )

    async def _user(self, realm: RealmTokens, token: str, *, writing: bool, urgent: bool) -> RealmUser:
        user = await realm.verify(token)
        if user is None:
            raise KeyRefusedError(Reason.JWT_INVALID)
        return await self._as_of_now(user, urgent=urgent) if writing else user

    async def _as_of_now(self, user: RealmUser, *, urgent: bool) -> RealmUser:
        """Return *user* with the roles it still holds, or refuse one that was disabled or signed out."""
        try:
            owner = await self.directory.owner(user.id)
            if owner is None or not owner.enabled:
                raise KeyRefusedError(Reason.OWNER_DISABLED, owner=user.username)
            if user.issued_at <= owner.not_before:
                raise KeyRefusedError(Reason.JWT_KILLED, owner=user.username)
            held = await self.directory.roles(user.id) if user.roles else None
        except CannotTellError:
            if urgent:
                return user
            raise
        return user if held is None else replace(user, roles=_still_held(user.roles, held))


def _still_held(roles: Collection[str], held: Collection[str]) -> frozenset[str]:
    names = {"key-admin": KEY_ADMIN, "tenant-admin": TENANT_ADMIN}
    return frozenset(role for role in roles if names.get(role, role) in held)


def _as_the_jwt(record: KeyRecord, gen: int, scopes: tuple[str, ...]) -> KeyRecord:
    """Return the record as a JWT of that generation may use it.

    The attack: a secret that leaked and was rotated away, or a JWT that was asked for with less, hands out more.
    """
    given_by = min((secret for secret in record.earlier if gen <= secret.gen), key=lambda each: each.gen, default=None)
    seen = record if given_by is None else record.seen_by(given_by)
    return replace(seen, policy=seen.policy.changed({"scopes": scopes}))


def _caller_by_key(kind: CallerKind, verdict: Verdict, scopes: Collection[str]) -> Caller:
    record, owner = verdict.record, verdict.owner
    if API_SCOPES.isdisjoint(scopes):
        raise RightsError("a key needs a keys: scope to come in here", actor=f"key:{record.key_id}")
    roles = {_BY_SCOPE[scope] for scope in scopes if scope in _BY_SCOPE}
    if Role.OWNER_WRITE in roles and is_newcomer(owner.username):
        roles.add(Role.NEWCOMER)
    tenant = record.policy.tenant
    if "keys:admin" in scopes:
        roles.add(Role.TENANT_ADMIN if tenant else Role.ADMIN)
    return Caller(
        kind=kind,
        actor=f"key:{record.key_id}",
        subject=owner.id,
        username=owner.username,
        roles=frozenset(roles),
        tenants=frozenset({tenant} if tenant else ()),
        ceiling=record,
    )
