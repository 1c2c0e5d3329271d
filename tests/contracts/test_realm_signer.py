"""What every realm that signs tokens for keys promises: a real Keycloak, and the one in the process."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jwt
import pytest

from contracts.granting import DEFAULT, MCP, TTL, UNMAPPED, GrantingRealm, make_granting_realm
from contracts.told_signer import ToldSigner
from keystile.errors import KeyRefusedError, Reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from keystile.ports import RealmSigner
    from stack import KeycloakServer


@dataclass
class Stand:
    """What asks a realm, an owner in it, and the realm itself."""

    signer: RealmSigner
    owner: str
    realm: GrantingRealm | ToldSigner

    def disable(self) -> None:
        """Disable the owner."""
        if isinstance(self.realm, ToldSigner):
            self.realm.out.add(self.owner)
        else:
            self.realm.admin.update_user(self.owner, {"enabled": False})

    def is_active(self, token: str) -> bool:
        """Tell what the realm tells a service that asks."""
        if isinstance(self.realm, ToldSigner):
            return self.realm.is_active(token)
        return bool(self.realm.introspect(token)["active"])


@pytest.fixture(scope="module")
def granting(keycloak_server: KeycloakServer, tmp_path_factory: pytest.TempPathFactory) -> GrantingRealm:
    return make_granting_realm(keycloak_server, tmp_path_factory.mktemp("assertions"))


@pytest.fixture(params=["in_process", "keycloak"])
async def stand(request: pytest.FixtureRequest) -> AsyncIterator[Stand]:
    if request.param == "in_process":
        told = ToldSigner({DEFAULT, MCP}, {"read", "write"})
        yield Stand(told, secrets.token_hex(8), told)
        return
    realm: GrantingRealm = request.getfixturevalue("granting")
    async with realm.signer() as signer:
        yield Stand(signer, realm.add_user(), realm)


@pytest.mark.parametrize("scopes", [(), ("read",), ("read", "write")])
async def test_token_says_exactly_what_was_asked(stand: Stand, scopes: tuple[str, ...]) -> None:
    """One audience, the scopes asked for and no others, the owner as `sub`, and the life that was set."""
    for audience in (DEFAULT, MCP):
        token = await stand.signer.sign(stand.owner, audience, scopes)
        claims = jwt.decode(token.text, options={"verify_signature": False})
        assert (claims["sub"], claims["aud"]) == (stand.owner, audience)
        assert set(claims.get("scope", "").split()) == set(scopes)
        assert (token.issued_at, token.expires_at) == (claims["iat"], claims["exp"])
        assert token.expires_at - token.issued_at == TTL


@pytest.mark.parametrize("scopes", [(), ("read",)])
async def test_audience_nobody_mapped_is_denied(stand: Stand, scopes: tuple[str, ...]) -> None:
    """RFC 8707: an audience the realm cannot put into a token is refused, whatever scopes come with it."""
    with pytest.raises(KeyRefusedError) as refused:
        await stand.signer.sign(stand.owner, UNMAPPED, scopes)
    assert refused.value.reason is Reason.AUDIENCE_DENIED


async def test_scope_the_realm_does_not_know_is_denied(stand: Stand) -> None:
    """A scope without a client scope is refused, and never left out in silence."""
    with pytest.raises(KeyRefusedError) as refused:
        await stand.signer.sign(stand.owner, MCP, ("read", "launch"))
    assert refused.value.reason is Reason.SCOPE_DENIED


@pytest.mark.parametrize(
    "scope", ["openid", "offline_access", "profile", "roles", "keystile", f"aud:{DEFAULT}", "keys:admin", "introspect"]
)
async def test_scope_with_a_meaning_of_its_own_is_denied(stand: Stand, scope: str) -> None:
    """No scope of a key asks for an ID token, a refresh token, roles, another audience, or our own API."""
    with pytest.raises(KeyRefusedError) as refused:
        await stand.signer.sign(stand.owner, MCP, (scope,))
    assert refused.value.reason is Reason.SCOPE_DENIED


async def test_disabled_owner_gets_nothing(stand: Stand) -> None:
    """The realm's own no to an owner is the one we would say ourselves, and ends what it had given."""
    token = await stand.signer.sign(stand.owner, MCP, ())
    stand.disable()
    with pytest.raises(KeyRefusedError) as refused:
        await stand.signer.sign(stand.owner, MCP, ())
    assert refused.value.reason is Reason.OWNER_DISABLED
    assert not stand.is_active(token.text)


async def test_revoked_token_is_inactive(stand: Stand) -> None:
    """RFC 7009: a token that is taken back is inactive at once, another one of the same owner is not; twice is once."""
    token, other = [await stand.signer.sign(stand.owner, MCP, ("read",)) for _ in range(2)]
    assert stand.is_active(token.text)
    for _ in range(2):
        await stand.signer.revoke(token.text)
    assert not stand.is_active(token.text)
    assert stand.is_active(other.text)
