from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from keystile import digests
from keystile.authority.proof import BcryptWorkers, Prover
from keystile.errors import CannotTellError, KeyRefusedError, Reason
from keystile.keys import ApiKey, KeyFormat, Stamps
from keystile.peppers import Peppers
from keystile.records import KeyRecord, RevocationReason
from unit.builders import NOW, a_record, an_owner, pepper, with_other_secret

if TYPE_CHECKING:
    from keystile.peppers import Pepper

OLD, NEW = pepper("p1"), pepper("p2")
KEY = KeyFormat(Peppers((OLD,))).generate("live")
HASHED = digests.bcrypt_hash(KEY, 4)
OTHER_HASHED = digests.bcrypt_hash(with_other_secret(KEY), 4)


class Spent:
    """Counts what bcrypt was asked to do."""

    def __init__(self) -> None:
        self.checks = 0
        self.decoys = 0


@pytest.fixture
def spent(monkeypatch: pytest.MonkeyPatch) -> Spent:
    counted, matches = Spent(), digests.bcrypt_matches

    def check(key: ApiKey, stored: str) -> bool:
        counted.checks += 1
        return matches(key, stored)

    def decoy(_key: ApiKey) -> None:
        counted.decoys += 1

    monkeypatch.setattr(digests, "bcrypt_matches", check)
    monkeypatch.setattr(digests, "bcrypt_decoy", decoy)
    return counted


def recorded(under: Pepper = OLD, hashed: str = HASHED, key: ApiKey = KEY) -> KeyRecord:
    """Return the record of *key* with its digest under that pepper."""
    return a_record(
        key_id=KEY.tag, bcrypt=hashed, digest=digests.digest_of(key, under), digest_pepper=under.id, stamp_pepper="p1"
    )


def parsed(peppers: Peppers, stamps: Stamps = Stamps.ENFORCE, text: str = KEY.reveal()) -> ApiKey:
    return KeyFormat(peppers, stamps=stamps).parse(text)


async def reason_of(prover: Prover, key: ApiKey, record: KeyRecord) -> Reason:
    with pytest.raises(KeyRefusedError) as refused:
        await prover.prove(key, record)
    return refused.value.reason


async def test_digest_under_the_current_pepper_is_proof_enough(workers: BcryptWorkers, spent: Spent) -> None:
    """A key of 190 bits whose digest matches is proved without bcrypt, and nothing is rewritten."""
    proved = await Prover(Peppers((OLD,)), workers).prove(KEY, recorded())
    assert (proved.record, proved.refreshed) == (recorded(), False)
    assert (spent.checks, spent.decoys) == (0, 0)


async def test_digest_under_an_accepted_pepper_is_rewritten(workers: BcryptWorkers, spent: Spent) -> None:
    """After a pepper change the digest proves the key, and a new one under the current pepper is made."""
    peppers = Peppers((NEW, OLD))
    proved = await Prover(peppers, workers).prove(parsed(peppers), recorded())
    assert proved.refreshed
    assert proved.record == replace(recorded(), digest=digests.digest_of(KEY, NEW), digest_pepper="p2")
    assert (spent.checks, spent.decoys) == (0, 0)


@pytest.mark.parametrize("peppers", [Peppers((NEW, pepper("p1", retired=True))), Peppers((NEW,))])
async def test_digest_under_a_pepper_that_proves_nothing_leaves_it_to_bcrypt(
    workers: BcryptWorkers, spent: Spent, peppers: Peppers
) -> None:
    """Under a retired or lost pepper the digest says nothing: bcrypt proves the key, and a new digest is made."""
    proved = await Prover(peppers, workers).prove(parsed(peppers, Stamps.ADVISORY), recorded())
    assert proved.refreshed
    assert proved.record.digest_pepper == "p2"
    assert spent.checks == 1


async def test_retired_digest_is_not_believed_even_if_it_matches(workers: BcryptWorkers, spent: Spent) -> None:
    """A digest that matches under a retired pepper does not help a key that bcrypt does not know."""
    peppers = Peppers((NEW, pepper("p1", retired=True)))
    record = recorded(hashed=OTHER_HASHED)
    assert await reason_of(Prover(peppers, workers), parsed(peppers), record) is Reason.WRONG_SECRET
    assert spent.checks == 1


async def test_digest_that_does_not_match_is_final(workers: BcryptWorkers, spent: Spent) -> None:
    """Under an accepted pepper a wrong digest refuses, though bcrypt would have matched."""
    record = recorded(key=with_other_secret(KEY))
    assert await reason_of(Prover(Peppers((OLD,)), workers), KEY, record) is Reason.WRONG_SECRET
    assert (spent.checks, spent.decoys) == (0, 0)


async def test_record_without_a_digest_is_proved_by_bcrypt(workers: BcryptWorkers, spent: Spent) -> None:
    """A record that was imported without a digest gets one."""
    record = replace(recorded(), digest="", digest_pepper="p1")
    proved = await Prover(Peppers((OLD,)), workers).prove(KEY, record)
    assert proved.record == recorded()
    assert spent.checks == 1


@pytest.mark.parametrize(
    "hashed",
    ["", "plain", "$2b$31$" + HASHED[7:], "$2b$03$" + HASHED[7:], HASHED[:-1]],
    ids=["none", "plain text", "cost 31", "cost 3", "cut short"],
)
async def test_unusable_bcrypt_proves_nothing(workers: BcryptWorkers, spent: Spent, hashed: str) -> None:
    """Without a digest that counts, a bcrypt string nobody would pay for refuses the key."""
    peppers = Peppers((NEW,))
    key = parsed(peppers, Stamps.ADVISORY)
    assert await reason_of(Prover(peppers, workers), key, recorded(hashed=hashed)) is Reason.WRONG_SECRET
    assert (spent.checks, spent.decoys) == (0, 1)


