"""What doctor says about a realm that signs tokens for keys: it asks for some, and takes them back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystile.errors import CannotTellError, KeyRefusedError
from keystile.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keystile.adapters.keycloak.client import KeycloakClient
    from keystile.ports import RealmSigner

_FIX = "run 'keystile keycloak setup' with KEYSTILE_ISSUER_KIND=keycloak, on the same data folder"


async def diagnose_grant(
    signer: RealmSigner, writer: KeycloakClient, audiences: Iterable[str], scopes: tuple[str, ...], ttl: float
) -> list[Finding]:
    """Get a token for each audience, in the name of the writer's service account; all *scopes* with the first.

    Each is to live for *ttl* seconds.
    """
    findings = []
    for audience in audiences:
        what = f"the realm signs tokens for {audience}" + (f" with {' '.join(scopes)}" if scopes else "")
        why = await _try(signer, writer, audience, scopes, ttl)
        findings.append(Finding(ok=True, what=what) if not why else Finding(ok=False, what=f"{what}: {why}", fix=_FIX))
        scopes = ()
    return findings


async def _try(signer: RealmSigner, writer: KeycloakClient, audience: str, scopes: tuple[str, ...], ttl: float) -> str:
    """Return what went wrong, "" for nothing."""
    try:
        account = str((await writer.claims())["sub"])
        token = await signer.sign(account, audience, scopes)
        await signer.revoke(token.text)
    except KeyRefusedError as refusal:
        return f"it says {refusal.reason.value.replace('_', ' ')}"
    except CannotTellError as error:
        return str(error)
    life = token.expires_at - token.issued_at
    return "" if life == ttl else f"they live for {life:.0f} s, and KEYSTILE_TOKEN_TTL says {ttl:.0f} s"
