from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, padding
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from keystile.errors import PolicyRefusedError
from keystile.public_keys import PublicKey, decode, encode, lookup_of, parse_public_key, signed_text
from unit.keypairs import KINDS, pair
from unit.strategies import json_values

if TYPE_CHECKING:
    from unit.keypairs import Pair

ED25519 = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
PUBLIC, PEM = serialization.PublicFormat.SubjectPublicKeyInfo, serialization.Encoding.PEM


def rsa_jwk(bits: int, exponent: str = "AQAB") -> dict[str, Any]:
    return {"kty": "RSA", "e": exponent, "n": encode(((1 << (bits - 1)) | 1).to_bytes(bits // 8))}


def refusal(jwk: Any) -> str:  # noqa: ANN401 - JSON
    with pytest.raises(PolicyRefusedError) as refused:
        parse_public_key(PublicKey.from_jwk, jwk)
    return str(refused.value)


def test_fingerprint_is_the_thumbprint() -> None:
    """The fingerprint of a public key is its RFC 7638 thumbprint (the example of RFC 8037, A.3)."""
    assert PublicKey.from_jwk(ED25519).fingerprint == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("kind", KINDS)
def test_key_is_the_same_from_jwk_and_pem(kind: str) -> None:
    """A JWK, with whatever stands beside the key in it, and a PEM of one key are one public key."""
    public = pair(kind).public
    pem = pair(kind).private.public_key().public_bytes(PEM, PUBLIC).decode()
    dressed = json.dumps({**public.to_jwk(), "kid": "x", "use": "sig", "x5u": "https://evil.example.com"})
    assert PublicKey.from_text(pem) == PublicKey.from_text(dressed) == PublicKey.from_jwk(public.to_jwk()) == public
    assert len(public.fingerprint) == 43
    assert public.lookup == lookup_of(public.fingerprint)


@pytest.mark.parametrize("kind", KINDS)
def test_private_key_is_never_taken(kind: str) -> None:
    """Whoever gives away a private key by mistake is told so, and none of it is repeated."""
    private = pair(kind).private
    pem = private.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    for read, sent in (
        (PublicKey.from_text, pem),
        (PublicKey.from_jwk, {**pair(kind).public.to_jwk(), "d": "c2VjcmV0"}),
    ):
        with pytest.raises(PolicyRefusedError, match="this is a private key") as refused:
            parse_public_key(read, sent)
        assert "c2VjcmV0" not in str(refused.value)
        assert pem.splitlines()[1] not in str(refused.value)


@pytest.mark.parametrize(
    "jwk",
    [
        rsa_jwk(1024),
        rsa_jwk(2040),
        rsa_jwk(4104),
        rsa_jwk(8192),
        rsa_jwk(2048, "Aw"),
        rsa_jwk(2048, "AAEAAQ"),
        {**rsa_jwk(2048), "n": encode(b"\0" + ((1 << 2047) | 1).to_bytes(256))},
        {**rsa_jwk(2048), "n": ""},
        {**rsa_jwk(2048), "alg": "HS256"},
        {**rsa_jwk(2048), "alg": "ES256"},
        {**rsa_jwk(2048), "alg": ["PS256"]},
        {**ED25519, "alg": "none"},
        {**ED25519, "x": ED25519["x"] + "="},
        {**ED25519, "x": ED25519["x"][:-1] + "p"},
        {**ED25519, "x": "AAAA"},
        {**ED25519, "x": 7},
        {**ED25519, "crv": "Ed448"},
        {**ED25519, "crv": "X25519"},
        {"kty": "OKP", "crv": "Ed25519"},
        {"kty": "EC", "crv": "P-256", "x": encode(b"\1" * 32), "y": encode(b"\1" * 32)},
        {"kty": "EC", "crv": "P-256", "x": encode(b"\1" * 31), "y": encode(b"\1" * 32)},
        {"kty": "EC", "crv": "P-384", "x": encode(b"\1" * 48), "y": encode(b"\1" * 48)},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": ["RSA"]},
        {},
        [],
        "RSA",
        None,
    ],
)  # fmt: skip
def test_weak_and_strange_keys_are_refused(jwk: Any) -> None:  # noqa: ANN401 - JSON
    """RSA of 2,048 to 4,096 bits and the usual exponent, P-256 and Ed25519, each written in one way; no other key."""
    assert "AAAA" not in refusal(jwk)


P25519 = 2**255 - 19
ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", [0, 1, P25519 - 1, ORDER_8, P25519 - ORDER_8, P25519, P25519 + 1, P25519 + 3])
def test_points_that_anybody_signs_for_are_refused(y: int, sign: int) -> None:
    """The attack: under an Ed25519 point of small order one signature is good for many texts (RFC 8032, 5.1.7)."""
    assert refusal({**ED25519, "x": encode((y | sign << 255).to_bytes(32, "little"))})


def test_other_curves_in_a_pem_are_refused() -> None:
    """What cannot be checked here is not registered."""
    for private in (ec.generate_private_key(ec.SECP256K1()), ed448.Ed448PrivateKey.generate()):
        with pytest.raises(PolicyRefusedError):
            parse_public_key(PublicKey.from_text, private.public_key().public_bytes(PEM, PUBLIC).decode())


@given(text=st.text() | json_values.map(json.dumps))
def test_no_text_is_more_than_refused(text: str) -> None:
    """Whatever somebody uploads is a key or a refusal."""
    with pytest.raises(PolicyRefusedError):
        parse_public_key(PublicKey.from_text, text)


@given(members=st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "n", "e", "alg"]), json_values))
def test_no_jwk_is_more_than_refused(members: dict[str, Any]) -> None:
    """Whatever stands in a JWK is a key or a refusal."""
    assert refusal(members)


