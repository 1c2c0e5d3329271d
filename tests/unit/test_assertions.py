"""`private_key_jwt` (RFC 7523 and its bis draft) against everybody who could abuse it."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from keystile.authority.assertions import MAX_ASSERTION, Assertion, check_claims
from keystile.errors import CannotTellError, KeyRefusedError, LimitReachedError, Reason
from keystile.records import RevocationReason
from keystile.restrictions import Policy
from unit.builders import ISSUER, NOW
from unit.keypairs import KINDS, assertion, claims_for, new_pair, pair
from unit.signing_world import SigningWorld
from unit.strategies import json_values

if TYPE_CHECKING:
    from unit.world import Process, World

SOON = int(NOW.timestamp())


@pytest.fixture
def signing(world: World) -> SigningWorld:
    return SigningWorld(world)


async def reason_of(signing: SigningWorld, text: str, process: Process | None = None, **changes: Any) -> Reason:  # noqa: ANN401 - fields of the context
    with pytest.raises(KeyRefusedError) as refused:
        await signing.present(text, process, **changes)
    return refused.value.reason


def segments(*documents: Any) -> str:  # noqa: ANN401 - JSON
    texts = (json.dumps(document).encode() for document in documents)
    return ".".join(base64.urlsafe_b64encode(text).decode().rstrip("=") for text in texts)


@pytest.mark.parametrize("kind", KINDS)
async def test_client_proves_itself_by_an_assertion(signing: SigningWorld, kind: str) -> None:
    """Each kind of key authenticates its client, and the audit says so."""
    key_id = (await signing.register(pair(kind))).record.key_id
    verdict = await signing.present(assertion(pair(kind), key_id))
    assert (verdict.record.key_id, verdict.owner.username) == (key_id, "alice")
    assert [event.key_id for event in signing.world.audit.events if event.outcome == "accepted"] == [key_id]


@pytest.mark.parametrize("typ", [None, "JWT", "client-authentication+jwt"])
@pytest.mark.parametrize("alg", ["RS256", "PS256"])
async def test_forms_that_clients_send(signing: SigningWorld, typ: str | None, alg: str) -> None:
    """`typ` `JWT` and `client-authentication+jwt` both pass; RSA keys sign as client libraries have it, or by PSS."""
    key_id = (await signing.register(pair("PS256"))).record.key_id
    for kid in (None, key_id, pair("PS256").public.fingerprint):
        header = {"typ": typ} | ({"kid": kid} if kid else {})
        assert await signing.present(assertion(pair("PS256"), key_id, alg=alg, header=header))


@pytest.mark.parametrize(
    "aud",
    [
        None,
        "",
        f"{ISSUER}/token",
        f"{ISSUER}/",
        ISSUER.upper(),
        [ISSUER],
        [ISSUER, "https://other.example.com"],
        {"is": ISSUER},
        "https://other.example.com",
    ],
)
async def test_assertion_for_anybody_else_is_refused(signing: SigningWorld, aud: Any) -> None:  # noqa: ANN401 - JSON
    """`aud` is the issuer alone (RFC 7523 bis): the token URL, a list and another server are refused."""
    key_id = (await signing.register()).record.key_id
    assert await reason_of(signing, assertion(pair(), key_id, aud=aud)) is Reason.ASSERTION_REFUSED


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": None},
        {"exp": SOON},
        {"exp": SOON - 1},
        {"exp": SOON + 3_631},
        {"exp": SOON + 10 * 365 * 86_400},
        {"exp": 2**70},
        {"exp": True},
        {"exp": str(SOON + 60)},
        {"exp": [SOON + 60]},
        {"iat": SOON + 31},
        {"nbf": SOON + 31},
        {"iat": "now"},
        {"nbf": {}},
        {"iat": -1},
        {"jti": None},
        {"jti": ""},
        {"jti": 7},
        {"jti": "x" * 257},
    ],
    ids=str,
)
async def test_expired_future_and_unbounded_assertions_are_refused(
    signing: SigningWorld, claims: dict[str, Any]
) -> None:
    """An assertion ends within the hour, has begun, and has an id by which it is known again."""
    key_id = (await signing.register()).record.key_id
    text = (
        jwt.encode({**claims_for(key_id), **claims}, pair().private, "EdDSA") if None not in claims.values() else None
    )
    assert await reason_of(signing, text or assertion(pair(), key_id, **claims)) is Reason.ASSERTION_REFUSED


async def test_not_a_number_is_no_moment() -> None:
    """NaN is before and after everything, and refused."""
    for value in (float("nan"), float("inf"), float("-inf")):
        with pytest.raises(KeyRefusedError):
            check_claims(claims_for("x", exp=value), ISSUER, NOW.timestamp())


async def test_assertion_is_good_once_in_all_processes(signing: SigningWorld) -> None:
    """A replay is refused, by the process that took it and by every other, until it would have expired anyway."""
    other = await signing.world.start()
    key_id = (await signing.register()).record.key_id
    text = assertion(pair(), key_id)
    await signing.present(text)
    assert await reason_of(signing, text) is Reason.REPLAYED
    assert await reason_of(signing, text, other) is Reason.REPLAYED
    await signing.world.pass_time(299)
    assert await reason_of(signing, text, other) is Reason.REPLAYED
    await signing.world.pass_time(2)
    assert await reason_of(signing, text, other) is Reason.ASSERTION_REFUSED


async def test_two_clients_may_choose_the_same_jti(signing: SigningWorld) -> None:
    """The attack: one client uses up the ids of another's assertions."""
    ours = (await signing.register()).record.key_id
    theirs = (await signing.register(pair(number=2), owner="mallory")).record.key_id
    await signing.present(assertion(pair(number=2), theirs, jti="1"))
    assert await signing.present(assertion(pair(), ours, jti="1"))


