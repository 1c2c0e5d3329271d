"""Wiring: the one place that chooses adapters, and opens and closes them."""

from __future__ import annotations

import os
import secrets
import socket
import time
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from keystile.adapters.audit import JsonLinesAuditLog
from keystile.adapters.journal import FileJournal
from keystile.adapters.keycloak.access import ClientAccess, Credentials
from keystile.adapters.keycloak.client import KeycloakClient
from keystile.adapters.keycloak.directory import KeycloakDirectory
from keystile.adapters.keycloak.enrolment import KeycloakEnrolment
from keystile.adapters.keycloak.events import KeycloakEvents
from keystile.adapters.keycloak.issuer import KeycloakTokenIssuer
from keystile.adapters.keycloak.links import KeycloakLinks
from keystile.adapters.keycloak.realm_tokens import KeycloakRealmTokens
from keystile.adapters.memory.cache import InProcessVerdictCache
from keystile.adapters.memory.limiter import InProcessFailureLimiter
from keystile.adapters.redis.allowances import RedisAllowances
from keystile.adapters.redis.cache import RedisVerdictCache
from keystile.adapters.redis.events import RedisRecentEvents
from keystile.adapters.redis.handed import RedisHandedTokens
from keystile.adapters.redis.index import RedisIndexStore
from keystile.adapters.redis.leases import RedisLeases
from keystile.adapters.redis.limiter import RedisFailureLimiter
from keystile.adapters.redis.link import RedisLink
from keystile.adapters.redis.log import RedisChangeLog
from keystile.adapters.redis.signing_notes import RedisSigningNotes
from keystile.adapters.redis.usage import RedisUsageStore
from keystile.adapters.secret_files import read_or_make
from keystile.adapters.signing.assertions import assertions_from, load_assertion_key
from keystile.adapters.signing.folder import SigningKeyFolder
from keystile.adapters.sqlite.allowances import SqliteAllowances
from keystile.adapters.sqlite.database import SqliteDatabase
from keystile.adapters.sqlite.directory import SqliteDirectory
from keystile.adapters.sqlite.enrolment import SqliteEnrolment
from keystile.adapters.sqlite.events import SqliteRecentEvents
from keystile.adapters.sqlite.leases import SqliteLeases
from keystile.adapters.sqlite.log import SqliteChangeLog
from keystile.adapters.sqlite.signing_notes import SqliteSigningNotes
from keystile.adapters.sqlite.usage import SqliteUsageStore
from keystile.adapters.worker_files import WorkerFiles
from keystile.assembly import Assembly, Backend, Deployment, now
from keystile.authority.auditing import Auditor
from keystile.authority.breaker import Breaker
from keystile.authority.recent import RecentAudit
from keystile.authority.visits import VISITS_PER_MINUTE
from keystile.clients import client_of
from keystile.errors import ConfigurationError
from keystile.peppers import Peppers, new_pepper
from keystile.settings import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import ModuleType

    from pydantic import SecretStr

    from keystile.adapters.otel import OtelTracer
    from keystile.settings import Settings

LOG_RETENTION = timedelta(hours=2)  # longer than any verdict or JWT lives


def load_peppers(settings: Settings) -> Peppers:
    """Return the configured peppers; the embedded store makes its own where none are."""
    if settings.peppers is not None:
        return Peppers.parse(settings.peppers.get_secret_value())
    text = read_or_make(settings.data_dir / "peppers", lambda: new_pepper().encode())
    return Peppers.parse(text.decode())


def check_files(settings: Settings) -> None:
    """Make ready on disk what a server needs; raise a `ConfigurationError` if it cannot be opened or made."""
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        load_peppers(settings)
        open_signing_keys(settings)
        if settings.realm_signs:
            load_assertion_key(settings.assertion_dir)
        JsonLinesAuditLog(settings.audit_log).close()
        worker_files(settings).clear()  # they count from nothing, as the processes do
        if settings.traces:
            _load_otel()
    except OSError as error:
        raise ConfigurationError(f"{error.filename}: {error.strerror}") from error