async def test_always_bcrypt_demands_both(workers: BcryptWorkers, spent: Spent) -> None:
    """With KEYSTILE_ALWAYS_BCRYPT a matching digest alone is not enough, nor is a missing bcrypt string."""
    prover = Prover(Peppers((OLD,)), workers, always_bcrypt=True)
    assert (await prover.prove(KEY, recorded())).record == recorded()
    assert spent.checks == 1
    for hashed in (OTHER_HASHED, ""):
        assert await reason_of(prover, KEY, recorded(hashed=hashed)) is Reason.WRONG_SECRET


async def test_always_bcrypt_still_knows_a_tombstone(workers: BcryptWorkers, spent: Spent) -> None:
    """A dead record has no bcrypt string left; its digest still tells whose key it was."""
    prover = Prover(Peppers((OLD,)), workers, always_bcrypt=True)
    dead = recorded().revoked(NOW, RevocationReason.UNSPECIFIED, 0)
    assert (await prover.prove(KEY, dead)).record == dead
    assert spent.checks == 0


async def test_always_bcrypt_pays_for_a_wrong_digest_too(workers: BcryptWorkers, spent: Spent) -> None:
    """Where a right key costs a bcrypt, a wrong one costs a decoy."""
    prover = Prover(Peppers((OLD,)), workers, always_bcrypt=True)
    await reason_of(prover, KEY, recorded(key=with_other_secret(KEY)))
    assert (spent.checks, spent.decoys) == (0, 1)


@pytest.mark.parametrize(
    ("peppers", "stamps", "decoys"),
    [
        (Peppers((OLD,)), Stamps.ENFORCE, 0),
        (Peppers((NEW, OLD)), Stamps.ENFORCE, 0),
        (Peppers((NEW, pepper("p1", retired=True))), Stamps.ENFORCE, 1),
        (Peppers((NEW,)), Stamps.ADVISORY, 1),
    ],
)
async def test_decoy_is_spent_where_a_known_key_could_have_cost_a_bcrypt(
    workers: BcryptWorkers, spent: Spent, peppers: Peppers, stamps: Stamps, decoys: int
) -> None:
    """Only a key whose stamp nobody but us can make is spared: time tells no known key id from a guess."""
    await Prover(peppers, workers).decoy(parsed(peppers, stamps))
    assert spent.decoys == decoys


async def test_older_key_is_matched_by_its_hash_before_any_bcrypt(workers: BcryptWorkers, spent: Spent) -> None:
    """Among the older records of an owner the one with the right `cacheHash` is found without bcrypt."""
    prover = Prover(Peppers((OLD,)), workers, older_secret=b"s")
    key = KeyFormat(Peppers((OLD,)), older=True).parse("mcpkey_test_" + "x" * 43)
    name = prover.presented_older_name(key)
    owner = an_owner(
        a_record(key_id="by-bcrypt", older_hash=""),
        a_record(key_id="another", older_hash="0" * 64),
        a_record(key_id="mine", older_hash=name),
        a_record(key_id="current"),
    )
    proved = await prover.prove_older(key, owner)
    assert proved is not None
    assert (proved.record.key_id, proved.record.environment) == ("mine", "test")
    assert spent.checks == 0


async def test_older_key_without_a_usable_hash_is_matched_by_bcrypt(workers: BcryptWorkers, spent: Spent) -> None:
    """Without the secret no `cacheHash` counts, and bcrypt decides."""
    prover = Prover(Peppers((OLD,)), workers)
    key = KeyFormat(Peppers((OLD,)), older=True).parse("mcpkey_live_" + "x" * 43)
    owner = an_owner(
        a_record(key_id="other", bcrypt=HASHED, older_hash="0" * 64),
        a_record(key_id="mine", bcrypt=digests.bcrypt_hash(key, 4), older_hash=""),
    )
    proved = await prover.prove_older(key, owner)
    assert proved is not None
    assert proved.record.key_id == "mine"
    assert spent.checks == 2


@pytest.mark.parametrize("older_hash", ["", "0" * 63, "G" * 64, "0" * 64 + "\n", "\u00e9" * 64])
def test_unusable_older_hash_names_nothing(workers: BcryptWorkers, older_hash: str) -> None:
    """Only 64 hex digits are a `cacheHash`."""
    prover = Prover(Peppers((OLD,)), workers, older_secret=b"s")
    assert prover.older_name(a_record(older_hash=older_hash)) is None
    assert prover.older_name(a_record(older_hash="0" * 64)) == "0" * 64


async def test_full_queue_of_bcrypt_is_nobodys_refusal() -> None:
    """When too many checks wait, the answer is to come again."""
    full = BcryptWorkers(threads=1, waiting=-1)
    try:
        with pytest.raises(CannotTellError, match="too many bcrypt"):
            await full.run(len, "")
    finally:
        full.close()


async def test_failed_work_gives_its_place_back(workers: BcryptWorkers) -> None:
    """A check that raises does not shorten the queue for ever."""
    for _ in range(200):
        with pytest.raises(TypeError):
            await workers.run(len, 7)
    assert await workers.run(len, "four") == 4
