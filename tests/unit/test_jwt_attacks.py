from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import assume, given
from hypothesis import strategies as st

from keystile.adapters.signing.files import SigningKey, load_or_make
from keystile.adapters.signing.issuer import LocalTokenIssuer
from unit.builders import DEFAULT_AUDIENCE, ISSUER

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = int(time.time())
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "sub": "owner-1",
    "aud": DEFAULT_AUDIENCE,
    "exp": NOW + 3600,
    "iat": NOW - 10,
    "jti": "jti-1",
    "client_id": "k3v9x0q2m7ab",
    "gen": 1,
}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return load_or_make(tmp_path_factory.mktemp("ours"), "RS256")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return load_or_make(tmp_path_factory.mktemp("theirs"), "RS256")


@pytest.fixture(scope="module")
def issuer(ours: SigningKey) -> LocalTokenIssuer:
    return LocalTokenIssuer(ISSUER, [ours])


def signed(key: SigningKey, *, claims: dict[str, Any] | None = None, **header: object) -> str:
    head = {"typ": "at+jwt", "kid": key.kid, **header}
    payload = json.dumps(claims or CLAIMS).encode()  # as it is: PyJWT's own encoder refuses wrong types
    return jwt.PyJWS().encode(payload, key.private, algorithm=key.algorithm, headers=head)


def by_hand(header: object, claims: object, sign: Callable[[bytes], bytes]) -> str:
    """Put a JWT together that no library would make."""
    parts = [json.dumps(part).encode() for part in (header, claims)]
    message = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    return (message + b"." + base64.urlsafe_b64encode(sign(message)).rstrip(b"=")).decode()


def public_pem(key: SigningKey) -> bytes:
    return key.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_our_jwt_is_read(issuer: LocalTokenIssuer, ours: SigningKey) -> None:
    """What the other tests spoil is good before they do."""
    assert issuer.verify(signed(ours)) == CLAIMS


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None])
def test_unsigned_jwt_is_refused(issuer: LocalTokenIssuer, ours: SigningKey, algorithm: str | None) -> None:
    """`alg: none` in any spelling is not ours (RFC 8725, section 3.1)."""
    header = {"alg": algorithm, "typ": "at+jwt", "kid": ours.kid}
    assert issuer.verify(by_hand(header, CLAIMS, lambda _message: b"")) is None


def test_public_key_is_no_shared_secret(issuer: LocalTokenIssuer, ours: SigningKey) -> None:
    """HS256 under our public key, which everybody has, is refused."""
    header = {"alg": "HS256", "typ": "at+jwt", "kid": ours.kid}
    token = by_hand(header, CLAIMS, lambda message: hmac.digest(public_pem(ours), message, "sha256"))
    assert issuer.verify(token) is None


def test_another_algorithm_of_the_same_key_is_refused(issuer: LocalTokenIssuer, ours: SigningKey) -> None:
    """One fixed algorithm per key: RS512 and PS256 by the right key are not ours either."""
    for algorithm in ("RS512", "PS256"):
        head = {"typ": "at+jwt", "kid": ours.kid}
        assert issuer.verify(jwt.encode(CLAIMS, ours.private, algorithm=algorithm, headers=head)) is None


def test_unknown_or_missing_kid_is_refused(issuer: LocalTokenIssuer, ours: SigningKey, theirs: SigningKey) -> None:
    """A JWT names one of our keys by its thumbprint."""
    assert issuer.verify(signed(theirs)) is None
    assert issuer.verify(signed(ours, kid="")) is None
    assert issuer.verify(jwt.encode(CLAIMS, ours.private, algorithm="RS256", headers={"typ": "at+jwt"})) is None


def test_our_kid_on_another_key_is_refused(issuer: LocalTokenIssuer, ours: SigningKey, theirs: SigningKey) -> None:
    """Naming our key does not make it the signer."""
    assert issuer.verify(signed(theirs, kid=ours.kid)) is None


def test_key_that_a_jwt_brings_along_is_ignored(issuer: LocalTokenIssuer, ours: SigningKey, theirs: SigningKey) -> None:
    """`jwk`, `jku`, `x5u` and `x5c` decide nothing: neither to trust another key, nor to refuse ours."""
    brought: dict[str, Any] = {
        "jwk": theirs.public_jwk,
        "jku": "https://evil.example.com/jwks",
        "x5u": "https://evil.example.com/x5u",
    }
    assert issuer.verify(signed(theirs, **brought)) is None
    assert issuer.verify(signed(theirs, **{**brought, "kid": ours.kid})) is None
    assert issuer.verify(signed(ours, **brought)) == CLAIMS


