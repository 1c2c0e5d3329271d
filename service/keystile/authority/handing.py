"""What was handed out of the realm's tokens, and taking it back at the realm when the key behind it is stopped."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from cachetools import TTLCache

from keystile.errors import CannotTellError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    from keystile.authority.memory import ChangeMemory
    from keystile.changes import Change
    from keystile.ports import Clock, HandedToken, HandedTokens, Leases, RealmSigner, Ticks

_log = structlog.get_logger(__name__)
_PAUSE = 0.1  # seconds between looks at whether the log said anything
_LOOK = 1.0  # seconds between looks at everything it said: graces end in silence
_GRACE = 120.0  # seconds that clocks may be apart, and that a stop may be late
_AT_ONCE = 8  # keys whose tokens are taken back at the same time
_MOST_HELD = 10_000  # tokens held here while the store is away
_TURN = 10.0  # seconds one process has for the tokens of one key
_LAST_WORDS = 3.0  # seconds for what is left when a process ends

_Kill = tuple[str, int, float]


class HandedOut:
    """Notes every token of the realm before it is handed out, and takes it back once the change log kills its key.

    Every process that follows the log does; *leases* keep them apart. A kill is done with when nothing is left of it in
    the store. While the store is away tokens are held here, and taken back by this process alone.
    """

    def __init__(
        self,
        store: HandedTokens,
        signer: RealmSigner,
        leases: Leases,
        memory: ChangeMemory,
        *,
        clock: Clock,
        ticks: Ticks,
        ttl: timedelta,
    ) -> None:
        self._store = store
        self._signer = signer
        self._leases = leases
        self._memory = memory
        self._clock = clock
        self._ticks = ticks
        self._opened_at = self._now()
        self._lasting = ttl.total_seconds() + _GRACE
        self._done: TTLCache[_Kill, bool] = TTLCache(100_000, 2 * self._lasting, timer=ticks)
        self._held: defaultdict[str, list[HandedToken]] = defaultdict(list)

    async def note(self, key_id: str, token: HandedToken) -> None:
        """Know of a token from now on. Raises `CannotTellError` if there are too many: what is not known cannot end."""
        try:
            kept = await self._store.add(key_id, token, self._now())
        except CannotTellError:
            if sum(map(len, self._held.values())) >= _MOST_HELD:
                raise
            self._held[key_id].append(token)
            return
        if not kept:
            raise CannotTellError("too many tokens of one key are alive", retry_after=int(self._lasting) // 2)

    async def knows(self, key_id: str, text: str) -> bool:
        """Tell whether that token was handed out for that key, and lives. Raises `CannotTellError`."""
        held = any(token.text == text for token in self._held.get(key_id, ()))
        return held or any(token.text == text for token in await self._store.of(key_id, self._now()))

    async def take_back(self, key_id: str, gen: int) -> None:
        """End the tokens of that key, of that generation or below. Raises `CannotTellError` if any may be left."""
        now = self._now()
        held = [token for token in self._held.get(key_id, ()) if token.gen <= gen and token.expires_at > now]
        for token in held:
            await self._signer.revoke(token.text)
            with suppress(ValueError):  # another kill of the same key was here meanwhile
                self._held[key_id].remove(token)
        if any(token.gen <= gen for token in await self._store.of(key_id, now)):
            await self._take_back_stored(key_id, gen, now)

    async def take_back_killed(self, since: float = 0.0) -> None:
        """End what the log killed lately (*since*, epoch seconds), as far as it goes.

        Raises `CannotTellError` if something is left.
        """
        left: list[CannotTellError] = []
        room = asyncio.Semaphore(_AT_ONCE)

        async def end(kill: Change) -> None:
            async with room:
                try:
                    await self.take_back(kill.key_id, kill.kills_below - 1)
                except CannotTellError as error:
                    left.append(error)
                else:
                    self._done[_name(kill)] = True

        await asyncio.gather(*map(end, self._due(since)))
        if left:
            raise left[0]

    async def run(self) -> None:
        """Go on taking back, and putting into the store what is held here, until cancelled."""
        version, look_at, told = -1, 0.0, ""
        while True:
            if version != self._memory.version or self._ticks() >= look_at:
                version, look_at = self._memory.version, self._ticks() + _LOOK
                try:
                    await self.take_back_killed()
                    await self._put_away()
                    told = ""
                except CannotTellError as error:
                    if told != str(error):  # an outage is told of once, not ten times a second
                        told = str(error)
                        _log.info("something is left of the tokens of stopped keys", why=told)
                    version = -1
            await asyncio.sleep(_PAUSE)

    async def finish(self) -> None:
        """Take back what was killed since this process opened, in bounded time: perhaps no server does it later."""
        try:
            async with asyncio.timeout(_LAST_WORDS):
                await self.take_back_killed(self._opened_at)
        except (CannotTellError, TimeoutError) as error:
            _log.warning("tokens of stopped keys live on at the realm until a server takes them back", why=str(error))

    async def _take_back_stored(self, key_id: str, gen: int, now: float) -> None:
        lease = await self._leases.take(f"handed:{key_id}", _TURN)
        if lease is None:
            raise CannotTellError("another process takes back the tokens of this key")
        try:
            found = [token for token in await self._store.of(key_id, now) if token.gen <= gen]
            for token in found:
                await self._signer.revoke(token.text)
            await self._store.remove(key_id, found)
        finally:
            await self._leases.release(f"handed:{key_id}", lease)

    async def _put_away(self) -> None:
        now = self._now()
        for key_id in list(self._held):
            tokens = [token for token in self._held.pop(key_id) if token.expires_at > now]
            while tokens:
                try:
                    kept = await self._store.add(key_id, tokens[0], now)
                except CannotTellError:
                    self._held[key_id] += tokens
                    raise
                if not kept:  # there is no room: it stays with us
                    self._held[key_id].append(tokens[0])
                del tokens[0]

    def _due(self, since: float) -> Iterable[Change]:
        now = self._now()
        for kill in self._memory.kills():
            began_at = max(kill.at, kill.kills_from)
            is_due = max(since, now - self._lasting) <= began_at <= now + _GRACE and kill.kills_from <= now
            if is_due and _name(kill) not in self._done:
                yield kill

    def _now(self) -> float:
        return self._clock().timestamp()


def _name(kill: Change) -> _Kill:
    return kill.key_id, kill.kills_below, kill.kills_from
