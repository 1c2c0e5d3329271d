"""What every issuer of JWTs promises."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import jwt
import pytest

from keystile.adapters.signing.files import load_or_make
from keystile.adapters.signing.issuer import LocalTokenIssuer

if TYPE_CHECKING:
    from pathlib import Path

    from keystile.ports import TokenIssuer

ISSUER = "https://id.example.com/sts"
AUDIENCE = "https://mcp.example.com/mcp"
_ALGORITHMS: tuple[Literal["RS256", "ES256", "EdDSA"], ...] = ("RS256", "ES256", "EdDSA")


@pytest.fixture(params=_ALGORITHMS)
def issuer(request: pytest.FixtureRequest, tmp_path: Path) -> TokenIssuer:
    return LocalTokenIssuer(ISSUER, [load_or_make(tmp_path, request.param)])


def claims(**more: object) -> dict[str, Any]:
    now = int(datetime.now(UTC).timestamp())
    base = {"iss": ISSUER, "sub": "owner", "aud": AUDIENCE, "iat": now, "exp": now + 300}
    return {**base, "jti": "x", "client_id": "k", "gen": 1, **more}


async def test_its_jwts_verify_with_its_own_public_keys(issuer: TokenIssuer) -> None:
    """A service that has only the JWKS verifies what was minted, and finds every claim."""
    token = await issuer.mint(claims(scope="read"))
    header = jwt.get_unverified_header(token)
    public = jwt.PyJWKSet.from_dict(issuer.jwks())[header["kid"]]
    decoded = jwt.decode(token, public, [header["alg"]], audience=AUDIENCE, issuer=ISSUER)
    assert header["typ"] == "at+jwt"
    assert decoded["scope"] == "read"


async def test_it_knows_its_own(issuer: TokenIssuer) -> None:
    """`verify` returns the claims of what was minted, whatever the audience."""
    wanted = claims(aud="https://elsewhere.example.com")
    assert issuer.verify(await issuer.mint(wanted)) == wanted


@pytest.mark.parametrize("fault", [{"exp": 1}, {"iss": "https://other.example.com/sts"}])
async def test_expired_or_foreign_is_not_its_own(issuer: TokenIssuer, fault: dict[str, object]) -> None:
    """An expired JWT, or one that names another issuer, is no JWT of ours."""
    assert issuer.verify(await issuer.mint(claims(**fault))) is None


@pytest.mark.parametrize("token", ["", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "é" * 40, "." * 8192])
def test_garbage_is_not_its_own(issuer: TokenIssuer, token: str) -> None:
    """Anything that is no JWT is no JWT of ours, and no error."""
    assert issuer.verify(token) is None


async def test_another_deployment_s_jwt_is_not_its_own(issuer: TokenIssuer, tmp_path: Path) -> None:
    """A JWT of the same issuer name under another key is refused."""
    other = LocalTokenIssuer(ISSUER, [load_or_make(tmp_path / "other", "ES256")])
    assert issuer.verify(await other.mint(claims())) is None


def test_the_jwks_shows_nothing_private(issuer: TokenIssuer) -> None:
    """Public members alone, and a kid for each key."""
    for key in issuer.jwks()["keys"]:
        assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & set(key)
        assert key["kid"]
