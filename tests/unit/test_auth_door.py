"""`/sts/auth/challenge` and `/sts/auth/verify`: whoever could abuse them, and whoever may come in."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.authority.challenges import NONCE_TTL, Answered, Challenges, Question
from keystile.authority.sign_in import SignIn
from keystile.errors import CannotTellError, KeyRefusedError, Reason, TooManyFailuresError
from keystile.peppers import Peppers
from keystile.public_keys import encode, signed_text
from keystile.records import RevocationReason
from unit.authing import challenged, login, post, signed
from unit.builders import ISSUER as WORLD
from unit.builders import PEPPERS, asked, pepper
from unit.keypairs import KINDS, new_pair, pair
from unit.served import FORM, MCP, bearer
from unit.signing_world import SigningWorld
from unit.test_token_assertions import register_in

if TYPE_CHECKING:
    from pathlib import Path

    from unit.keypairs import Pair
    from unit.served import Client
    from unit.world import Process, World


@pytest.mark.parametrize("kind", KINDS)
async def test_signature_is_exchanged_for_a_jwt(client: Client, tmp_path: Path, kind: str) -> None:
    """A registered key signs a challenge and gets what `/sts/token` would give; it is no new key."""
    key_id = await register_in(tmp_path, pair(kind))
    answer = await login(client, pair(kind), resource=MCP, scope="read")
    said = answer.json()
    claims = jwt.decode(said["access_token"], options={"verify_signature": False})
    assert (answer.status, said["token_type"], said["scope"], said["is_new_key"]) == (200, "Bearer", "read", False)
    assert (claims["client_id"], claims["aud"], said["key_id"]) == (key_id, MCP, key_id)
    assert answer.header("cache-control") == "no-store"
    assert (await client.verify(bearer((await login(client, pair(kind))).json()["access_token"]))).status == 200


async def test_challenge_does_not_tell_who_is_known(client: Client, tmp_path: Path) -> None:
    """Known, revoked and unknown keys get the same kind of answer."""
    await register_in(tmp_path, pair())
    await register_in(tmp_path, pair(number=2), revoke=True)
    answers = [await challenged(client, by) for by in (pair(), pair(number=2), new_pair())]
    assert [(set(each), len(each["nonce"]), each["expires_in"]) for each in answers] == [
        ({"nonce", "exp", "expires_in", "fingerprint", "alg", "purpose"}, 51, 120)
    ] * 3


async def test_every_refusal_looks_the_same(client: Client, tmp_path: Path) -> None:
    """Unknown and revoked keys, bad signatures, spent, foreign and made-up nonces get one answer."""
    await register_in(tmp_path, pair())
    await register_in(tmp_path, pair(number=2), revoke=True)
    used = signed(pair(), await challenged(client, pair()))
    assert (await post(client, "verify", used)).status == 200
    for body in (
        used,
        signed(new_pair(), await challenged(client, pair())),
        signed(pair(number=2), await challenged(client, pair(number=2))),
        {**signed(pair(), await challenged(client, pair())), "nonce": "A" * 51},
        {**signed(pair(), await challenged(client, pair())), "nonce": (await challenged(client, new_pair()))["nonce"]},
        signed(pair(), await challenged(client, pair()), issuer="https://other.example.com/sts"),
        signed(pair("ES256"), await challenged(client, pair("ES256"))),
    ):
        answer = await post(client, "verify", body, peer="192.0.2.77")
        assert (answer.status, answer.json()) == (401, {"error": "invalid_client"})


async def test_algorithm_may_be_called_by_its_whole_name(client: Client, tmp_path: Path) -> None:
    """`algorithm` is understood as `alg` is, at either door."""
    await register_in(tmp_path, pair())
    answer = await post(client, "challenge", {"fingerprint": pair().public.fingerprint, "algorithm": "EdDSA"})
    body = signed(
        pair(), {**answer.json(), "fingerprint": pair().public.fingerprint, "alg": "EdDSA", "purpose": "login"}
    )
    body["algorithm"] = body.pop("alg")
    assert (await post(client, "verify", body)).status == 200


async def test_signature_for_another_purpose_signs_nobody_in(client: Client, tmp_path: Path) -> None:
    """The attack: what was signed to add a key is presented to sign in."""
    await register_in(tmp_path, pair())
    body = signed(pair(), await challenged(client, pair(), purpose="add-key"))
    assert (await post(client, "verify", body)).status == 400
    assert (await post(client, "verify", {**body, "purpose": "login"})).status == 401


async def test_address_comes_twenty_times_a_minute(client: Client, tmp_path: Path) -> None:
    """The twenty-first request of one address is told when to come again; others are not refused for it."""
    await register_in(tmp_path, pair())
    for _ in range(10):
        assert (await login(client, pair())).status == 200
    for path in ("challenge", "verify"):
        answer = await post(client, path, {})
        assert answer.status == 429
        assert 0 < int(answer.header("retry-after") or "") <= 60
    assert (await login(client, pair(), peer="192.0.2.2")).status == 200


BAD: dict[str, Any] = {
    "nothing": {},
    "a list": [],
    "no algorithm": {"fingerprint": "x" * 43},
    "another algorithm": {"fingerprint": "A" * 43, "alg": "HS256"},
    "a list of algorithms": {"fingerprint": "A" * 43, "alg": ["EdDSA"]},
    "no fingerprint": {"alg": "EdDSA"},
    "a short fingerprint": {"fingerprint": "A" * 42, "alg": "EdDSA"},
    "a fingerprint written otherwise": {"fingerprint": "A" * 42 + "B", "alg": "EdDSA"},
    "another purpose": {"fingerprint": "A" * 43, "alg": "EdDSA", "purpose": "delete"},
    "a field more": {"fingerprint": "A" * 43, "alg": "EdDSA", "x\n\u00e9": 1},
}


@pytest.mark.parametrize("path", ["challenge", "verify"])
@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
async def test_what_cannot_be_read_is_an_invalid_request(client: Client, path: str, body: Any) -> None:  # noqa: ANN401 - JSON
    """Every field is named and bounded, and none besides; an error repeats nothing that was sent."""
    answer = await post(client, path, body)
    assert (answer.status, answer.json()["error"]) == (400, "invalid_request")
    assert "A" * 42 not in answer.body.decode()


async def test_other_methods_forms_and_sizes_are_refused(client: Client) -> None:
    """POST of JSON, of 16 KB at most."""
    for path in ("challenge", "verify"):
        assert (await client.send("GET", f"/sts/auth/{path}")).status == 405
        assert (await client.send("POST", f"/sts/auth/{path}", [FORM], [b"alg=EdDSA"])).status == 415
        assert (await post(client, path, {"fingerprint": "x" * 20_000})).status == 413


@pytest.fixture
def signing(world: World) -> SigningWorld:
    return SigningWorld(world)


def sign_in(signing: SigningWorld, process: Process | None = None, peppers: Peppers = PEPPERS) -> SignIn:
    """Return what signs people in, in a process."""
    signatures = signing.signatures(process)
    challenges = Challenges(peppers=peppers, signatures=signatures, issuer=WORLD, clock=signing.world.time.now)
    return SignIn(challenges=challenges, signatures=signatures, directory=signing.world.directory)


def answered(door: SignIn, by: Pair, **changes: Any) -> Answered:  # noqa: ANN401 - fields of the question
    """Return the answer to a fresh challenge."""
    bound = {"purpose": "login", "fingerprint": by.public.fingerprint, "algorithm": by.algorithm, **changes}
    nonce, exp = door.challenges.make(Question(**bound))
    text = signed_text(issuer=WORLD, nonce=nonce, exp=exp, **bound)
    return Answered(question=Question(**bound), nonce=nonce, signature=by.sign(text))


async def reason_of(door: SignIn, answer: Answered) -> Reason:
    with pytest.raises(KeyRefusedError) as refused:
        await door.verify(answer, asked(door="auth"))
    return refused.value.reason


async def test_challenge_costs_no_io(signing: SigningWorld) -> None:
    """A challenge is made of nothing that is kept anywhere."""
    answered(sign_in(signing), pair())
    assert (signing.world.directory.finds, signing.world.far.gets, signing.leases.taken) == ([], 0, [])


async def test_nonce_is_good_once_in_all_processes(signing: SigningWorld) -> None:
    """A nonce that was used, well or badly, in this process or another, is used up."""
    other = await signing.world.start()
    await signing.register()
    here, there = sign_in(signing), sign_in(signing, other)
    answer = answered(here, pair())
    assert await there.verify(answer, asked(door="auth"))
    for door in (here, there):
        assert await reason_of(door, answer) is Reason.REPLAYED
    spoilt = answered(here, pair())
    assert await reason_of(here, Answered(question=spoilt.question, nonce=spoilt.nonce, signature=b"x")) is (
        Reason.BAD_SIGNATURE
    )
    assert await reason_of(here, spoilt) is Reason.REPLAYED


async def test_nonce_ends(signing: SigningWorld) -> None:
    """A challenge that was answered too late is not looked at."""
    await signing.register()
    door = sign_in(signing)
    answer = answered(door, pair())
    await signing.world.pass_time(NONCE_TTL)
    assert await reason_of(door, answer) is Reason.NONCE_REFUSED
    assert not any(name.startswith("nonce:") for name in signing.leases.taken)


@pytest.mark.parametrize(
    "changes",
    [{"purpose": "add-key"}, {"fingerprint": "A" * 43}, {"algorithm": "ES256"}],
    ids=str,
)
async def test_nonce_is_bound_to_its_question(signing: SigningWorld, changes: dict[str, str]) -> None:
    """A nonce for another purpose, key or algorithm is none, and costs no I/O."""
    door = sign_in(signing)
    answer = answered(door, pair(), **changes)
    ours = Question(purpose="login", fingerprint=pair().public.fingerprint, algorithm="EdDSA")
    stolen = Answered(question=ours, nonce=answer.nonce, signature=answer.signature)
    before = list(signing.leases.taken)
    assert await reason_of(door, stolen) is Reason.NONCE_REFUSED
    assert signing.leases.taken == before


@given(nonce=st.text(max_size=80) | st.binary(min_size=30, max_size=50).map(encode))
def test_made_up_nonce_is_refused(nonce: str) -> None:
    """Whatever stands in `nonce` is one of ours or a refusal."""
    with pytest.raises(KeyRefusedError) as refused:
        door_without_io()._opened(nonce, Question(purpose="login", fingerprint="f", algorithm="EdDSA"))  # noqa: SLF001
    assert refused.value.reason is Reason.NONCE_REFUSED


def door_without_io() -> Challenges:
    unused: Any = None
    return Challenges(peppers=PEPPERS, signatures=unused, issuer=WORLD, clock=unused)


async def test_nonce_survives_a_change_of_pepper_and_not_its_retirement(signing: SigningWorld) -> None:
    """A nonce under an accepted pepper is good; a retired one vouches for nothing any more."""
    await signing.register()
    answer = answered(sign_in(signing), pair())
    retired = Peppers((pepper("p2"), pepper("p1", retired=True)))
    assert await reason_of(sign_in(signing, peppers=retired), answer) is Reason.NONCE_REFUSED
    accepted = Peppers((pepper("p2"), pepper("p1")))
    assert await sign_in(signing, peppers=accepted).verify(answer, asked(door="auth"))


async def test_unknown_keys_count_as_failures_and_then_wait(signing: SigningWorld) -> None:
    """A fingerprint has no stamp: an address that has failed enough looks up no more."""
    door = sign_in(signing)
    for _ in range(signing.world.failures):
        assert await reason_of(door, answered(door, new_pair())) is Reason.UNKNOWN
    looked_up = len(signing.world.directory.finds)
    with pytest.raises(TooManyFailuresError):
        await door.verify(answered(door, new_pair()), asked(door="auth"))
    assert len(signing.world.directory.finds) == looked_up


async def test_bad_signatures_cost_and_count_the_same_whoever_is_known(signing: SigningWorld) -> None:
    """The attack: rubbish is sent for a fingerprint, and how soon the address has failed enough tells who is known."""
    world = signing.world
    ended = await signing.register(pair(number=2))
    await world.here.lifecycle.revoke(ended.record.key_id, reason=RevocationReason.UNSPECIFIED, revoked_by="test")
    await signing.register(pair())
    door, costs = sign_in(signing), []
    for number, by in enumerate((pair(), pair(number=2), new_pair())):
        world.directory.finds.clear()
        before, address = world.far.gets, f"192.0.2.{number + 100}"
        for guess in range(world.failures):
            asks = answered(door, by)
            rubbish = Answered(question=asks.question, nonce=asks.nonce, signature=bytes([guess]) * 64)
            with pytest.raises(KeyRefusedError):
                await door.verify(rubbish, asked(door="auth", address=address))
        waits = await world.here.verifier.limiter.wait(address)
        costs.append((len(world.directory.finds), world.far.gets - before, waits))
    assert costs == [(world.failures, 0, 0)] * 3


async def test_nobody_can_tell_is_not_a_refusal(signing: SigningWorld) -> None:
    """Without the directory, or the memory of nonces, the answer is 503."""
    await signing.register()
    door = sign_in(signing)
    signing.world.directory.down = True
    with pytest.raises(CannotTellError):
        await door.verify(answered(door, pair()), asked(door="auth"))
    signing.world.directory.down, signing.leases.down = False, True
    with pytest.raises(CannotTellError):
        await door.verify(answered(door, pair()), asked(door="auth"))


async def test_key_bound_to_another_rsa_form_does_not_sign_in(signing: SigningWorld) -> None:
    """A fingerprint says nothing of the algorithm: the record does."""
    registered = await signing.register(pair("PS256"))
    document = {**registered.record.to_document(), "public_key": {**pair("PS256").public.to_jwk(), "alg": "RS256"}}
    await signing.world.write(registered.owner.id, type(registered.record).from_document(document))
    door = sign_in(signing)
    assert await reason_of(door, answered(door, pair("PS256"))) is Reason.BAD_SIGNATURE


async def test_two_owners_of_one_key_are_both_refused(signing: SigningWorld) -> None:
    """Somebody copied a record to another owner: neither is believed."""
    registered = await signing.register()
    mallory = (await signing.world.issue(owner="mallory")).owner
    await signing.world.write(mallory.id, registered.record)
    door = sign_in(signing)
    assert await reason_of(door, answered(door, pair())) is Reason.DUPLICATE


async def test_expired_key_does_not_sign_in(signing: SigningWorld) -> None:
    """The one decision is behind this door too."""
    await signing.register(expires_at=signing.world.time.now() + timedelta(seconds=60))
    door = sign_in(signing)
    await signing.world.pass_time(60)
    assert await reason_of(door, answered(door, pair())) is Reason.EXPIRED
