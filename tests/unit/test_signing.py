from __future__ import annotations

import base64
import hashlib
import json
import stat
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet

from keystile.adapters.signing.files import Algorithm, SigningKey, load, load_or_make
from keystile.adapters.signing.issuer import LocalTokenIssuer
from keystile.errors import ConfigurationError
from unit.builders import DEFAULT_AUDIENCE, ISSUER

if TYPE_CHECKING:
    from pathlib import Path

ALGORITHMS: list[Algorithm] = ["RS256", "ES256", "EdDSA"]
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}  # RFC 7518, section 6
CLAIMS = {"iss": ISSUER, "sub": "owner-1", "aud": DEFAULT_AUDIENCE, "exp": 4_000_000_000, "iat": 1}


@pytest.fixture(scope="module", params=ALGORITHMS)
def key(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return load_or_make(tmp_path_factory.mktemp("keys"), request.param)


async def test_jwt_verifies_with_pyjwt(key: SigningKey) -> None:
    """PyJWT checks our JWTs with the published JWKS alone."""
    issuer = LocalTokenIssuer(ISSUER, [key])
    token = await issuer.mint(CLAIMS)
    published = jwt.PyJWKSet.from_dict(json.loads(json.dumps(issuer.jwks())))[key.kid]
    read = jwt.decode_complete(token, published, algorithms=[key.algorithm], audience=DEFAULT_AUDIENCE, issuer=ISSUER)
    assert read["payload"] == CLAIMS
    assert read["header"] == {"alg": key.algorithm, "kid": key.kid, "typ": "at+jwt"}


# joserfc knows that RFC 9864 renames EdDSA; PyJWT and Keycloak do not yet.
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated:joserfc.errors.SecurityWarning")
async def test_jwt_verifies_with_joserfc(key: SigningKey) -> None:
    """So does a library that shares no code with ours."""
    issuer = LocalTokenIssuer(ISSUER, [key])
    keys = KeySet.import_key_set(json.loads(json.dumps(issuer.jwks())))
    read = joserfc_jwt.decode(await issuer.mint(CLAIMS), keys, algorithms=[key.algorithm])
    assert read.claims == CLAIMS
    assert read.header["typ"] == "at+jwt"


def test_kid_is_the_thumbprint(key: SigningKey) -> None:
    """`kid` is the RFC 7638 thumbprint, computed here by hand and by joserfc."""
    needed = {"RS256": ["e", "kty", "n"], "ES256": ["crv", "kty", "x", "y"], "EdDSA": ["crv", "kty", "x"]}
    canonical = json.dumps({name: key.public_jwk[name] for name in needed[key.algorithm]}, separators=(",", ":"))
    by_hand = base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).decode().rstrip("=")
    assert key.kid == by_hand
    (imported,) = KeySet.import_key_set({"keys": [key.public_jwk]}).keys
    assert key.kid == imported.thumbprint()


def test_jwks_has_no_private_members(key: SigningKey) -> None:
    """What is published is public, names its use, and fits one algorithm only."""
    (published,) = LocalTokenIssuer(ISSUER, [key]).jwks()["keys"]
    assert not PRIVATE_MEMBERS & set(published)
    assert (published["use"], published["alg"], published["kid"]) == ("sig", key.algorithm, key.kid)


def test_private_key_is_not_shown(key: SigningKey) -> None:
    """Printing a signing key shows no number of it."""
    numbers: Any = key.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    assert numbers.splitlines()[1] not in repr(key)
    if isinstance(key.private, rsa.RSAPrivateKey):
        assert key.private.key_size >= 2048


def test_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    """The first process makes the key, 0600; every later one loads the same."""
    folder = tmp_path / "new"
    first = load_or_make(folder, "ES256")
    assert load_or_make(folder, "ES256").kid == first.kid
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def write_pem(path: Path, private: Any) -> Path:  # noqa: ANN401 - any kind of key
    path.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


@pytest.mark.parametrize(
    "private",
    [
        rsa.generate_private_key(public_exponent=65537, key_size=1024),  # noqa: S505 - to see it refused
        ec.generate_private_key(ec.SECP384R1()),
        ed448.Ed448PrivateKey.generate(),
    ],
    ids=["RSA 1024", "P-384", "Ed448"],
)
def test_unsuitable_signing_key_stops_the_start(tmp_path: Path, private: object) -> None:
    """A key too short or of another kind is refused (RFC 7518, section 3.3)."""
    with pytest.raises(ConfigurationError):
        load(write_pem(tmp_path / "key.pem", private))


def test_key_file_under_a_wrong_name_is_refused(tmp_path: Path) -> None:
    """A key of another algorithm than its file's name says does not sign what was configured."""
    load_or_make(tmp_path, "ES256")
    (tmp_path / "es256.pem").rename(tmp_path / "rs256.pem")
    with pytest.raises(ConfigurationError, match="RS256"):
        load_or_make(tmp_path, "RS256")
