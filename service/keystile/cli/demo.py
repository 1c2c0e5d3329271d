"""`keystile demo`: a running service, a key, and the line that turns it into a JWT."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import TYPE_CHECKING, Any

from keystile.adapters.secret_files import replace
from keystile.assembly import now
from keystile.authority.lifecycle import KeyRequest
from keystile.cli.fetching import fetch_json
from keystile.cli.output import print_line
from keystile.errors import CannotTellError, KeyRefusedError
from keystile.http.server import check_port, serve
from keystile.policy import RequestContext
from keystile.restrictions import Policy
from keystile.settings import Store
from keystile.wiring import open_deployment

if TYPE_CHECKING:
    from keystile.assembly import Deployment
    from keystile.settings import Settings

_OWNER = "demo"
_START_PATIENCE = 30.0  # seconds


def demo_and_serve(settings: Settings) -> None:
    """Have a demo key, serve, and print how to use it once the service answers."""
    check_port(settings)
    if settings.store is Store.EMBEDDED:
        path = settings.data_dir / "demo.json"
        document = asyncio.run(_prepare(settings, path.read_text(encoding="utf-8") if path.exists() else ""))
        replace(path, (json.dumps(document, indent=2) + "\n").encode())
        threading.Thread(target=_announce, args=(document,), daemon=True).start()
    serve(settings)


async def _prepare(settings: Settings, known: str) -> dict[str, Any]:
    async with open_deployment(settings) as deployment:
        api_key = await _known_key(deployment, known) or await _new_key(deployment)
        return {
            "url": f"http://{settings.host}:{settings.port}",
            "issuer": settings.issuer,
            "key_id": deployment.verifier.format.parse(api_key).key_id,
            "api_key": api_key,
            "owner": _OWNER,
        }


async def _known_key(deployment: Deployment, known: str) -> str | None:
    """Return the key of an earlier start if it is still good."""
    try:
        api_key = str(json.loads(known)["api_key"])
        await deployment.verifier.verify(api_key, RequestContext(rules=deployment.rules, door="demo"))
    except (ValueError, KeyError, TypeError, KeyRefusedError):
        return None
    return api_key


async def _new_key(deployment: Deployment) -> str:
    expires_at = deployment.expiry(None, now())
    request = KeyRequest(
        owner=_OWNER, name="demo", issued_by="demo", expires_at=expires_at, policy=Policy(scopes=("read",))
    )
    issued = await deployment.lifecycle.issue(request)
    return issued.key.reveal()  # into demo.json (0600) and onto the terminal: that is what a demo is for


def _announce(document: dict[str, Any]) -> None:
    end = time.monotonic() + _START_PATIENCE
    while time.monotonic() < end:
        try:
            fetch_json(f"{document['url']}/readyz", direct=True)
            break
        except CannotTellError:
            time.sleep(0.1)
    else:
        return
    print_line(f"Keystile answers on {document['url']}. Your demo key:\n\n  {document['api_key']}\n")
    print_line("Turn it into a JWT:\n")
    print_line(
        f"  curl -s -u {document['key_id']}:{document['api_key']} \\\n"
        f"    -d grant_type=client_credentials {document['issuer']}/token\n"
    )
    print_line("Ctrl-C ends it; the key stays good for the next start.")
