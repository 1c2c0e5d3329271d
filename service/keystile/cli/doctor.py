"""`keystile doctor`: what is wrong with a deployment, and the command that mends it."""

from __future__ import annotations

import asyncio
import stat
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from keystile.adapters.journal import FileJournal
from keystile.adapters.keycloak.client import KeycloakClient
from keystile.adapters.keycloak.diagnosis import Finding
from keystile.adapters.keycloak.diagnosis import diagnose as diagnose_keycloak
from keystile.adapters.keycloak.grant_diagnosis import diagnose_grant
from keystile.adapters.redis.durability import check_durability
from keystile.adapters.redis.link import RedisLink
from keystile.authority.breaker import Breaker
from keystile.cli.gate_findings import findings as gate_findings
from keystile.cli.peppers import count as count_peppers
from keystile.cli.peppers import findings as pepper_findings
from keystile.cli.reconcile import reconcile as put_right
from keystile.cli.signing_findings import findings as signing_findings
from keystile.errors import KeystileError
from keystile.settings import Store
from keystile.wiring import keycloak_access, load_peppers, open_deployment, open_signer

if TYPE_CHECKING:
    from keystile.settings import Settings


def diagnose(settings: Settings, *, reconcile: bool = False, count: bool = True, quiet: bool = True) -> list[Finding]:
    """Return everything looked at; *reconcile* also puts right what a restored backup of Keycloak undid.

    *count* looks at every owner, to tell what needs which pepper. *quiet* shows nobody how far that is.
    """
    return asyncio.run(_diagnose(settings, reconcile=reconcile, count=count, quiet=quiet))


async def _diagnose(settings: Settings, *, reconcile: bool, count: bool, quiet: bool) -> list[Finding]:
    findings = [_data_dir(settings), *gate_findings(settings), *await signing_findings(settings)]
    findings.append(await _journal(settings))
    if settings.store is Store.EMBEDDED:
        findings.append(await _store(settings))
    else:
        findings += [*await _redis(settings), *await _keycloak(settings)]
    if reconcile:
        findings += await put_right(settings, quiet=quiet)
    return [*await _peppers(settings, count=count, quiet=quiet), *findings]


async def _peppers(settings: Settings, *, count: bool, quiet: bool) -> list[Finding]:
    try:
        peppers = load_peppers(settings)
    except KeystileError as error:
        return [Finding(ok=False, what=str(error), fix="keystile peppers new, and set KEYSTILE_PEPPERS")]
    retired = len(peppers.all) - len(peppers.accepted)
    told = Finding(ok=True, what=f"peppers: {len(peppers.accepted)} accepted, {retired} retired")
    if not count:
        return [told]
    try:
        use = await count_peppers(settings, quiet=quiet)
    except KeystileError as error:
        fix = "see that the store answers, and run it again"
        return [told, Finding(ok=False, what=f"nobody can tell what needs which pepper: {error}", fix=fix)]
    return [told, *pepper_findings(use, peppers, settings.stamps)]


def _data_dir(settings: Settings) -> Finding:
    folder = settings.data_dir
    if not folder.exists():
        return Finding(ok=True, what=f"{folder} is not there yet")
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o022:
        return Finding(ok=False, what=f"others can write to {folder}", fix=f"chmod go-w {folder}")
    return Finding(ok=True, what=f"nobody else can write to {folder}")


async def _journal(settings: Settings) -> Finding:
    foreign: list[str] = []
    try:
        kept = await FileJournal(settings.data_dir / "journal", load_peppers(settings), alert=foreign.append).entries()
    except KeystileError as error:
        return Finding(ok=False, what=str(error), fix=f"see that {settings.data_dir} is readable")
    if foreign:
        return Finding(ok=False, what="; ".join(foreign), fix="look at it, and remove it")
    if kept:
        what = f"{len(kept)} revocations wait in the journal for Keycloak or Redis"
        return Finding(ok=False, what=what, fix="keystile serve, on this data folder, finishes them when both answer")
    return Finding(ok=True, what="no revocation waits in the journal")


async def _store(settings: Settings) -> Finding:
    try:
        async with open_deployment(settings) as deployment:
            keys = await deployment.lifecycle.all_keys()
    except KeystileError as error:
        return Finding(ok=False, what=str(error), fix=f"see that {settings.data_dir} is writable")
    return Finding(ok=True, what=f"the embedded store answers: {len(keys)} keys")


async def _redis(settings: Settings) -> list[Finding]:
    url = settings.redis_url.get_secret_value() if settings.redis_url else ""
    link = RedisLink.open(url, Breaker("Redis"))
    try:
        faults = await check_durability(link)
    except KeystileError as error:
        return [Finding(ok=False, what=str(error), fix="see that Redis answers at KEYSTILE_REDIS_URL")]
    finally:
        await link.aclose()
    if not faults:
        return [Finding(ok=True, what="Redis keeps what it acknowledged")]
    return [Finding(ok=False, what=f"Redis: {fault}", fix=fix) for fault, fix in faults]


async def _keycloak(settings: Settings) -> list[Finding]:
    clients = (
        (settings.keycloak_reader_id, settings.keycloak_reader_secret),
        (settings.keycloak_writer_id, settings.keycloak_writer_secret),
        (settings.keycloak_tokens_id, settings.keycloak_tokens_secret),
    )
    async with AsyncExitStack() as stack:
        opened = []
        for client_id, secret in clients:
            client = KeycloakClient(keycloak_access(settings, client_id, secret), alert=lambda _: None)
            stack.push_async_callback(client.close)
            opened.append(client)
        reader, writer, tokens = opened
        findings = await diagnose_keycloak(
            reader,
            writer,
            tokens if settings.keycloak_tokens_secret else None,
            older_keys=settings.older_keys,
        )
        return findings + (await _grant(settings, reader, writer, stack) if settings.realm_signs else [])


async def _grant(
    settings: Settings, reader: KeycloakClient, writer: KeycloakClient, stack: AsyncExitStack
) -> list[Finding]:
    signer = open_signer(settings, reader, writer, lambda _: None, stack)
    ttl = settings.token_ttl.total_seconds()
    return await diagnose_grant(signer, writer, settings.mapped_audiences, settings.realm_scopes, ttl)
