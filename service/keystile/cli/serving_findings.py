"""What `keystile doctor` says of the running servers, asked as their clients ask: by the public URL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from keystile.cli.fetching import fetch_json
from keystile.errors import CannotTellError
from keystile.findings import Finding
from keystile.http.metadata import metadata_paths

if TYPE_CHECKING:
    from keystile.assembly import Deployment
    from keystile.authority.rotation import Rotation
    from keystile.settings import Settings

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - what a server listens on


async def findings(deployment: Deployment) -> list[Finding]:
    """Ask for metadata and public keys, if any process of this deployment runs."""
    settings, rotation = deployment.settings, deployment.rotation
    if not await _somebody_serves(rotation):
        return [Finding(ok=True, what="no 'keystile serve' runs on this deployment")]
    ours = {key.kid for key in (await rotation.keys.read()).keys}
    return await asyncio.to_thread(lambda: [*_metadata(settings), _public_keys(settings, ours)])


async def _somebody_serves(rotation: Rotation) -> bool:
    try:
        await rotation.ring.hear()
    except CannotTellError:  # told of already; whether somebody serves is seen by asking
        return True
    return bool(rotation.ring.processes())


def _metadata(settings: Settings) -> list[Finding]:
    parts, path = urlsplit(settings.issuer), metadata_paths(settings.issuer_path)[0]
    url = f"{parts.scheme}://{parts.netloc}{path}"
    try:
        return [_issuer(settings, url, fetch_json(url))]
    except CannotTellError as error:
        fix = f"see that KEYSTILE_ISSUER is the public URL, and that what is in front of Keystile passes {path} on"
        return [Finding(ok=False, what=f"the metadata cannot be had: {url} {error}", fix=fix), *_nearby(settings, path)]


def _nearby(settings: Settings, path: str) -> list[Finding]:
    """Return what a server on this machine says, where the public URL leads nowhere: it may have another one."""
    host = _EVERYWHERE.get(settings.host, settings.host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}{path}"
    try:
        found = _issuer(settings, url, fetch_json(url, direct=True))
    except CannotTellError:  # they run elsewhere
        return []
    return [] if found.ok else [found]


def _issuer(settings: Settings, url: str, document: dict[str, Any]) -> Finding:
    said = document.get("issuer")
    if said == settings.issuer:
        return Finding(ok=True, what=f"the server at {url} has the issuer that is set")
    what = f"the server at {url} calls itself {str(said)[:200]!r}, and KEYSTILE_ISSUER is {settings.issuer!r}"
    fix = "set KEYSTILE_ISSUER to the public URL, the same here and for every 'keystile serve'"
    return Finding(ok=False, what=what, fix=fix)


def _public_keys(settings: Settings, ours: set[str]) -> Finding:
    url = settings.jwks_uri
    try:
        shown = _kids(fetch_json(url))
    except CannotTellError as error:
        where = "KEYSTILE_REALM_ISSUER" if settings.realm_signs else "KEYSTILE_ISSUER"
        fix = f"see that {where} is the public URL, and that what is in front passes {urlsplit(url).path} on"
        return Finding(ok=False, what=f"the public keys cannot be had: {url} {error}", fix=fix)
    if settings.realm_signs or ours & shown:
        return Finding(ok=True, what=f"the public keys are at {url}")
    fix = "give every process, and this command, the same signing keys: KEYSTILE_SIGNING_KEYS_DIR"
    return Finding(ok=False, what=f"none of the keys in {settings.signing_dir} is shown at {url}", fix=fix)


def _kids(document: dict[str, Any]) -> set[str]:
    keys = document.get("keys")
    kids = {str(key.get("kid")) for key in keys if isinstance(key, dict)} if isinstance(keys, list) else set()
    if not kids:
        raise CannotTellError("shows no key")
    return kids
