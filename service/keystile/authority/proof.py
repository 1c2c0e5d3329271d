"""Proving a presented key against its record: the digest under a pepper first, bcrypt where that says nothing."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from keystile import digests
from keystile.client_ids import ClientId
from keystile.errors import CannotTellError, KeyRefusedError, Reason
from keystile.records import NewSecret

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystile.keys import ApiKey
    from keystile.peppers import Peppers
    from keystile.records import EarlierSecret, KeyRecord, Owner

Answer = TypeVar("Answer")


class BcryptWorkers:
    """Threads for bcrypt alone, with a bounded queue: 238 ms at cost 12 must never sit on the event loop."""

    def __init__(self, *, threads: int = 2, waiting: int = 64) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="bcrypt")
        self._room = threads + waiting
        self._busy = 0

    async def run(self, work: Callable[..., Answer], *arguments: object) -> Answer:
        """Return what *work* returns, computed off the loop; a full queue raises `CannotTellError`."""
        if self._busy >= self._room:
            raise CannotTellError("too many bcrypt checks are waiting", retry_after=2)
        self._busy += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        finally:
            self._busy -= 1

    def close(self) -> None:
        """End the threads once they are done with what they hold."""
        self._pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class Proved:
    """A record whose secret was shown, as that secret may use it. *refreshed*: its digest is new and should be stored.

    *stored_gen* is the generation of the record itself; an earlier secret sees a lower one.
    """

    record: KeyRecord
    refreshed: bool = False
    stored_gen: int = -1

    @property
    def gen(self) -> int:
        """The generation of the record as it is stored."""
        return self.record.gen if self.stored_gen < 0 else self.stored_gen


class Prover:
    """Decides whether a presented key is the one a record was made from."""

    def __init__(
        self,
        peppers: Peppers,
        workers: BcryptWorkers,
        *,
        always_bcrypt: bool = False,
        older_secret: bytes | None = None,
        cost: int = digests.BCRYPT_COST,
    ) -> None:
        self._peppers = peppers
        self._workers = workers
        self._always_bcrypt = always_bcrypt
        self._older_secret = older_secret
        self._cost = cost

    def with_digest(self, key: ApiKey, record: KeyRecord) -> KeyRecord:
        """Return *record* with a digest under the current pepper."""
        pepper = self._peppers.current
        return replace(record, digest=digests.digest_of(key, pepper), digest_pepper=pepper.id)

    async def new_secret(self, key: ApiKey) -> NewSecret:
        """Return what a record keeps of a new *key*."""
        pepper = self._peppers.current
        return NewSecret(
            bcrypt=await self._workers.run(digests.bcrypt_hash, key, self._cost),
            digest=digests.digest_of(key, pepper),
            digest_pepper=pepper.id,
            stamp_pepper=key.stamp_pepper or "",
        )

    async def prove(self, key: ApiKey, record: KeyRecord) -> Proved:
        """Return the proved record, or raise `KeyRefusedError` (wrong secret) at the cost the stamp deserves."""
        if isinstance(key, ClientId):
            return _named(key, record)
        for secret in record.earlier:
            if self._digest_says(key, secret):
                await self._check_bcrypt(key, record, secret.bcrypt)
                return Proved(record.seen_by(secret), stored_gen=record.gen)
        try:
            return await self._prove_current(key, record)
        except KeyRefusedError:
            for secret in record.earlier:  # its pepper may be lost
                if self._digest_says(key, secret) is None and await self.matches_bcrypt(key, secret.bcrypt):
                    return Proved(record.seen_by(secret), stored_gen=record.gen)
            raise

    async def _prove_current(self, key: ApiKey, record: KeyRecord) -> Proved:
        says = self._digest_says(key, record)
        if says is None:
            return await self._prove_by_bcrypt(key, record)
        if not says:  # final, whatever bcrypt would say
            await self.decoy(key)
            raise KeyRefusedError(Reason.WRONG_SECRET, key_id=record.key_id)
        if not record.is_dead:  # a tombstone has none left, and grants nothing
            await self._check_bcrypt(key, record, record.bcrypt)
        if record.digest_pepper == self._peppers.current.id:
            return Proved(record)
        return Proved(self.with_digest(key, record), refreshed=True)

    def _digest_says(self, key: ApiKey, secret: KeyRecord | EarlierSecret) -> bool | None:
        """Tell whether the digest is that of *key*; None if it proves nothing."""
        pepper = self._peppers.proving(secret.digest_pepper) if secret.digest else None
        return None if pepper is None else digests.digest_matches(key, pepper, secret.digest)

    async def _check_bcrypt(self, key: ApiKey, record: KeyRecord, hashed: str) -> None:
        """Demand bcrypt beside the digest where the deployment wants that."""
        if self._always_bcrypt:
            await self._prove_by_bcrypt(key, replace(record, bcrypt=hashed))

    async def decoy(self, key: ApiKey) -> None:
        """Spend a bcrypt where a known key might have cost one, so that time does not tell it from a guess.

        A key with a stamp of ours cannot be guessed at all, so only the others pay.
        """
        if self._always_bcrypt or key.stamp_pepper is None or self._peppers.proving(key.stamp_pepper) is None:
            await self._workers.run(digests.bcrypt_decoy, key)

    async def prove_older(self, key: ApiKey, owner: Owner) -> Proved | None:
        """Return which of the owner's older records *key* proves: by `cacheHash` where usable, else by bcrypt."""
        older = [record for record in owner.records if record.is_older]
        for record in older:
            if self.older_name(record) and self._matches_older_hash(key, record):
                return Proved(replace(record, environment=key.environment))
        for record in older:
            if not self.older_name(record) and await self._workers.run(digests.bcrypt_matches, key, record.bcrypt):
                return Proved(replace(record, environment=key.environment))
        return None

    async def matches_bcrypt(self, key: ApiKey, hashed: str) -> bool:
        """Tell whether *hashed* was made from *key*; nothing was made from none."""
        return bool(hashed) and await self._workers.run(digests.bcrypt_matches, key, hashed)

    def older_name(self, record: KeyRecord) -> str | None:
        """Return the record's `cacheHash` if it can be used: the secret is set and it is a SHA-256 in hex."""
        text = record.older_hash or ""
        usable = self._older_secret is not None and len(text) == 64 and set(text) <= set("0123456789abcdef")  # noqa: PLR2004 - hex
        return text if usable else None

    def presented_older_name(self, key: ApiKey) -> str | None:
        """Return the `cacheHash` that *key* would have, None without the secret."""
        return None if self._older_secret is None else digests.older_hash_of(key, self._older_secret)

    def _matches_older_hash(self, key: ApiKey, record: KeyRecord) -> bool:
        name = self.presented_older_name(key)
        return name is not None and secrets.compare_digest(name, self.older_name(record) or "")

    async def _prove_by_bcrypt(self, key: ApiKey, record: KeyRecord) -> Proved:
        if not digests.bcrypt_is_usable(record.bcrypt):
            await self.decoy(key)
            raise KeyRefusedError(Reason.WRONG_SECRET, key_id=record.key_id)
        if not await self._workers.run(digests.bcrypt_matches, key, record.bcrypt):
            raise KeyRefusedError(Reason.WRONG_SECRET, key_id=record.key_id)
        return Proved(self.with_digest(key, record), refreshed=True)


def _named(client: ClientId, record: KeyRecord) -> Proved:
    """Return the record that *client* names; whoever asked for it proves it by a signature."""
    if record.public_key is None:  # the record of a secret: its id is no credential
        raise KeyRefusedError(Reason.UNKNOWN, key_id=client.key_id)
    return Proved(record)