@pytest.mark.parametrize("kid", [["a"], {"a": 1}, 7, True, None, "../../etc/passwd", "' OR 1=1 --", "\0"])
def test_kid_of_another_kind_is_refused(issuer: LocalTokenIssuer, ours: SigningKey, kid: object) -> None:
    """Whatever stands as `kid`, it is only ever looked up among ours."""
    header = {"alg": "RS256", "typ": "at+jwt", "kid": kid}
    assert issuer.verify(by_hand(header, CLAIMS, lambda _message: b"signature")) is None
    assert ours.kid


@pytest.mark.parametrize("typ", ["JWT", "jwt", "AT+JWT", "application/at+jwt", "logout+jwt", "", None, 7])
def test_jwt_of_another_type_is_refused(issuer: LocalTokenIssuer, ours: SigningKey, typ: object) -> None:
    """Only `at+jwt` is an access token of ours (RFC 9068, section 4)."""
    head = {"kid": ours.kid, "typ": typ}
    assert issuer.verify(jwt.encode(CLAIMS, ours.private, algorithm="RS256", headers=head)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW - 1},
        {"iat": NOW + 3600},
        {"nbf": NOW + 3600},
        {"iss": "https://evil.example.com/sts"},
        {"iss": ISSUER + "/"},
        {"iss": [ISSUER]},
        {"exp": "never"},
        {"exp": None},
        {"sub": 7},
        {"jti": 7},
    ],
    ids=str,
)
def test_claims_that_do_not_hold_are_refused(
    issuer: LocalTokenIssuer, ours: SigningKey, changes: dict[str, Any]
) -> None:
    """Expired, not yet valid, of another issuer or of a wrong type: refused though well signed."""
    assert issuer.verify(signed(ours, claims={**CLAIMS, **changes})) is None


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_jwt_without_a_needed_claim_is_refused(issuer: LocalTokenIssuer, ours: SigningKey, name: str) -> None:
    """Every claim that is looked at later must be there."""
    claims = {key: value for key, value in CLAIMS.items() if key != name}
    assert issuer.verify(signed(ours, claims=claims)) is None


@given(place=st.integers(0), letter=st.sampled_from("ABCDEFabcdef0123456789-_."))
def test_one_changed_character_is_refused(issuer: LocalTokenIssuer, ours: SigningKey, place: int, letter: str) -> None:
    """No character of a JWT can be changed, but for the unused bits that end its base64."""
    token = signed(ours)
    place %= len(token) - 1
    assume(token[place] != letter)
    assert issuer.verify(token[:place] + letter + token[place + 1 :]) is None


@given(token=st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_refused_without_an_error(issuer: LocalTokenIssuer, token: str) -> None:
    """What is no JWT is just not ours."""
    assert issuer.verify(token) is None


@pytest.mark.parametrize(
    "header",
    [[], "text", 7, None, {}, {"alg": "RS256"}, {"alg": ["RS256"]}, {"b64": False}, {"crit": ["exp"]}],
    ids=str,
)
def test_header_of_any_form_is_refused_without_an_error(
    issuer: LocalTokenIssuer, ours: SigningKey, header: object
) -> None:
    """Nothing in an unverified header makes reading fail."""
    merged = {"alg": "RS256", "typ": "at+jwt", "kid": ours.kid, **header} if isinstance(header, dict) else header
    assert issuer.verify(by_hand(merged, CLAIMS, lambda _message: b"signature")) is None


@pytest.mark.parametrize("deep", ['{"a":' * 3_000, "[" * 6_000, '{"typ":"at+jwt","kid":' + "[" * 5_000])
def test_deeply_nested_header_is_refused_without_an_error(issuer: LocalTokenIssuer, deep: str) -> None:
    """Nesting beyond what can be read is just not ours."""
    head = base64.urlsafe_b64encode(deep.encode()).rstrip(b"=").decode()
    assert issuer.verify(f"{head}.e30.c2ln") is None


def test_thumbprints_differ(ours: SigningKey, theirs: SigningKey) -> None:
    """Two keys never share a `kid`."""
    assert ours.kid != theirs.kid
    assert len(base64.urlsafe_b64decode(ours.kid + "=")) == hashlib.sha256().digest_size