@asynccontextmanager
async def open_deployment(settings: Settings, *, serving: bool = False) -> AsyncIterator[Deployment]:
    """Open everything; *serving* also follows the log and the events in the background until the end."""
    async with AsyncExitStack() as stack:
        # Closed last: a collector that does not answer holds up the end, and nothing may be lost for its sake.
        tracer = _open_tracer(stack) if serving and settings.traces else None
        peppers = load_peppers(settings)
        audit = JsonLinesAuditLog(settings.audit_log)
        stack.callback(audit.close)
        recent = RecentAudit(audit, clock=now, ticks=time.monotonic)
        auditor = Auditor(recent, ticks=time.monotonic)
        stack.callback(auditor.flush)
        open_backend = _open_keycloak if settings.store is Store.KEYCLOAK else _open_embedded
        backend = await open_backend(settings, peppers, auditor, stack)
        parts = Assembly(settings, peppers, auditor, recent, backend, stack, process=_process_name(), tracer=tracer)
        await parts.listen()
        if serving:
            await parts.join()
            parts.start_background()
        yield parts.deployment()


async def _open_embedded(settings: Settings, peppers: Peppers, auditor: Auditor, stack: AsyncExitStack) -> Backend:
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = SqliteDatabase(settings.data_dir / "keystile.db")
    await database.open()
    stack.push_async_callback(database.close)
    signing = open_signing_keys(settings)
    return Backend(
        directory=SqliteDirectory(database),
        log=SqliteChangeLog(database, peppers, retention=LOG_RETENTION),
        journal=_journal(settings, peppers, auditor),
        limiter=InProcessFailureLimiter(failures=settings.failures_per_minute),
        visits=InProcessFailureLimiter(failures=VISITS_PER_MINUTE),
        allowances=SqliteAllowances(database),
        near=_near(settings),
        tokens=signing.issuer,
        signing=signing,
        signing_notes=SqliteSigningNotes(database, peppers),
        usage=SqliteUsageStore(database),
        recent=SqliteRecentEvents(database),
        leases=SqliteLeases(database),
        enrolment=SqliteEnrolment(database),
    )


async def _open_keycloak(settings: Settings, peppers: Peppers, auditor: Auditor, stack: AsyncExitStack) -> Backend:
    breakers = {"redis": Breaker("Redis"), "keycloak": Breaker("Keycloak")}
    others = {"keycloak_writer": Breaker("Keycloak")}
    link = RedisLink.open(_secret(settings.redis_url), breakers["redis"])
    stack.push_async_callback(link.aclose)
    reader = KeycloakClient(
        keycloak_access(settings, settings.keycloak_reader_id, settings.keycloak_reader_secret),
        alert=auditor.alert,
        breaker=breakers["keycloak"],
    )
    writer = KeycloakClient(
        keycloak_access(settings, settings.keycloak_writer_id, settings.keycloak_writer_secret),
        alert=auditor.alert,
        breaker=others["keycloak_writer"],
    )
    stack.push_async_callback(reader.close)
    stack.push_async_callback(writer.close)
    leases = RedisLeases(link)
    told = tuple(settings.owner_claims.mappers)
    directory = KeycloakDirectory(reader, writer, leases, alert=auditor.alert, told=told)
    stack.push_async_callback(directory.close)
    signing = open_signing_keys(settings)
    near_limiter = InProcessFailureLimiter(failures=settings.failures_per_minute)
    signer = None
    if settings.realm_signs:
        others["keycloak_tokens"] = Breaker("Keycloak")
        signer = open_signer(settings, reader, writer, auditor.alert, stack, others["keycloak_tokens"])
    return Backend(
        directory=directory,
        log=RedisChangeLog(link, peppers, retention=LOG_RETENTION),
        journal=_journal(settings, peppers, auditor),
        limiter=RedisFailureLimiter(
            link, peppers.current.tag, near_limiter, client_of, failures=settings.failures_per_minute
        ),
        visits=RedisFailureLimiter(
            link,
            peppers.current.visits,
            InProcessFailureLimiter(failures=VISITS_PER_MINUTE),
            client_of,
            failures=VISITS_PER_MINUTE,
        ),
        allowances=RedisAllowances(link),
        near=_near(settings),
        tokens=signing.issuer if signer is None else signer,
        signing=signing,
        signing_notes=RedisSigningNotes(link, peppers),
        signer=signer,
        handed=None if signer is None else RedisHandedTokens(link, peppers),
        link=None if signer is None else KeycloakLinks(writer).ensure,
        usage=RedisUsageStore(link, peppers),
        recent=RedisRecentEvents(link, peppers, on_tampering=auditor.alert),
        cache=RedisVerdictCache(link, peppers, settings.cache_ttl + settings.stale_ttl, on_tampering=auditor.alert),
        leases=leases,
        enrolment=KeycloakEnrolment(writer),
        index=RedisIndexStore(link, peppers),
        events=KeycloakEvents(reader, writer_id=settings.keycloak_writer_id, alert=auditor.alert),
        own_events=KeycloakEvents(reader, writer_id=settings.keycloak_writer_id, alert=auditor.alert),
        breakers=breakers,
        others=others,
        refresh_realm=directory.refresh_realm,
        realm_tokens=KeycloakRealmTokens(
            reader.certs, issuer=settings.realm_issuer, clients=settings.api_clients, servers=settings.introspecting
        ),
    )


