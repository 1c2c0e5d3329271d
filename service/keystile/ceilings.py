"""Ceilings: a key that calls, or a JWT of it, gives no other key more than it has itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystile.errors import RightsError
from keystile.restrictions import OWN_LIMITS, Policy
from keystile.rights import Role

if TYPE_CHECKING:
    from datetime import datetime

    from keystile.keys import Environment
    from keystile.limits import Levels
    from keystile.records import KeyRecord
    from keystile.rights import Caller

_NONE_BY_DEFAULT = {
    "scopes": (),
    "audiences": (),
    "may_act": (),
    "act_depth": 1,
}  # of these a key has none unless some are asked for


def inherited(caller: Caller, tenant: str = "") -> Policy:
    """Return the policy a new key of *caller* starts from: what restricts a key that calls restricts its own keys.

    A person who administers *tenant* may start from there.
    """
    if caller.ceiling is not None:
        return caller.ceiling.policy.changed(_NONE_BY_DEFAULT)
    return Policy(tenant=tenant if tenant in caller.tenants and Role.TENANT_ADMIN in caller.roles else "")


def check_may_issue(caller: Caller) -> None:
    """Raise a `RightsError` if the key that calls has numbers of its own: each key it issued would have them anew."""
    if caller.ceiling is not None and caller.ceiling.policy.has_own_limits:
        raise RightsError("a key with limits of its own issues no keys", fields=OWN_LIMITS)


def check_within(
    caller: Caller,
    policy: Policy,
    expires_at: datetime | None,
    environment: Environment,
    *,
    before: KeyRecord | None = None,
    levels: Levels | None = None,
) -> None:
    """Raise a `RightsError` naming what exceeds the key that calls; people have no ceiling.

    For a change, *before* is the record as it is: what is not widened may stay as it was. For a rotation there is no
    *before*: it hands out a secret, so it is like issuing the whole key once more. *levels* are the deployment's.
    """
    ceiling = caller.ceiling
    if ceiling is None:
        return
    beyond = policy.exceeds(ceiling.policy)
    if levels is not None and ceiling.policy.level == "" and policy.level not in ("", levels.default):
        beyond |= {"level"} if levels.default else set()  # the level of who names none limits it all the same
    if _later(expires_at, ceiling.expires_at):
        beyond |= {"expires_at"}
    if environment != ceiling.environment:
        beyond |= {"environment"}
    if before is not None:
        beyond &= policy.exceeds(before.policy) | ({"expires_at"} if _later(expires_at, before.expires_at) else set())
    if beyond:
        raise RightsError(f"a key gives no more than it has: {', '.join(sorted(beyond))}", fields=beyond)


def _later(one: datetime | None, other: datetime | None) -> bool:
    """Tell whether the first moment is later; None is never."""
    return other is not None and (one is None or one > other)
