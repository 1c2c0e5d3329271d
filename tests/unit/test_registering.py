"""Public keys in key records: registered like keys are issued, for one owner each, and never mixed with secrets."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from keystile.authority.lifecycle import KeyRequest
from keystile.client_ids import ClientIds
from keystile.documents import key_document
from keystile.errors import (
    CannotTellError,
    ChangeRefusedError,
    KeyRefusedError,
    PolicyRefusedError,
    Reason,
    TooManyKeysError,
)
from keystile.keys import make_stamp
from keystile.public_keys import PublicKey
from keystile.records import MAX_TEXT, REVOKE_RESERVE, KeyRecord, RevocationReason, UnreadableRecordError
from keystile.restrictions import Policy
from unit.builders import FORMAT, NOW, PEPPERS, SOME_BCRYPT, a_record, an_owner
from unit.keypairs import KINDS, assertion, new_pair, pair
from unit.signing_world import SigningWorld

if TYPE_CHECKING:
    from unit.world import World


@pytest.fixture
def signing(world: World) -> SigningWorld:
    return SigningWorld(world)


@pytest.mark.parametrize("kind", KINDS)
def test_record_with_a_public_key_is_read_back(kind: str) -> None:
    """The public key stands in the record as its JWK, and nothing of a secret beside it."""
    record = a_record(bcrypt="", public_key=pair(kind).public)
    document = json.loads(record.to_text())
    assert KeyRecord.from_text(record.to_text()) == record
    assert document["public_key"] == pair(kind).public.to_jwk()
    assert not {"bcrypt", "digest", "digest_pepper", "earlier"} & set(document)


@pytest.mark.parametrize(
    "beside",
    [
        {"bcrypt": SOME_BCRYPT},
        {"digest": "x" * 43, "digest_pepper": "p1"},
        {"earlier": [{"gen": 1, "ends_at": "2026-01-01T00:00:00Z"}]},
        {"older": True},
        {"public_key": {"kty": "oct", "k": "c2VjcmV0"}},
        {"public_key": {"kty": "RSA", "e": "AQAB", "n": "AQAB"}},
        {"public_key": "x"},
    ],
)
def test_record_with_a_secret_and_a_public_key_is_unreadable(beside: dict[str, Any]) -> None:
    """The attack: whoever can write a field writes a public key beside a secret, and signs as its owner."""
    document = {**a_record(bcrypt="", public_key=pair().public).to_document(), **beside}
    with pytest.raises(UnreadableRecordError):
        KeyRecord.from_text(json.dumps(document))


def test_tombstone_keeps_the_public_key() -> None:
    """A revoked public key is recognised: its tombstone still proves who signs, and both its look-up values stay."""
    record = a_record(bcrypt="", public_key=pair().public, policy=Policy(scopes=("read",)))
    owner = an_owner().with_record(record).with_death(record.key_id, NOW, RevocationReason.KEY_COMPROMISE, 2)
    (dead,) = owner.records
    assert (dead.public_key, dead.policy, dead.is_dead) == (pair().public, Policy(), True)
    assert owner.lookups == {record.key_id, pair().public.lookup}


def test_look_up_values_of_a_forgotten_tombstone_go_with_it() -> None:
    """Of more than ten dead keys the oldest are forgotten, and then its public key is nobody's."""
    first = a_record(bcrypt="", public_key=pair().public).revoked(NOW, RevocationReason.UNSPECIFIED, 2)
    owner = an_owner().with_record(first)
    for number in range(10):
        later = a_record(key_id=f"later{number}").revoked(NOW + timedelta(1), RevocationReason.UNSPECIFIED, 2)
        owner = owner.with_record(later)
    assert owner.record(first.key_id) is None
    assert owner.lookups == {f"later{number}" for number in range(10)}


def test_largest_key_leaves_room_for_a_policy() -> None:
    """RSA of 4,096 bits, the most that is taken, leaves 2,500 characters of a record, and its tombstone is stored."""
    private = rsa.generate_private_key(65537, 4096)
    public = PublicKey.from_jwk(RSAAlgorithm.to_jwk(private.public_key(), as_dict=True))
    record = a_record(bcrypt="", public_key=public, policy=Policy(projects=("x" * 2_500,)))
    record.check_room()
    assert len(record.revoked(NOW, RevocationReason.KEY_COMPROMISE, 2).to_text()) < MAX_TEXT - REVOKE_RESERVE


async def test_public_key_is_registered_as_a_key_is_issued(signing: SigningWorld) -> None:
    """A stamped id, the policy that was asked for, who did it, an audit line, and found by id and by fingerprint."""
    registered = await signing.register(policy=Policy(scopes=("read",)))
    record, owner = registered.record, registered.owner
    assert signing.ids.parse(record.key_id).stamp_pepper == record.stamp_pepper == "p1"
    assert (record.issued_by, record.policy.scopes, record.public_key) == ("test", ("read",), pair().public)
    for lookup in (record.key_id, pair().public.lookup):
        assert [found.id for found in await signing.world.store.find(lookup)] == [owner.id]
    (event,) = [event for event in signing.world.audit.events if event.event == "key_issued"]
    assert (event.key_id, event.owner) == (record.key_id, "alice")
    assert event.detail["fingerprint"] == pair().public.fingerprint
    shown = key_document(owner, record, NOW)
    assert (shown["fingerprint"], shown["algorithm"]) == (pair().public.fingerprint, "EdDSA")


