"""Signing in by a challenge: from a fingerprint and a signature to the verdict on a public-key credential."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from keystile.errors import KeyRefusedError, Reason, TooManyFailuresError
from keystile.public_keys import PublicKey, encode, lookup_of

if TYPE_CHECKING:
    from keystile.authority.challenges import Answered, Challenges
    from keystile.authority.newcomers import Newcomer, Newcomers
    from keystile.authority.signatures import Signatures
    from keystile.policy import RequestContext
    from keystile.ports import Directory
    from keystile.records import KeyRecord
    from keystile.verdicts import Verdict

LOGIN: Final = "login"
ADD_KEY: Final = "add-key"
_NOBODYS = {  # keys that nobody holds the other half of, to spend on who is unknown what the known cost
    "EdDSA": {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    "ES256": {
        "kty": "EC",
        "crv": "P-256",
        "x": "vGP15OuWUDPg3e75oPQA4WslL2PvbooH6S4LxumZiQU",
        "y": "CNCA21F4PB7Z0iYVfz9ZWZOGQpL5uiGhB13pPUXnmBo",
    },
    "PS256": {"kty": "RSA", "e": "AQAB", "n": encode(b"\xc5" * 256)},
}


@dataclass(frozen=True, slots=True)
class Entered:
    """Who came in, and whether that is a new owner with a new key."""

    verdict: Verdict
    is_new: bool


@dataclass(frozen=True, kw_only=True)
class SignIn:
    """Lets holders of registered keys in: the fingerprint is what they are found by, the id what verdicts hang on."""

    challenges: Challenges
    signatures: Signatures
    directory: Directory
    newcomers: Newcomers | None = None

    async def verify(self, answered: Answered, context: RequestContext, newcomer: Newcomer | None = None) -> Entered:
        """Return the verdict on whoever answered a challenge; raises as `AssertionVerifier.verify` does.

        Who is unknown and says to be a *newcomer* becomes an owner, where the deployment takes any.
        """
        with self.signatures.audited(context):
            text = await self.challenges.spend(answered)
            record = await self.find(answered.question.fingerprint, context)
            is_new = False
            if record is None and newcomer is not None and self.newcomers is not None:
                await self._check_signed(newcomer.public_key, answered, text, context)
                record, is_new = (await self.newcomers.welcome(newcomer, context)).record, True
            if record is None:
                await self.refuse_unknown(answered, text, context)
            return Entered(await self.prove(record, answered, text, context), is_new)

    async def find(self, fingerprint: str, context: RequestContext) -> KeyRecord | None:
        """Return the record of the key with that fingerprint, None if nobody has it. Nothing is proved by that.

        A fingerprint has no stamp: once an address has spent its failures, its look-ups are refused.
        """
        verifier = self.signatures.verifier
        seconds = await verifier.limiter.wait(context.address)
        if seconds:
            raise TooManyFailuresError(seconds)
        async with verifier.unstamped_lane.turn(context.address):
            owners = await self.directory.find(lookup_of(fingerprint))
        if len(owners) > 1:
            raise KeyRefusedError(Reason.DUPLICATE)
        records = (record for owner in owners for record in owner.records)
        return next((each for each in records if each.public_key and each.public_key.fingerprint == fingerprint), None)

    async def prove(self, record: KeyRecord, answered: Answered, text: bytes, context: RequestContext) -> Verdict:
        """Return the verdict on the credential whose record was found, if its key signed that text."""
        if record.public_key is not None:
            # Before anything else is read: what a bad signature costs and counts tells nobody who is known.
            await self._check_signed(record.public_key, answered, text, context, record.key_id)

        async def prove(key: PublicKey) -> None:
            _check(key, answered, text)

        client = self.signatures.ids.parse(record.key_id)
        return await self.signatures.verify(client, answered.signature, context, prove)

    async def prove_new(self, key: PublicKey, answered: Answered, context: RequestContext) -> None:
        """Raise a `KeyRefusedError` unless the holder of *key*, which nobody need have registered, answered that."""
        with self.signatures.audited(context):
            await self._check_signed(key, answered, await self.challenges.spend(answered), context)

    async def _check_signed(
        self, key: PublicKey, answered: Answered, text: bytes, context: RequestContext, key_id: str | None = None
    ) -> None:
        try:
            _check(key, answered, text, key_id)
        except KeyRefusedError:
            await self.signatures.verifier.limiter.fail(context.address, answered.question.fingerprint)
            raise

    async def refuse_unknown(self, answered: Answered, text: bytes, context: RequestContext) -> NoReturn:
        """Refuse a key nobody has, which counts as a failure, at the cost of a signature: time tells nobody which."""
        nobodys = PublicKey.from_jwk(_NOBODYS[answered.question.algorithm])
        nobodys.verifies(answered.question.algorithm, text, answered.signature)
        await self.signatures.verifier.limiter.fail(context.address, answered.question.fingerprint)
        raise KeyRefusedError(Reason.UNKNOWN)


def _check(key: PublicKey, answered: Answered, text: bytes, key_id: str | None = None) -> None:
    question = answered.question
    signed = key.verifies(question.algorithm, text, answered.signature)
    if not signed or key.fingerprint != question.fingerprint:
        raise KeyRefusedError(Reason.BAD_SIGNATURE, key_id=key_id)