def open_signer(
    settings: Settings,
    reader: KeycloakClient,
    writer: KeycloakClient,
    alert: Callable[[str], None],
    stack: AsyncExitStack,
    breaker: Breaker | None = None,
) -> KeycloakTokenIssuer:
    """Open what asks the realm for tokens."""
    assertion = assertions_from(
        settings.assertion_dir,
        issuer=settings.assertion_issuer,
        audience=settings.realm_issuer,
        clock=reader.server_time,
    )
    signer = KeycloakTokenIssuer(
        keycloak_access(settings, settings.keycloak_tokens_id, settings.keycloak_tokens_secret),
        issuer=settings.issuer,
        realm_issuer=settings.realm_issuer,
        assertion=assertion,
        link=KeycloakLinks(writer).mend,
        alert=alert,
        breaker=breaker or Breaker("Keycloak"),
    )
    stack.push_async_callback(signer.close)
    return signer


def _journal(settings: Settings, peppers: Peppers, auditor: Auditor) -> FileJournal:
    return FileJournal(settings.data_dir / "journal", peppers, alert=auditor.alert)


def _near(settings: Settings) -> InProcessVerdictCache:
    return InProcessVerdictCache(settings.cache_ttl + settings.stale_ttl, max_entries=settings.cache_entries)


def open_signing_keys(settings: Settings) -> SigningKeyFolder:
    """Return the signing keys, one of the set algorithm made if there is none. Raises `ConfigurationError`."""
    new_from = now() + settings.jwks_max_age
    return SigningKeyFolder.open(settings.signing_dir, settings.signing_alg, settings.issuer, new_from=new_from)


def _open_tracer(stack: AsyncExitStack) -> OtelTracer:
    otel = _load_otel()
    tracer: OtelTracer = otel.OtelTracer(otel.make_exporter(), version("keystile"))
    stack.push_async_callback(tracer.close)
    return tracer


def _load_otel() -> ModuleType:
    try:
        return import_module("keystile.adapters.otel")  # an extra: only who traces has what it imports
    except ImportError as error:
        raise ConfigurationError("KEYSTILE_TRACES needs what 'keystile[otel]' installs beside keystile") from error


def worker_files(settings: Settings) -> WorkerFiles:
    """Return where the workers of one server tell each other what they count; several servers may share a folder."""
    server = f"{socket.gethostname()}-{settings.host}-{settings.port}"
    return WorkerFiles(settings.data_dir / "metrics" / server)


def _process_name() -> str:
    """Return a name no process had before: containers share numbers, and restarted ones whole names."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


def keycloak_access(settings: Settings, client_id: str, secret: SecretStr | None) -> ClientAccess:
    """Return how one of our clients reaches the realm."""
    return ClientAccess(
        url=settings.keycloak_url,
        realm=settings.keycloak_realm,
        client=Credentials(id=client_id, secret=_secret(secret)),
    )


def _secret(value: SecretStr | None) -> str:
    return value.get_secret_value() if value is not None else ""
