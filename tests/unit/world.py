"""A verifier to try: the real authority over a real embedded store, with clocks that stand still and reads to watch."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cachetools import TTLCache

from keystile.adapters.journal import FileJournal
from keystile.adapters.memory.cache import InProcessVerdictCache
from keystile.adapters.memory.limiter import InProcessFailureLimiter
from keystile.adapters.memory.log import InProcessChangeLog
from keystile.adapters.signing.files import load_or_make
from keystile.adapters.signing.issuer import LocalTokenIssuer
from keystile.adapters.sqlite.allowances import SqliteAllowances
from keystile.adapters.sqlite.database import SqliteDatabase
from keystile.adapters.sqlite.directory import SqliteDirectory
from keystile.adapters.sqlite.usage import SqliteUsageStore
from keystile.authority.alterations import Alterations
from keystile.authority.auditing import Auditor
from keystile.authority.callers import Callers
from keystile.authority.chores import Chores
from keystile.authority.delegating import Delegating
from keystile.authority.exchange import Exchange
from keystile.authority.flights import Flights
from keystile.authority.follower import Follower
from keystile.authority.freshness import Freshness
from keystile.authority.idle import IdleExpiry
from keystile.authority.jwts import JwtVerifier
from keystile.authority.lanes import Lane
from keystile.authority.lifecycle import IssuedKey, KeyRequest, Lifecycle
from keystile.authority.lookup import Lookup
from keystile.authority.memory import ChangeMemory
from keystile.authority.mending import Mender
from keystile.authority.metering import Metering
from keystile.authority.negatives import Negatives
from keystile.authority.proof import BcryptWorkers, Prover
from keystile.authority.stops import Stops
from keystile.authority.usage import UsageRecorder
from keystile.authority.verifier import Verifier
from keystile.claims import grant
from keystile.keys import KeyFormat, Stamps
from keystile.restrictions import Policy
from unit.builders import ISSUER, PEPPERS, asked, rules
from unit.watched import (
    KeptAudit,
    Time,
    ToldRealm,
    WatchedAllowances,
    WatchedCache,
    WatchedDirectory,
    WatchedUsageStore,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from keystile.claims import Grant
    from keystile.keys import ApiKey
    from keystile.peppers import Peppers
    from keystile.policy import RequestContext
    from keystile.records import KeyRecord, Owner
    from keystile.verdicts import Verdict

TTL = timedelta(minutes=15)
ADMIN_KEY = "a-bootstrap-key-of-32-characters-"


@dataclass(frozen=True, kw_only=True)
class Process:
    """What one server process keeps to itself."""

    near: InProcessVerdictCache
    memory: ChangeMemory
    follower: Follower
    verifier: Verifier
    jwts: JwtVerifier
    callers: Callers
    lifecycle: Lifecycle
    alterations: Alterations
    metering: Metering
    chores: Chores
    prover: Prover


@dataclass(kw_only=True)
class World:
    """A deployment: one store, one log, one far cache, and as many processes as a test starts."""

    time: Time
    peppers: Peppers
    store: SqliteDirectory
    directory: WatchedDirectory
    log: InProcessChangeLog
    journal: FileJournal
    far: WatchedCache
    usage: WatchedUsageStore
    allowances: WatchedAllowances
    audit: KeptAudit
    tokens: LocalTokenIssuer
    workers: BcryptWorkers
    realm: ToldRealm = field(default_factory=ToldRealm)
    failures: int = 3
    older_secret: bytes | None = b"older secret"
    processes: list[Process] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)

    @property
    def here(self) -> Process:
        """The first process."""
        return self.processes[0]

    @property
    def exchange(self) -> Exchange:
        """What makes JWTs of five minutes."""
        return Exchange(self.tokens, self.time.now, timedelta(minutes=5))

    def granted(self, verdict: Verdict, context: RequestContext) -> tuple[Grant, dict[str, Any]]:
        """Return what a JWT made now grants, and its claims."""
        granted = grant(verdict.record, verdict.owner, context)
        return granted, self.exchange.claims(verdict, granted, context)

    def delegating(self, process: Process | None = None) -> Delegating:
        """Return what exchanges tokens in that process."""
        process = process or self.here
        return Delegating(verifier=process.verifier, jwts=process.jwts, exchange=self.exchange)

    async def start(
        self,
        peppers: Peppers | None = None,
        *,
        stamps: Stamps = Stamps.ENFORCE,
        always_bcrypt: bool = False,
        allow_uncounted: bool = False,
    ) -> Process:
        """Start another process, which has heard the log."""
        peppers = peppers or self.peppers
        memory = ChangeMemory(self.time.ticks)
        follower = Follower(self.log, memory, clock=self.time.now, ticks=self.time.ticks, alert=self.alerts.append)
        near = InProcessVerdictCache(2 * TTL, ticks=self.time.ticks)
        auditor = Auditor(self.audit, ticks=self.time.ticks)
        chores = Chores()
        stops = Stops(
            directory=self.store, follower=follower, journal=self.journal, auditor=auditor, clock=self.time.now
        )
        prover = Prover(peppers, self.workers, always_bcrypt=always_bcrypt, older_secret=self.older_secret, cost=4)
        metering = Metering(
            self.allowances,
            rules().levels,
            clock=self.time.now,
            ticks=self.time.ticks,
            allow_uncounted=allow_uncounted,
        )
        key_format = KeyFormat(peppers, stamps=stamps, older=True)
        verifier = Verifier(
            format=key_format,
            near=near,
            far=self.far,
            lookup=Lookup(self.directory, prover, peppers, None, None),
            memory=memory,
            freshness=Freshness(
                memory, clock=self.time.now, ticks=self.time.ticks, cache_ttl=TTL, stale_ttl=TTL, followed=False
            ),
            negatives=Negatives(memory, ticks=self.time.ticks),
            limiter=InProcessFailureLimiter(failures=self.failures, ticks=self.time.ticks),
            metering=metering,
            lane=Lane(running=4, waiting=100, per_caller=100),
            slow_lane=Lane(running=1, waiting=10, per_caller=10),
            unstamped_lane=Lane(running=4, waiting=100, per_caller=100),
            mender=Mender(self.directory, chores, stops),
            chores=chores,
            auditor=auditor,
            usage=UsageRecorder(clock=self.time.now, ticks=self.time.ticks, alert=auditor.alert, door="/sts/verify"),
            idle=IdleExpiry(self.usage),
            clock=self.time.now,
            ticks=self.time.ticks,
            flights=Flights(),
        )
        jwts = JwtVerifier(
            verifier=verifier,
            tokens=self.tokens,
            directory=self.directory,
            records=TTLCache(100, 3600, self.time.ticks),
            flights=Flights(),
        )
        lifecycle = Lifecycle(
            directory=self.store,  # not the watched one: keys change while look-ups are held
            follower=follower,
            stops=stops,
            format=key_format,
            prover=prover,
            auditor=auditor,
            rules=rules(),
            clock=self.time.now,
            max_keys_per_owner=50,
        )
        process = Process(
            near=near,
            memory=memory,
            follower=follower,
            verifier=verifier,
            jwts=jwts,
            callers=Callers(
                verifier=verifier,
                jwts=jwts,
                directory=self.directory,
                auditor=auditor,
                realm=self.realm,
                admin_key=ADMIN_KEY,
            ),
            lifecycle=lifecycle,
            alterations=Alterations(lifecycle=lifecycle, memory=memory),
            metering=metering,
            chores=chores,
            prover=prover,
        )
        await follower.read()
        self.processes.append(process)
        return process

    async def issue(self, process: Process | None = None, **changes: Any) -> IssuedKey:  # noqa: ANN401 - fields of the request
        """Issue a key for alice."""
        request = {"owner": "alice", "name": "laptop", "issued_by": "test", "policy": Policy(), **changes}
        return await (process or self.here).lifecycle.issue(KeyRequest(**request))

    async def verify(self, presented: ApiKey | str, process: Process | None = None, **changes: Any) -> Verdict:  # noqa: ANN401 - fields of the context
        """Verify a key at the token door, from 192.0.2.1."""
        text = presented if isinstance(presented, str) else presented.reveal()
        return await (process or self.here).verifier.verify(text, asked(**changes))

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, through which every process goes on hearing the log."""
        self.time.passed += seconds
        for process in self.processes:
            await process.follower.read()

    async def tell_usage(self) -> None:
        """Put what every process counted into the store."""
        for process in self.processes:
            await process.verifier.usage.flush(self.usage)

    async def stored(self, issued: IssuedKey) -> KeyRecord:
        """Return the record of a key as the store holds it."""
        owner = await self.store.owner(issued.owner.id)
        assert owner is not None
        record = owner.record(issued.record.key_id)
        assert record is not None
        return record

    async def settle(self) -> None:
        """Wait for what is done in the background."""
        for process in self.processes:
            await process.chores.finish()

    async def write(self, owner_id: str, *records: KeyRecord) -> None:
        """Put records in place behind everybody's back, as a console page would."""

        def change(owner: Owner) -> Owner:
            for record in records:
                owner = owner.with_record(record)
            return owner

        await self.store.update(owner_id, change)

    def reasons(self) -> list[str | None]:
        """Return the audited reasons of all refusals so far."""
        for process in self.processes:
            process.verifier.auditor.flush()
        return [event.reason for event in self.audit.events if event.outcome == "refused"]


@asynccontextmanager
async def open_world(folder: Path) -> AsyncIterator[World]:
    """Open a world with one process in it."""
    database = SqliteDatabase(folder / "keystile.db")
    await database.open()
    time, log, workers = Time(), InProcessChangeLog(), BcryptWorkers(threads=1)
    store = SqliteDirectory(database)
    opened = World(
        time=time,
        peppers=PEPPERS,
        store=store,
        directory=WatchedDirectory(store),
        log=log,
        journal=FileJournal(folder / "journal", PEPPERS, alert=lambda _: None),
        far=WatchedCache(InProcessVerdictCache(2 * TTL, floors=log.floors, ticks=time.ticks)),
        usage=WatchedUsageStore(SqliteUsageStore(database, wall=lambda: time.now().timestamp())),
        allowances=WatchedAllowances(SqliteAllowances(database)),
        audit=KeptAudit(),
        tokens=LocalTokenIssuer(ISSUER, [load_or_make(folder, "EdDSA")]),
        workers=workers,
    )
    await opened.start()
    try:
        yield opened
    finally:
        opened.directory.down, opened.far.down = False, False
        opened.directory.may_answer.set()
        opened.allowances.may_answer.set()
        await opened.settle()
        workers.close()
        await database.close()
