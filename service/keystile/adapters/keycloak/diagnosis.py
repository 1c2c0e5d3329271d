"""What doctor says about a realm, as far as the reader's and the writer's own credentials let it see."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from keystile.adapters.keycloak import wanted as want
from keystile.adapters.keycloak.attributes import CANARY, LOOKUPS, OURS, attributes_of, padded
from keystile.adapters.keycloak.events import events_are_kept
from keystile.errors import CannotTellError
from keystile.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from keystile.adapters.keycloak.client import KeycloakClient

_SETUP = "run 'keystile keycloak setup'"
_MOST_SKEW = 5.0  # seconds; what the realm is set up to let assertions be off


async def diagnose(
    reader: KeycloakClient,
    writer: KeycloakClient,
    tokens: KeycloakClient | None = None,
    *,
    older_keys: bool = False,
    realm_urls: tuple[str, ...] = (),
) -> list[Finding]:
    """Look at everything `setup` sees to; needs no administrator. What cannot be asked is a finding too.

    *realm_urls*: what the realm's own tokens may name as their issuer.
    """
    checks: list[Callable[[], Awaitable[list[Finding]]]] = [
        lambda: _profile(reader, older_keys=older_keys),
        lambda: _roles(reader, want.READER_ROLES),
        lambda: _roles(writer, want.WRITER_ROLES),
        lambda: _marks(reader),
        lambda: _events(reader),
        lambda: _canary(reader),
    ]
    if realm_urls:
        checks.append(lambda: _realm_issuer(reader, realm_urls))
    checks += [lambda: _clock(reader), lambda: _realm_keys(reader)]
    if tokens is not None:
        checks.append(lambda: _scope(writer, tokens))
    return [finding for check in checks for finding in await _guarded(check)]


async def _guarded(check: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    try:
        return await check()
    except CannotTellError as error:
        return [Finding(ok=False, what=str(error), fix=f"see that Keycloak answers, then {_SETUP}")]


async def _profile(reader: KeycloakClient, *, older_keys: bool) -> list[Finding]:
    profile = await reader.profile()
    policy = profile.get(want.POLICY)
    findings = [
        _judge(f"attribute {name} is declared, for administrators alone", good=want.is_declared(profile, name))
        for name in OURS
    ]
    if policy == want.OPEN_POLICY:
        fix = f"set the realm's unmanaged attributes to {want.OLDER_POLICY} or off"
        findings.append(Finding(ok=False, what="users can write undeclared attributes of their own", fix=fix))
    if older_keys:
        # How many there are is not said: Keycloak can only be asked user by user.
        findings.append(_judge("what stands beside older keys can be seen", good=policy is not None))
    return findings


async def _roles(client: KeycloakClient, wanted: frozenset[str]) -> list[Finding]:
    claims = await client.claims()
    held = set(claims.get("resource_access", {}).get("realm-management", {}).get("roles", ()))
    missing, excess = wanted - held, held - wanted - want.HARMLESS_ROLES
    findings = [_judge(f"client {client.id} has the roles {_list(wanted)}", good=not missing)]
    if excess:
        fix = f"take the roles {_list(excess)} of realm-management from service-account-{client.id}"
        findings.append(Finding(ok=False, what=f"client {client.id} may do more than it needs", fix=fix))
    return findings


async def _marks(reader: KeycloakClient) -> list[Finding]:
    held = (await reader.claims()).get("realm_access", {}).get("roles", ())
    return [_judge("roles are marked, so that the reader sees who holds them", good=want.MARKED in held)]


async def _events(reader: KeycloakClient) -> list[Finding]:
    config = await reader.events_config()
    return [
        _judge("the realm keeps the events Keystile follows", good=events_are_kept(config)),
        _judge("admin events are kept without details", good=not config.get("adminEventsDetailsEnabled")),
    ]


async def _canary(reader: KeycloakClient) -> list[Finding]:
    value = padded(CANARY) or ""
    users = await reader.users(q=f"{LOOKUPS}:{value}", max=2)
    return [_judge("the reader finds the canary", good=any(value in attributes_of(u).get(LOOKUPS, ()) for u in users))]


async def _realm_issuer(reader: KeycloakClient, realm_urls: tuple[str, ...]) -> list[Finding]:
    said = str((await reader.claims()).get("iss"))
    if said in realm_urls:
        return [Finding(ok=True, what=f"the realm calls itself {said}")]
    what = f"the realm calls itself {said}, so its tokens are not those of {realm_urls[0]}"
    return [Finding(ok=False, what=what, fix=f"set KEYSTILE_REALM_ISSUER={said}")]


async def _clock(reader: KeycloakClient) -> list[Finding]:
    # By the time in a token, for Keycloak sends no Date header; the time its answer took looks like no difference.
    await reader.claims()
    ahead = reader.server_time() - time.time()
    if abs(ahead) <= _MOST_SKEW:
        return [Finding(ok=True, what="this machine's clock and Keycloak's agree")]
    what = f"Keycloak's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
    return [Finding(ok=False, what=what, fix="let a time service, like chrony, set the clocks of both machines")]


async def _realm_keys(reader: KeycloakClient) -> list[Finding]:
    try:
        keys = (await reader.certs()).get("keys")
        why = "" if keys else "it shows none"
    except CannotTellError as error:
        why = str(error)
    if not why:
        return [Finding(ok=True, what="the realm shows the keys that verify its tokens")]
    path = f"/realms/{reader.realm}/protocol/openid-connect/certs"
    fix = f"see that KEYSTILE_KEYCLOAK_URL is Keycloak's address, and that what is in front of it passes {path} on"
    return [Finding(ok=False, what=f"the keys that verify the realm's tokens cannot be had: {why}", fix=fix)]


async def _scope(writer: KeycloakClient, tokens: KeycloakClient) -> list[Finding]:
    # Its own token would not tell: set-up takes the client scope away that maps roles. The writer may look at clients.
    await tokens.claims()
    found = await writer.client(tokens.id) or {}
    return [_judge(f"client {tokens.id} has full scope off", good=found.get("fullScopeAllowed") is False)]


def _judge(what: str, *, good: bool) -> Finding:
    return Finding(ok=True, what=what) if good else Finding(ok=False, what=f"not so: {what}", fix=_SETUP)


def _list(names: set[str] | frozenset[str]) -> str:
    return ", ".join(sorted(names))