@pytest.mark.parametrize("kind", KINDS)
def test_signature_counts_for_its_text_key_and_algorithm_alone(kind: str) -> None:
    """Another text, another key, another algorithm, or a bit more or less: no signature."""
    holder: Pair = pair(kind)
    signature = holder.sign(b"text")
    assert holder.public.verifies(kind, b"text", signature)
    assert not holder.public.verifies(kind, b"other", signature)
    assert not pair(kind, 2).public.verifies(kind, b"text", signature)
    for other in {*KINDS, "RS256", "HS256", "none", ""} - {kind}:
        assert not holder.public.verifies(other, b"text", signature)
    for wrong in (b"", signature[:-1], signature + b"\0", signature * 9):
        assert not holder.public.verifies(kind, b"text", wrong)


def test_each_algorithm_has_one_form_of_signature() -> None:
    """P-256 signs as r and s, not as DER; RSA by PSS with 32 bytes of salt, not by PKCS #1 1.5."""
    der = pair("ES256").private.sign(b"text", ec.ECDSA(SHA256()))
    assert not pair("ES256").public.verifies("ES256", b"text", der)
    for padded in (padding.PKCS1v15(), padding.PSS(padding.MGF1(SHA256()), 20)):
        assert not pair("PS256").public.verifies(
            "PS256", b"text", pair("PS256").private.sign(b"text", padded, SHA256())
        )


def test_rsa_key_that_names_an_algorithm_signs_under_no_other() -> None:
    """`alg` in a JWK binds the key to it (RFC 8725, 3.1)."""
    jwk = RSAAlgorithm.to_jwk(pair("PS256").private.public_key(), as_dict=True)
    bound = PublicKey.from_jwk({**jwk, "alg": "RS256"})
    signature = pair("PS256").sign(b"text")
    assert bound.algorithms == ("RS256",)
    assert bound.fingerprint == pair("PS256").public.fingerprint
    assert not bound.verifies("PS256", b"text", signature)
    assert PublicKey.from_jwk(bound.to_jwk()) == bound


@given(octets=st.binary(max_size=64))
def test_base64url_is_written_in_one_way(octets: bytes) -> None:
    """What is encoded is read back, and no other way of writing it is read."""
    text = encode(octets)
    assert decode(text) == octets
    for other in (text + "=", text + "\n", f" {text}"):
        with pytest.raises(ValueError, match="base64url"):
            decode(other)


def test_signed_text_says_for_whom_and_what_it_is() -> None:
    """The text that is signed names form, issuer, purpose, fingerprint, algorithm, nonce and end, a line each."""
    said = signed_text(issuer="i", purpose="p", fingerprint="f", algorithm="a", nonce="n", exp=7)
    assert said == b"keystile-auth-v1\ni\np\nf\na\nn\n7"