@pytest.mark.parametrize("owner", ["alice", "mallory"])
async def test_public_key_belongs_to_one_owner(signing: SigningWorld, owner: str) -> None:
    """The attack: mallory registers alice's public key, to be taken for her. Twice is too often too."""
    await signing.register()
    with pytest.raises(PolicyRefusedError, match="registered already"):
        await signing.register(owner=owner)


async def test_revoked_public_key_is_not_registered_again(signing: SigningWorld) -> None:
    """A key that was stolen is not anybody's new key while its tombstone lives."""
    registered = await signing.register()
    await signing.world.here.lifecycle.revoke(
        registered.record.key_id, reason=RevocationReason.KEY_COMPROMISE, revoked_by="test"
    )
    with pytest.raises(PolicyRefusedError, match="registered already"):
        await signing.register(owner="mallory")


async def test_two_at_once_register_one(signing: SigningWorld) -> None:
    """Of two processes that register one key at the same time, one is refused."""
    outcomes = await asyncio.gather(
        *(signing.register(owner=name) for name in ("alice", "mallory", "eve")), return_exceptions=True
    )
    assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 1
    assert all(
        isinstance(each, CannotTellError | PolicyRefusedError) for each in outcomes if isinstance(each, Exception)
    )
    assert len(await signing.world.store.find(pair().public.lookup)) == 1


async def test_nothing_is_registered_while_nobody_can_say_whose_it_is(signing: SigningWorld) -> None:
    """Without leases nothing is written: two could do the same."""
    signing.leases.down = True
    with pytest.raises(CannotTellError):
        await signing.register()
    assert not await signing.world.store.find(pair().public.lookup)


async def test_limit_of_live_keys_counts_public_keys(signing: SigningWorld) -> None:
    """An owner holds so many live keys, of whatever kind."""
    lifecycle = replace(signing.world.here.lifecycle, max_keys_per_owner=2)
    await signing.world.issue()
    await signing.register()
    with pytest.raises(TooManyKeysError):
        await replace(signing.registrar, lifecycle=lifecycle).register(a_request(), new_pair().public)


def a_request() -> KeyRequest:
    return KeyRequest(owner="alice", name="third", issued_by="test", policy=Policy())


async def test_id_that_is_taken_is_drawn_again(signing: SigningWorld) -> None:
    """Two owners of one id would both be refused: an id somebody has is not given."""
    taken = (await signing.register()).record.key_id
    ids = DrawnBefore(taken)
    registrar = replace(signing.registrar, ids=ids)
    registered = await registrar.register(a_request(), new_pair().public)
    assert (registered.record.key_id != taken, ids.drawn) == (True, 2)


class DrawnBefore(ClientIds):
    """Ids of which the first that is drawn was drawn before."""

    def __init__(self, taken: str) -> None:
        super().__init__(PEPPERS)
        self.taken = taken
        self.drawn = 0

    def generate(self) -> Any:  # noqa: ANN401 - an id
        """Draw."""
        self.drawn += 1
        return self.parse(self.taken) if self.drawn == 1 else super().generate()


async def test_public_key_is_not_rotated(signing: SigningWorld) -> None:
    """There is no secret to replace: the message says what to do instead."""
    registered = await signing.register()
    with pytest.raises(ChangeRefusedError, match="register another"):
        await signing.world.here.alterations.rotate(registered.record.key_id, grace=timedelta(0), by="test")
    assert (await signing.world.store.find(registered.record.key_id))[0].record(registered.record.key_id)


async def test_no_secret_proves_a_public_key(signing: SigningWorld) -> None:
    """A validly stamped API key with the id of a public-key credential, as a leaked pepper would make it, is wrong."""
    registered = await signing.register()
    body = f"mcpkey_live_{registered.record.key_id}_{FORMAT.generate('live').reveal()[25:57]}"
    with pytest.raises(KeyRefusedError) as refused:
        await signing.world.verify(body + make_stamp(PEPPERS.current, body.encode()))
    assert refused.value.reason is Reason.WRONG_SECRET


async def test_no_signature_proves_a_secret(signing: SigningWorld) -> None:
    """The id of a secret key is no client id, even if its stamp should happen to be right."""
    issued = await signing.world.issue()
    client_id = signing.ids.generate().tag
    renamed = replace(issued.record, key_id=client_id)
    await signing.world.write(issued.owner.id, renamed)
    with pytest.raises(KeyRefusedError) as refused:
        await signing.present(assertion(pair(), client_id))
    assert refused.value.reason is Reason.UNKNOWN