async def test_assertion_is_not_used_up_by_who_cannot_sign(signing: SigningWorld) -> None:
    """The attack: somebody who saw the claims sends them first, under a signature that is wrong."""
    key_id = (await signing.register()).record.key_id
    text = assertion(pair(), key_id)
    head, body, _ = text.split(".")
    stolen = f"{head}.{body}.{assertion(new_pair(), key_id).split('.')[2]}"
    assert await reason_of(signing, stolen) is Reason.BAD_SIGNATURE
    assert await signing.present(text)


async def test_nobody_else_signs_for_a_client(signing: SigningWorld) -> None:
    """Another key, another registered client's key, and a key that the header brings along are bad signatures."""
    key_id = (await signing.register()).record.key_id
    await signing.register(pair(number=2), owner="mallory")
    jwk = pair(number=2).public.to_jwk()
    for text in (
        assertion(new_pair(), key_id),
        assertion(pair(number=2), key_id),
        assertion(pair(number=2), key_id, header={"jwk": jwk}),
        assertion(pair(number=2), key_id, header={"kid": pair(number=2).public.fingerprint}),
        assertion(pair("ES256"), key_id),
        assertion(pair("PS256"), key_id),
    ):
        assert await reason_of(signing, text) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("kind", KINDS)
async def test_algorithm_is_the_keys_own(signing: SigningWorld, kind: str) -> None:
    """`none`, and HS256 with the public key as the secret, are refused, whatever stands where a signature would."""
    key_id = (await signing.register(pair(kind))).record.key_id
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = pair(kind).private.public_key().public_bytes(serialization.Encoding.PEM, form)
    for alg in ("none", "NONE", "None", "", None, [kind], "HS256"):
        unsigned = segments({"alg": alg, "typ": "JWT"}, claims_for(key_id))
        assert await reason_of(signing, f"{unsigned}.") in (Reason.BAD_SIGNATURE, Reason.MALFORMED)
        mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
        signed = base64.urlsafe_b64encode(mac.sign(unsigned.encode(), pem)).decode().rstrip("=")
        assert await reason_of(signing, f"{unsigned}.{signed}") in (Reason.BAD_SIGNATURE, Reason.MALFORMED)


@pytest.mark.parametrize(
    "header",
    [{"kid": "another"}, {"typ": "at+jwt"}, {"typ": "dpop+jwt"}, {"typ": ""}, {"typ": "jwt"}],
    ids=str,
)
async def test_unknown_kid_and_type_are_refused(signing: SigningWorld, header: dict[str, str]) -> None:
    """A `kid` that is not that key's, and a JWT that was made to be something else, authenticate nobody."""
    key_id = (await signing.register()).record.key_id
    claims, given = claims_for(key_id), {"alg": "EdDSA", **header}
    unsigned = segments(given, claims)
    signed = base64.urlsafe_b64encode(pair().sign(unsigned.encode())).decode().rstrip("=")
    assert await reason_of(signing, f"{unsigned}.{signed}") is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("header", [{"crit": ["exp"]}, {"b64": False}, {"zip": "DEF"}, {"enc": "A128GCM"}], ids=str)
