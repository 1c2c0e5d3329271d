"""Processes that share one folder of signing keys and one store of notes, by a clock that stands still."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import jwt

from keystile.adapters.memory.signing_notes import InProcessSigningNotes
from keystile.adapters.signing.folder import SigningKeyFolder
from keystile.authority.auditing import Auditor
from keystile.authority.rotation import Rotation
from keystile.authority.signing import SigningRing, SigningTimes
from keystile.errors import CannotTellError
from unit.builders import DEFAULT_AUDIENCE, ISSUER
from unit.watched import KeptAudit, Time

if TYPE_CHECKING:
    from pathlib import Path

    from keystile.adapters.signing.files import Algorithm
    from keystile.ports import Notes
    from keystile.signing_keys import SigningNote

MAX_AGE, TTL = 300.0, 300.0


class AwayNotes:
    """Notes that can be out of reach."""

    def __init__(self, inner: InProcessSigningNotes) -> None:
        self.inner = inner
        self.away = False

    async def note(self, note: SigningNote) -> Notes:
        """Keep it, if in reach."""
        return await self._reach().note(note)

    async def read(self) -> Notes:
        """Return all, if in reach."""
        return await self._reach().read()

    def _reach(self) -> InProcessSigningNotes:
        if self.away:
            raise CannotTellError("the notes are out of reach")
        return self.inner


@dataclass(kw_only=True)
class Signer:
    """One process: its keys, and what it signs with."""

    keys: SigningKeyFolder
    ring: SigningRing
    changes: list[str] = field(default_factory=list)

    async def kid(self) -> str:
        """Return the key that signs a JWT now."""
        token = await self.keys.issuer.mint({"iss": ISSUER, "aud": DEFAULT_AUDIENCE, "exp": 4_000_000_000})
        return str(jwt.get_unverified_header(token)["kid"])

    def shown(self) -> set[str]:
        """Return the keys a verifier would fetch now."""
        return {key["kid"] for key in self.keys.issuer.jwks()["keys"]}


class Ringed:
    """A deployment of signers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.time = Time()
        self.notes = AwayNotes(InProcessSigningNotes(ticks=self.time.ticks))
        self.audit = KeptAudit()
        self.auditor = Auditor(self.audit, ticks=self.time.ticks)
        self.signers: list[Signer] = []

    async def start(
        self, algorithm: Algorithm = "EdDSA", *, folder: Path | None = None, serving: bool = True
    ) -> Signer:
        """Start a process, or open what a command opens."""
        new_from = self.time.now() + timedelta(seconds=MAX_AGE)
        keys = SigningKeyFolder.open(folder or self.folder, algorithm, ISSUER, new_from=new_from)
        changes: list[str] = []
        ring = SigningRing(
            keys,
            self.notes,
            self.auditor,
            process=f"p{len(self.signers)}",
            algorithm=algorithm,
            times=SigningTimes(max_age=MAX_AGE, token_ttl=TTL),
            clock=self.time.now,
            ticks=self.time.ticks,
            on_change=lambda: changes.append(ring.signs),
        )
        signer = Signer(keys=keys, ring=ring, changes=changes)
        await ring.start()
        if serving:
            self.signers.append(signer)
            await self._tell(signer)
        return signer

    async def rotation(self, algorithm: Algorithm = "EdDSA") -> Rotation:
        """Return what a command rotates with."""
        opened = await self.start(algorithm, serving=False)
        return Rotation(
            ring=opened.ring,
            keys=opened.keys,
            auditor=self.auditor,
            clock=self.time.now,
            max_age=timedelta(seconds=MAX_AGE),
        )

    async def pass_time(self, seconds: float, *, step: float = 5.0) -> None:
        """Let time pass, in which every process looks and tells."""
        end = self.time.passed + seconds
        while self.time.passed < end:
            self.time.passed = min(end, self.time.passed + step)
            for signer in self.signers:
                await signer.ring.look()
                await self._tell(signer)

    def events(self) -> list[str]:
        """Return what was audited, alerts with their reason."""
        return [event.reason or event.event for event in self.audit.events]

    async def _tell(self, signer: Signer) -> None:
        try:
            await signer.ring.tell()
        except CannotTellError:
            return
