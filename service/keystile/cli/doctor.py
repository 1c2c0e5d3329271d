"""`keystile doctor`: what is wrong with a deployment, and the command that mends it."""

from __future__ import annotations

import asyncio
import stat
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from keystile.adapters.journal import FileJournal
from keystile.adapters.keycloak.client import KeycloakClient
from keystile.adapters.keycloak.diagnosis import diagnose as diagnose_keycloak
from keystile.adapters.keycloak.grant_diagnosis import diagnose_grant
from keystile.adapters.redis.durability import check_durability
from keystile.adapters.redis.link import RedisLink
from keystile.authority.breaker import Breaker
from keystile.cli.gate_findings import findings as gate_findings
from keystile.cli.key_findings import findings as key_findings
from keystile.cli.peppers import weak
from keystile.cli.reconcile import reconcile as put_right
from keystile.cli.running import settings_for_command
from keystile.cli.serving_findings import findings as serving_findings
from keystile.cli.signing_findings import findings as signing_findings
from keystile.errors import ConfigurationError, KeystileError
from keystile.findings import Finding
from keystile.settings import Store
from keystile.wiring import keycloak_access, load_peppers, open_deployment, open_signer

if TYPE_CHECKING:
    from keystile.assembly import Deployment
    from keystile.settings import Settings

_PEPPERS = "make one with 'keystile peppers new', and put it first in KEYSTILE_PEPPERS"


def diagnose(*, reconcile: bool = False, count: bool = True, quiet: bool = True) -> list[Finding]:
    """Return everything looked at; *reconcile* also puts right what a restored backup of Keycloak undid.

    *count* looks at every owner, to tell what their keys need. *quiet* shows nobody how far that is.
    """
    try:
        settings = settings_for_command()
    except ConfigurationError as error:
        return [Finding(ok=False, what=fault, fix=_fix_of(fault)) for fault in str(error).split("; ")]
    return asyncio.run(_diagnose(settings, reconcile=reconcile, count=count, quiet=quiet))


def _fix_of(fault: str) -> str:
    return _PEPPERS if "pepper" in fault.lower() else "correct that setting: the README's table has them all"


async def _diagnose(settings: Settings, *, reconcile: bool, count: bool, quiet: bool) -> list[Finding]:
    findings = [_data_dir(settings), *gate_findings(settings)]  # before anything is made in it
    try:
        async with open_deployment(settings) as deployment:
            findings += _peppers(settings)
            findings += await key_findings(deployment, quiet=quiet) if count else []
            findings += [*await signing_findings(deployment), *await serving_findings(deployment)]
            if settings.store is Store.EMBEDDED:
                findings.append(await _store(deployment))
            if reconcile:
                findings += await put_right(deployment, quiet=quiet)
    except (KeystileError, OSError) as error:
        findings.append(_unopened(settings, error))
    findings.append(await _journal(settings))
    if settings.store is Store.KEYCLOAK:
        findings += [*await _redis(settings), *await _keycloak(settings)]
    return findings


def _unopened(settings: Settings, error: Exception) -> Finding:
    fix = f"see that {settings.data_dir} can be written, and that {settings.signing_dir} holds a key or can be written"
    return Finding(ok=False, what=_words(error), fix=fix)


def _words(error: Exception) -> str:
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)


def _peppers(settings: Settings) -> list[Finding]:
    peppers = load_peppers(settings)
    retired = len(peppers.all) - len(peppers.accepted)
    told = Finding(ok=True, what=f"peppers: {len(peppers.accepted)} accepted, {retired} retired")
    return [told, *weak(peppers)]


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
    except (KeystileError, OSError) as error:
        fix = f"see that {settings.data_dir} can be read"
        return Finding(ok=False, what=f"the journal cannot be read: {_words(error)}", fix=fix)
    if foreign:
        return Finding(ok=False, what="; ".join(foreign), fix="look at it, and remove it")
    if kept:
        what = f"{len(kept)} revocations wait in the journal for Keycloak or Redis"
        return Finding(ok=False, what=what, fix="keystile serve, on this data folder, finishes them when both answer")
    return Finding(ok=True, what="no revocation waits in the journal")


async def _store(deployment: Deployment) -> Finding:
    try:
        keys = await deployment.lifecycle.all_keys()
    except KeystileError as error:
        fix = f"see that {deployment.settings.data_dir} is writable"
        return Finding(ok=False, what=str(error), fix=fix)
    return Finding(ok=True, what=f"the embedded store answers: {len(keys)} keys")


async def _redis(settings: Settings) -> list[Finding]:
    url = settings.redis_url.get_secret_value() if settings.redis_url else ""
    link = RedisLink.open(url, Breaker("Redis"))
    try:
        faults = await check_durability(link)
    except KeystileError as error:
        fix = "see that Redis answers at KEYSTILE_REDIS_URL, and lets its user run CONFIG GET"
        return [Finding(ok=False, what=f"nobody can tell what Redis keeps: {error}", fix=fix)]
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
            realm_urls=settings.realm_urls,
        )
        return findings + (await _grant(settings, reader, writer, stack) if settings.realm_signs else [])


async def _grant(
    settings: Settings, reader: KeycloakClient, writer: KeycloakClient, stack: AsyncExitStack
) -> list[Finding]:
    signer = open_signer(settings, reader, writer, lambda _: None, stack)
    ttl = settings.token_ttl.total_seconds()
    return await diagnose_grant(signer, writer, settings.mapped_audiences, settings.realm_scopes, ttl)