async def test_headers_that_change_what_is_signed_are_refused(signing: SigningWorld, header: dict[str, Any]) -> None:
    """RFC 7515, 4.1.11: what must be understood and is not, is refused."""
    key_id = (await signing.register()).record.key_id
    text = f"{segments({'alg': 'EdDSA', **header}, claims_for(key_id))}.c2ln"
    assert await reason_of(signing, text) is Reason.MALFORMED


@pytest.mark.parametrize(
    "claims",
    [{"iss": "somebody"}, {"iss": None}, {"sub": None}, {"sub": ["x"], "iss": ["x"]}, {"sub": 7, "iss": 7}],
    ids=str,
)
async def test_issuer_and_subject_are_the_client(signing: SigningWorld, claims: dict[str, Any]) -> None:
    """RFC 7523, 3: iss = sub = client_id."""
    key_id = (await signing.register()).record.key_id
    assert (
        await reason_of(signing, f"{segments({'alg': 'EdDSA'}, {**claims_for(key_id), **claims})}.c2ln")
        is Reason.MALFORMED
    )


async def test_client_id_beside_the_assertion_is_the_same(signing: SigningWorld) -> None:
    """No client_id in the body is fine, a different one is not."""
    key_id = (await signing.register()).record.key_id
    assert await signing.present(assertion(pair(), key_id), client_id=key_id)
    assert await reason_of(signing, assertion(pair(), key_id), client_id="k3v9x0q2m7ab") is Reason.ID_MISMATCH


async def test_made_up_client_costs_nothing(signing: SigningWorld) -> None:
    """A made-up id, an oversized assertion and rubbish are thrown away: no directory, cache, lease or failure."""
    tampered = signing.ids.generate().tag[:-1] + "_"
    for text in (
        assertion(pair(), "k3v9x0q2m7ab"),
        assertion(pair(), tampered),
        assertion(pair(), "x" * 300),
        assertion(pair(), signing.ids.generate().tag, pad="x" * MAX_ASSERTION),
        "a.b.c",
        "..",
        "",
        "\u00e9" * 40,
        segments({}, []) + ".c2ln",
        segments({"alg": "EdDSA"}, []) + ".c2ln",
    ):
        assert await reason_of(signing, text) in (Reason.FORGED, Reason.MALFORMED)
    assert (signing.world.directory.finds, signing.world.far.gets, signing.leases.taken) == ([], 0, [])
    assert await signing.world.here.verifier.limiter.wait("192.0.2.1") == 0


@given(text=st.text(max_size=300) | st.lists(json_values, min_size=3, max_size=3).map(lambda each: segments(*each)))
def test_no_assertion_is_more_than_malformed(text: str) -> None:
    """Whatever stands in `client_assertion` is read or refused."""
    try:
        parsed = Assertion.parse(text)
    except KeyRefusedError as refusal:
        assert refusal.reason is Reason.MALFORMED  # noqa: PT017 - either outcome is good
    else:
        assert isinstance(parsed.unverified_claims, dict)


@given(
    claims=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("iss", "sub", "aud", "exp", "iat", "nbf", "jti"), json_values)
    )
)
def test_no_claims_are_more_than_refused(claims: dict[str, Any]) -> None:
    """Whatever a client signs is judged, and good only with all that is needed."""
    with pytest.raises(KeyRefusedError):
        check_claims({**claims, "aud": None}, ISSUER, NOW.timestamp())


async def test_half_a_character_in_a_jti_is_remembered_too(signing: SigningWorld) -> None:
    """JSON can hold what is no text: it is refused the second time like any other."""
    key_id = (await signing.register()).record.key_id
    text = assertion(pair(), key_id, jti="\ud800")
    await signing.present(text)
    assert await reason_of(signing, text) is Reason.REPLAYED


async def test_bad_signatures_count_as_failures(signing: SigningWorld) -> None:
    """Each distinct guess counts once against the address; who signs well is not refused for its neighbours."""
    key_id = (await signing.register()).record.key_id
    for _ in range(signing.world.failures):
        assert await reason_of(signing, assertion(new_pair(), key_id)) is Reason.BAD_SIGNATURE
    assert await signing.world.here.verifier.limiter.wait("192.0.2.1") > 0
    assert await signing.present(assertion(pair(), key_id))


async def test_unknown_client_counts_as_a_failure_and_is_remembered(signing: SigningWorld) -> None:
    """A stamped id that nobody holds is looked up once, and counts."""
    client = signing.ids.generate().tag
    for _ in range(3):
        assert await reason_of(signing, assertion(pair(), client)) is Reason.UNKNOWN
    assert signing.world.directory.finds == [client]


