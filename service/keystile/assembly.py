"""Putting the authority together over one kind of store; which adapters that means is for `wiring` to say."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog
from cachetools import TTLCache

from keystile.authority.administration import Administration
from keystile.authority.alterations import Alterations
from keystile.authority.assertions import AssertionVerifier
from keystile.authority.callers import Callers
from keystile.authority.census import Census
from keystile.authority.challenges import Challenges
from keystile.authority.chores import Chores
from keystile.authority.delegating import Delegating
from keystile.authority.exchange import Exchange
from keystile.authority.fallback import FallbackIndex
from keystile.authority.flights import Flights
from keystile.authority.follower import Follower
from keystile.authority.freshness import Freshness
from keystile.authority.handing import HandedOut
from keystile.authority.heralding import Herald
from keystile.authority.idle import IdleExpiry
from keystile.authority.impersonation import Impersonation
from keystile.authority.incidents import Incidents
from keystile.authority.introspection import Introspection
from keystile.authority.jwts import JwtVerifier
from keystile.authority.known_jwts import KnownJwts
from keystile.authority.lanes import Lane
from keystile.authority.lifecycle import Lifecycle
from keystile.authority.lookup import Lookup
from keystile.authority.matching import BcryptMatches
from keystile.authority.memory import ChangeMemory
from keystile.authority.mending import Mender
from keystile.authority.metering import Metering
from keystile.authority.negatives import Negatives
from keystile.authority.newcomers import Newcomers
from keystile.authority.polling import Poller
from keystile.authority.proof import BcryptWorkers, Prover
from keystile.authority.purging import Purger
from keystile.authority.realm import RealmWatch
from keystile.authority.realm_exchange import MOST_KEPT, RealmExchange
from keystile.authority.reconciling import Reconciler
from keystile.authority.registering import Registrar
from keystile.authority.repeats import Repeats
from keystile.authority.revocation import Revocation
from keystile.authority.rotation import Rotation
from keystile.authority.rounds import Rounds
from keystile.authority.sign_in import SignIn
from keystile.authority.signatures import Signatures
from keystile.authority.signing import SigningRing, SigningTimes
from keystile.authority.stops import Stops
from keystile.authority.tracing import traced_jwts, traced_verifier
from keystile.authority.usage import UsageReader, UsageRecorder
from keystile.authority.verifier import Verifier
from keystile.authority.visits import Visits
from keystile.authority.watching import EventWatch
from keystile.client_ids import ClientIds
from keystile.errors import CannotTellError
from keystile.expiries import cut, parse_expiry, parse_longest
from keystile.keys import KeyFormat
from keystile.limits import Levels
from keystile.policy import Rules
from keystile.restrictions import parse_tenant_defaults
from keystile.settings import Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from contextlib import AsyncExitStack

    from keystile.authority.auditing import Auditor
    from keystile.authority.breaker import Breaker
    from keystile.authority.recent import RecentAudit
    from keystile.peppers import Peppers
    from keystile.ports import (
        Allowances,
        ChangeLog,
        Directory,
        Enrolment,
        FailureLimiter,
        HandedTokens,
        IndexStore,
        Journal,
        Leases,
        NearVerdictCache,
        OwnerEvents,
        RealmSigner,
        RealmTokens,
        RecentEvents,
        SigningKeys,
        SigningNotes,
        TokenIssuer,
        Tracer,
        UsageStore,
        VerdictCache,
    )
    from keystile.settings import Settings

_POLLS_LATE = 15.0  # seconds without a complete poll; there is one every second
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The adapters of one kind of store. *cache* of None: the process's own is all there is.

    *signer*, *handed* and *link* are there where the realm signs JWTs. *breakers* are those without which the service
    is degraded, *others* stand before what only some requests need.
    """

    directory: Directory
    log: ChangeLog
    journal: Journal
    limiter: FailureLimiter
    visits: FailureLimiter
    allowances: Allowances
    near: NearVerdictCache
    tokens: TokenIssuer
    signing: SigningKeys
    signing_notes: SigningNotes
    usage: UsageStore
    recent: RecentEvents
    leases: Leases
    enrolment: Enrolment
    cache: VerdictCache | None = None
    index: IndexStore | None = None
    events: OwnerEvents | None = None
    own_events: OwnerEvents | None = None
    breakers: dict[str, Breaker] = field(default_factory=dict)
    others: dict[str, Breaker] = field(default_factory=dict)
    refresh_realm: Callable[[], Awaitable[int]] | None = None
    realm_tokens: RealmTokens | None = None
    signer: RealmSigner | None = None
    handed: HandedTokens | None = None
    link: Callable[[str], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Everything the edges use, opened."""

    settings: Settings
    rules: Rules
    directory: Directory
    purger: Purger
    incidents: Incidents
    reconciler: Reconciler | None
    verifier: Verifier
    metering: Metering
    jwts: JwtVerifier
    introspection: Introspection
    revocation: Revocation
    exchange: Exchange
    delegating: Delegating
    lifecycle: Lifecycle
    registrar: Registrar
    assertions: AssertionVerifier
    sign_in: SignIn
    visits: Visits
    alterations: Alterations
    administration: Administration
    repeats: Repeats
    callers: Callers
    tokens: TokenIssuer
    rotation: Rotation
    auditor: Auditor
    recorder: UsageRecorder
    usage: UsageReader
    recent: RecentEvents
    memory: ChangeMemory
    followed: bool
    breakers: dict[str, Breaker]
    others: dict[str, Breaker]
    index: FallbackIndex | None
    census: Census
    tracer: Tracer | None

    @property
    def dependencies(self) -> list[str]:
        """The names that `degraded` may tell."""
        return ["change_log", *(["events"] if self.followed else []), *self.breakers]

    def expiry(self, text: str | None, now: datetime) -> datetime | None:
        """Return the moment *text* means, None for never; without a text the default's, cut to what is allowed."""
        if text is not None:
            return parse_expiry(text, now)
        return cut(parse_expiry(self.settings.default_expiry, now), self.rules.longest_life, now)

    def degraded(self) -> list[str]:
        """Return what is out of reach right now."""
        silent = [] if self.memory.hears_log() else ["change_log"]
        if self.followed and not self.memory.followed_within(_POLLS_LATE):
            silent.append("events")
        return silent + [name for name, breaker in self.breakers.items() if breaker.is_open]


def now() -> datetime:
    """Return the wall clock's aware UTC moment."""
    return datetime.now(UTC)


def make_rules(settings: Settings) -> Rules:
    """Return what the deployment says about every key."""
    return Rules(
        default_audience=settings.default_audience,
        api_audience=settings.api_audience,
        accept_test_keys=bool(settings.accept_test_keys),
        audiences=frozenset(settings.audiences) or None,
        forbidden_audiences=settings.realm_urls,
        scopes=frozenset(settings.catalogue) or None,
        scope_roles={scope: needed for scope, needed in settings.catalogue.items() if needed},
        knows_roles=settings.store is Store.KEYCLOAK,
        tenant_defaults=parse_tenant_defaults(settings.tenant_defaults),
        levels=Levels.parse(settings.levels, settings.default_level),
        longest_life=parse_longest(settings.max_expiry),
        owner_claims=settings.owner_claims,
    )


class Assembly:
    """Puts the authority together over one backend."""

    def __init__(
        self,
        settings: Settings,
        peppers: Peppers,
        auditor: Auditor,
        recent: RecentAudit,
        backend: Backend,
        stack: AsyncExitStack,
        *,
        process: str,
        tracer: Tracer | None = None,
    ) -> None:
        self._settings = settings
        self._peppers = peppers
        self._auditor = auditor
        self._recent = recent
        self._backend = backend
        self._stack = stack
        self._usage = UsageRecorder(
            clock=now, ticks=time.monotonic, alert=auditor.alert, door=f"{settings.issuer_path}/verify"
        )
        stack.push_async_callback(recent.flush, backend.recent)  # last, when nothing more can happen
        stack.push_async_callback(self._usage.flush, backend.usage, all_uses=True)
        self._memory = ChangeMemory(time.monotonic)
        self._follower = Follower(backend.log, self._memory, clock=now, ticks=time.monotonic, alert=auditor.alert)
        self._tracer = tracer
        self._format = KeyFormat(
            peppers,
            brand=settings.brand,
            stamps=settings.stamps,
            older=settings.older_keys and backend.index is not None,
        )
        self._client_ids = ClientIds(peppers, stamps=settings.stamps)
        self._realm = None
        if backend.refresh_realm is not None:
            self._realm = RealmWatch(backend.refresh_realm, self._follower, self._memory, clock=now)
        self._chores = Chores()
        self._census = Census(clock=now)
        workers = BcryptWorkers()
        stack.callback(workers.close)
        self._prover = Prover(
            peppers,
            workers,
            always_bcrypt=settings.always_bcrypt,
            older_secret=settings.older_secret,
        )
        self._stops = Stops(
            directory=backend.directory, follower=self._follower, journal=backend.journal, auditor=auditor, clock=now
        )
        self._purger = Purger(directory=backend.directory, auditor=auditor, clock=now)
        self._incidents = Incidents(directory=backend.directory, stops=self._stops, clock=now)
        self._reconciler = None
        if backend.cache is not None:  # the embedded store keeps no floors beside it
            self._reconciler = Reconciler(floors=backend.cache, stops=self._stops, auditor=auditor)
        self._mender = Mender(backend.directory, self._chores, self._stops)
        self._near = backend.near
        self._index = self._make_index(peppers)
        self._tokens = backend.tokens
        self._ring = self._make_ring(process)
        self._rules = make_rules(settings)
        self._metering = Metering(
            backend.allowances,
            self._rules.levels,
            clock=now,
            ticks=time.monotonic,
            allow_uncounted=settings.limits_without_redis == "allow",
        )
        verifier = self._make_verifier(peppers)
        self._verifier = verifier if tracer is None else traced_verifier(verifier, tracer)
        stack.push_async_callback(self._chores.finish)
        self._handed = self._make_handed()

    async def listen(self) -> None:
        """Hear the log and read the realm once before anything is answered; what is out of reach comes later."""
        try:
            await self._follower.read()
        except CannotTellError as error:
            _log.warning("the change log is out of reach", why=str(error))
        await self._ring.start()
        if self._realm is not None:
            try:
                await self._realm.look()
            except CannotTellError as error:
                _log.warning("the realm cannot be read", why=str(error))

    async def join(self) -> None:
        """Tell the other processes what this one will show and sign with, before it does."""
        try:
            await self._ring.tell()
        except CannotTellError as error:
            _log.warning("signing keys are not noted", why=str(error))

    def start_background(self) -> None:
        """Follow the log, the events and the audit's clock until the deployment closes."""
        self._spawn("change log", self._follower.run)
        self._spawn("audit", self._auditor.run)
        self._spawn("journal", lambda: self._stops.keep_obeying(self._memory))
        self._spawn("journal to finish", self._stops.keep_finishing)
        self._spawn("recent audit", lambda: self._recent.run(self._backend.recent))
        self._spawn("signing keys", self._ring.run)
        self._spawn("usage", lambda: self._usage.run(self._backend.usage))
        backend = self._backend
        if backend.own_events is not None:
            watch = EventWatch(backend.own_events, self._memory, ticks=time.monotonic)
            self._spawn("events of our own", watch.run)
        if backend.events is not None and self._index is not None:
            poller = Poller(
                backend.events,
                backend.leases,
                self._follower,
                self._memory,
                backend.directory,
                backend.cache or self._near,
                self._index,
                self._mender,
                self._stops,
                clock=now,
            )
            self._stack.push_async_callback(poller.close)
            self._spawn("events", poller.run)
        if backend.events is None:
            self._spawn("stops", lambda: self._stops.keep_writing(self._memory))
        if self._realm is not None:
            self._spawn("realm", self._realm.run)
        if self._handed is not None:
            self._spawn("tokens of the realm", self._handed.run)
        herald = Herald(leases=backend.leases, idle=IdleExpiry(backend.usage), auditor=self._auditor, clock=now)
        visitors = (self._purger, herald)
        rounds = Rounds(backend.directory, backend.leases, visitors, self._census, ticks=time.monotonic)
        self._spawn("rounds", rounds.run)

    def deployment(self) -> Deployment:
        """Return what the edges use."""
        jwts = self._make_jwts()
        exchange = self._make_exchange()
        lifecycle = Lifecycle(
            directory=self._backend.directory,
            follower=self._follower,
            stops=self._stops,
            format=self._format,
            prover=self._prover,
            auditor=self._auditor,
            rules=self._rules,
            clock=now,
            max_keys_per_owner=self._settings.max_keys_per_owner,
            link=self._backend.link,
        )
        alterations = Alterations(lifecycle=lifecycle, memory=self._memory)
        registrar = Registrar(lifecycle=lifecycle, ids=self._client_ids, leases=self._backend.leases)
        signatures = Signatures(verifier=self._verifier, ids=self._client_ids, leases=self._backend.leases)
        return Deployment(
            settings=self._settings,
            rules=self._rules,
            directory=self._backend.directory,
            purger=self._purger,
            incidents=self._incidents,
            reconciler=self._reconciler,
            verifier=self._verifier,
            jwts=jwts,
            metering=self._metering,
            exchange=exchange,
            delegating=Delegating(verifier=self._verifier, jwts=jwts, exchange=exchange),
            introspection=Introspection(
                verifier=self._verifier,
                jwts=jwts,
                exchange=exchange,
                realm=self._backend.realm_tokens,
                clients=self._settings.introspecting,
            ),
            revocation=Revocation(jwts=jwts, alterations=alterations, handed=self._handed),
            lifecycle=lifecycle,
            registrar=registrar,
            assertions=AssertionVerifier(signatures=signatures, issuer=self._tokens.issuer, clock=now),
            sign_in=self._make_sign_in(signatures, registrar),
            visits=Visits(self._backend.visits),
            alterations=alterations,
            administration=Administration(
                directory=self._backend.directory,
                lifecycle=lifecycle,
                registrar=registrar,
                alterations=alterations,
                stops=self._stops,
                incidents=self._incidents,
                impersonation=Impersonation(directory=self._backend.directory, auditor=self._auditor),
                auditor=self._auditor,
            ),
            repeats=Repeats(self._backend.leases),
            callers=Callers(
                verifier=self._verifier,
                jwts=jwts,
                directory=self._backend.directory,
                auditor=self._auditor,
                realm=self._backend.realm_tokens,
                admin_key=self._settings.admin_key.get_secret_value() if self._settings.admin_key else None,
            ),
            tokens=self._tokens,
            rotation=Rotation(
                ring=self._ring,
                keys=self._backend.signing,
                auditor=self._auditor,
                clock=now,
                max_age=self._settings.jwks_max_age,
            ),
            auditor=self._auditor,
            recorder=self._usage,
            usage=UsageReader(self._backend.usage, clock=now),
            recent=self._backend.recent,
            memory=self._memory,
            followed=self._backend.events is not None,
            breakers=self._backend.breakers,
            others=self._backend.others,
            index=self._index,
            census=self._census,
            tracer=self._tracer,
        )

    def _make_handed(self) -> HandedOut | None:
        backend = self._backend
        if backend.signer is None or backend.handed is None:
            return None
        ttl = self._settings.token_ttl
        handed = HandedOut(
            backend.handed, backend.signer, backend.leases, self._memory, clock=now, ticks=time.monotonic, ttl=ttl
        )
        self._stack.push_async_callback(handed.finish)
        return handed

    def _make_exchange(self) -> Exchange:
        ttl = self._settings.token_ttl
        if self._backend.signer is None or self._handed is None:
            return Exchange(self._tokens, now, ttl, self._auditor)
        return RealmExchange(
            self._tokens,
            now,
            ttl,
            signer=self._backend.signer,
            handed=self._handed,
            memory=self._memory,
            auditor=self._auditor,
            lane=Lane(running=16, waiting=1_000, per_caller=500),
            kept=TTLCache(MOST_KEPT, ttl.total_seconds(), timer=time.monotonic),
            flights=Flights(),
        )

    def _make_jwts(self) -> JwtVerifier:
        jwts = JwtVerifier(
            verifier=self._verifier,
            tokens=KnownJwts(self._tokens, clock=now),
            directory=self._backend.directory,
            records=TTLCache(max(1, self._settings.cache_entries), self._lasting.total_seconds()),
            flights=Flights(),
        )
        return jwts if self._tracer is None else traced_jwts(jwts, self._tracer)

    def _make_ring(self, process: str) -> SigningRing:
        settings = self._settings
        return SigningRing(
            self._backend.signing,
            self._backend.signing_notes,
            self._auditor,
            process=process,
            algorithm=settings.signing_alg,
            times=SigningTimes(
                max_age=settings.jwks_max_age.total_seconds(), token_ttl=settings.token_ttl.total_seconds()
            ),
            clock=now,
            ticks=time.monotonic,
            on_change=self._near.forget_answers,
        )

    def _make_sign_in(self, signatures: Signatures, registrar: Registrar) -> SignIn:
        backend, settings, newcomers = self._backend, self._settings, None
        if settings.self_registration:
            newcomers = Newcomers(
                registrar=registrar,
                enrolment=backend.enrolment,
                allowances=backend.allowances,
                auditor=self._auditor,
                clock=now,
                most=settings.self_registrations_per_day,
                life=lambda: cut(parse_expiry(settings.default_expiry, now()), self._rules.longest_life, now()),
            )
        challenges = Challenges(peppers=self._peppers, signatures=signatures, issuer=self._tokens.issuer, clock=now)
        return SignIn(challenges=challenges, signatures=signatures, directory=backend.directory, newcomers=newcomers)

    @property
    def _lasting(self) -> timedelta:
        return self._settings.cache_ttl + self._settings.stale_ttl

    def _make_index(self, peppers: Peppers) -> FallbackIndex | None:
        backend = self._backend
        if backend.index is None:
            return None
        index = FallbackIndex(
            backend.directory,
            backend.index,
            backend.leases,
            self._memory,
            self._prover,
            peppers,
            next_poll=self._follower.next_poll,
            clock=now,
            ticks=time.monotonic,
            older_keys=self._settings.older_keys,
        )
        self._stack.push_async_callback(index.close)
        return index

    def _make_verifier(self, peppers: Peppers) -> Verifier:
        backend, index = self._backend, self._index
        matches = None
        if index is not None:
            limit = self._settings.older_bcrypt_records
            matches = BcryptMatches(index, self._prover, ticks=time.monotonic, limit=limit)
            self._stack.push_async_callback(matches.close)
        return Verifier(
            format=self._format,
            near=self._near,
            far=backend.cache or self._near,
            lookup=Lookup(backend.directory, self._prover, peppers, index, matches),
            memory=self._memory,
            freshness=Freshness(
                self._memory,
                clock=now,
                ticks=time.monotonic,
                cache_ttl=self._settings.cache_ttl,
                stale_ttl=self._settings.stale_ttl,
                followed=backend.events is not None,
            ),
            negatives=Negatives(self._memory, ticks=time.monotonic),
            limiter=backend.limiter,
            metering=self._metering,
            lane=Lane(running=16, waiting=1_000, per_caller=500),
            # Long, so that a flood waits instead of coming again at once, and slow: one look-up at a time, and four
            # times as long without any.
            slow_lane=Lane(running=1, waiting=1_000, per_caller=100, rest=4.0),
            unstamped_lane=Lane(running=4, waiting=200, per_caller=self._settings.failures_per_minute),
            mender=self._mender,
            chores=self._chores,
            auditor=self._auditor,
            usage=self._usage,
            idle=IdleExpiry(backend.usage),
            clock=now,
            ticks=time.monotonic,
            flights=Flights(),
        )

    def _spawn(self, name: str, run: Callable[[], Coroutine[None, None, None]]) -> None:
        task = asyncio.create_task(_keep_running(name, run))

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self._stack.push_async_callback(end)


async def _keep_running(name: str, run: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await run()
        except Exception:  # noqa: BLE001 - logged, and better alive than half a process
            _log.exception("a background task failed and starts again", task=name)
            await asyncio.sleep(1.0)
