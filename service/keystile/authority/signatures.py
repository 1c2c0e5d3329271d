"""Proof by a signature: what every door for public-key credentials shares, from the id to the verdict."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keystile.errors import CannotTellError, KeyRefusedError, Reason, TooManyFailuresError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from keystile.authority.verifier import Verifier
    from keystile.client_ids import ClientId, ClientIds
    from keystile.policy import RequestContext
    from keystile.ports import Leases
    from keystile.public_keys import PublicKey
    from keystile.verdicts import Verdict

    Prove = Callable[[PublicKey], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Signatures:
    """Verifies public-key credentials through the one verifier: its caches, its lanes, and the one `decide`."""

    verifier: Verifier
    ids: ClientIds
    leases: Leases

    async def verify(self, client: ClientId, signature: bytes, context: RequestContext, prove: Prove) -> Verdict:
        """Return the verdict on the credential of that id once *prove* has found the signature to be good.

        *prove* raises a `KeyRefusedError`: bad signature, which counts as a failure of the address, once for each
        distinct *signature*. What is refused spends nothing of the limits of its key. Raises as `Verifier.verify` does.
        """
        verdict = await self.verifier.named(client, context)
        public_key = verdict.record.public_key
        if public_key is None:  # such a record is never found by such an id: see `Prover.prove`
            raise KeyRefusedError(Reason.UNKNOWN, key_id=client.key_id)
        try:
            await prove(public_key)
        except KeyRefusedError as refusal:
            if refusal.reason is Reason.BAD_SIGNATURE:
                await self.verifier.limiter.fail(context.address, hashlib.sha256(signature).hexdigest())
            raise KeyRefusedError(refusal.reason, key_id=client.key_id, owner=verdict.owner.username) from None
        self.verifier.judge(verdict, context)
        if await self.verifier.count(verdict, context):
            verdict = await self.verifier.named(client, context)  # that took a while
            self.verifier.judge(verdict, context)
        self.verifier.auditor.accepted(verdict, context)
        self.verifier.usage.accepted(verdict, context)
        return verdict

    async def once(self, name: str, seconds: float) -> None:
        """Refuse what was done already under that name, in any process. Raises `CannotTellError`.

        While nobody keeps what was done, nothing is: a replay is worse than a wait.
        """
        if await self.leases.take(name, seconds) is None:
            raise KeyRefusedError(Reason.REPLAYED)

    @contextmanager
    def audited(self, context: RequestContext) -> Iterator[None]:
        """Audit whatever the block refuses, or cannot decide."""
        try:
            yield
        except KeyRefusedError as refusal:
            self.verifier.auditor.refused(refusal, context)
            self.verifier.usage.refused(refusal)
            raise
        except (CannotTellError, TooManyFailuresError) as error:
            self.verifier.auditor.unanswered(error, context)
            raise