async def test_record_is_read_once_for_all_processes(signing: SigningWorld) -> None:
    """A known client costs no look-up: in process, and through the shared cache in another one."""
    other = await signing.world.start()
    key_id = (await signing.register()).record.key_id
    for process in (None, None, other, other):
        await signing.present(assertion(pair(), key_id), process)
        await signing.world.settle()
    assert signing.world.directory.finds == [key_id]
    assert signing.world.far.gets == 2


@pytest.mark.parametrize("stop", ["revoke", "suspend"])
async def test_stop_bites_in_every_process(signing: SigningWorld, stop: str) -> None:
    """A revoked or suspended client is refused by whoever knew it, by the change log alone."""
    other = await signing.world.start()
    key_id = (await signing.register()).record.key_id
    await signing.present(assertion(pair(), key_id), other)
    lifecycle = signing.world.here.lifecycle
    if stop == "revoke":
        await lifecycle.revoke(key_id, reason=RevocationReason.KEY_COMPROMISE, revoked_by="test")
    else:
        await lifecycle.suspend(key_id, suspended_by="test")
    await signing.world.pass_time(0)
    wanted = Reason.REVOKED if stop == "revoke" else Reason.SUSPENDED
    assert await reason_of(signing, assertion(pair(), key_id), other) is wanted
    expected = "revoked_key_used" if stop == "revoke" else "exchange"
    assert signing.world.audit.events[-1].event == expected


async def test_only_the_holder_causes_what_only_the_holder_may_know(signing: SigningWorld) -> None:
    """The signature is checked before anything else about the record is looked at."""
    key_id = (await signing.register()).record.key_id
    await signing.world.here.lifecycle.suspend(key_id, suspended_by="test")
    assert await reason_of(signing, assertion(new_pair(), key_id)) is Reason.BAD_SIGNATURE


async def test_expired_and_disabled_clients_are_refused(signing: SigningWorld) -> None:
    """The one decision is behind this door too: expiry, owner, scope and audience."""
    registered = await signing.register(expires_at=NOW + timedelta(seconds=60), policy=Policy(scopes=("read",)))
    key_id = registered.record.key_id
    assert await reason_of(signing, assertion(pair(), key_id), scopes=("write",)) is Reason.SCOPE_DENIED
    assert (
        await reason_of(signing, assertion(pair(), key_id), audience="https://x.example.com") is Reason.AUDIENCE_DENIED
    )
    await signing.world.pass_time(60)
    assert await reason_of(signing, assertion(pair(), key_id)) is Reason.EXPIRED


async def test_two_owners_of_one_id_are_both_refused(signing: SigningWorld) -> None:
    """Somebody copied a record to another owner: neither is believed."""
    registered = await signing.register()
    mallory = (await signing.world.issue(owner="mallory")).owner
    await signing.world.write(mallory.id, registered.record)
    assert await reason_of(signing, assertion(pair(), registered.record.key_id)) is Reason.DUPLICATE


async def test_nobody_is_refused_because_nobody_can_tell(signing: SigningWorld) -> None:
    """Without the memory of what was used nothing is let in twice: 503. A known client needs no directory."""
    key_id = (await signing.register()).record.key_id
    signing.leases.down = True
    with pytest.raises(CannotTellError):
        await signing.present(assertion(pair(), key_id))
    signing.leases.down, signing.world.directory.down = False, True
    assert await signing.present(assertion(pair(), key_id))
    fresh = await signing.world.start()
    signing.world.far.down = True
    with pytest.raises(CannotTellError):
        await signing.present(assertion(pair(), key_id), fresh)


async def test_limits_of_the_key_are_counted(signing: SigningWorld) -> None:
    """A request by an assertion spends what a request by a secret would; one that is refused spends nothing."""
    policy = Policy(scopes=("read",), requests_per_day=2)
    key_id = (await signing.register(policy=policy)).record.key_id
    assert await reason_of(signing, assertion(pair(), key_id), scopes=("write",)) is Reason.SCOPE_DENIED
    for _ in range(2):
        await signing.present(assertion(pair(), key_id))
    with pytest.raises(LimitReachedError):
        await signing.present(assertion(pair(), key_id))


async def test_no_door_for_secrets_takes_what_is_kept_of_a_client(signing: SigningWorld) -> None:
    """The attack: a client is known in this process, and its public id is presented where a key would be."""
    key_id = (await signing.register()).record.key_id
    await signing.present(assertion(pair(), key_id))
    verifier = signing.world.here.verifier
    for text in (key_id, f"client:{key_id}", pair().public.fingerprint):
        assert verifier.standing(verifier.format.name(text.encode())) is None
        with pytest.raises(KeyRefusedError):
            await signing.world.verify(text)
