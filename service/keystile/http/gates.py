"""`/sts/gate/{gate}` and below: which door is asked there, and in which statuses it answers."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from cachetools import FIFOCache

from keystile.http.asgi import json_answer
from keystile.http.doors import BROKEN
from keystile.http.gate_door import MOST_PREPARED, gate_door

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from keystile.http.asgi import Receive, Scope, Send
    from keystile.http.doors import Contexts
    from keystile.http.gate_door import Prepared
    from keystile.http.verify_door import VerifyDoor
    from keystile.settings import Settings

    Door = Callable[[Scope, Receive, Send], Awaitable[None]]

_log = logging.getLogger(__name__)
TRUE_STATUS = b"x-auth-status"
_UNKNOWN = json_answer(404, {"error": "not_found"})
_TWO_READINGS = json_answer(
    403, {"error": "invalid_request", "error_description": "the path has two readings"}, (TRUE_STATUS, b"400")
)
# A server in front that tidies paths would see another gate, or another endpoint, than we do. The refusal is a 403: the
# one that no gateway takes for an error of ours.
_DOUBTFUL = re.compile(rb"%2f|%5c|\\|/(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_CHALLENGE = (b"www-authenticate", b'Bearer error="invalid_request"')
_ALLOWED_UP_TO = 299


class Gates:
    """Finds the gate by the raw path, and asks it as if it were the verify door at the same place below."""

    def __init__(self, base: str, gates: Mapping[bytes, Door]) -> None:
        self._prefix = f"{base}/gate/".encode()
        self._verify = f"{base}/verify"
        self._gates = gates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        raw: bytes = (scope.get("raw_path") or b"").partition(b"?")[0]
        name = raw[len(self._prefix) :].partition(b"/")[0] if raw.startswith(self._prefix) else b""
        gate = self._gates.get(name)
        if gate is None:
            await _UNKNOWN.send(send, head=scope["method"] == "HEAD")
            return
        if _DOUBTFUL.search(raw):
            await _TWO_READINGS.send(send, head=scope["method"] == "HEAD")
            return
        # The name has no escapes, so what stands before it is as long in the path that was decoded.
        taken = len(self._prefix) + len(name)
        below = {"path": self._verify + scope["path"][taken:], "raw_path": self._verify.encode() + raw[taken:]}
        await gate({**scope, **below}, receive, send)


def make_gates(settings: Settings, verify: VerifyDoor, contexts: Callable[[str], Contexts]) -> Gates:
    """Return the gates of a deployment. *contexts*: those of requests that tell method and path by a convention."""
    prepared: FIFOCache[tuple[str, bytes], Prepared] = FIFOCache(MOST_PREPARED)  # then a hit changes nothing
    doors: dict[bytes, Door] = {b"nginx": nginx_gate(verify)}
    for name, gate in settings.configured_gates.items():
        told = contexts(gate.method_and_path or settings.forwarded_headers)
        door = gate_door(name, gate, verify, told, prepared)
        doors[name.encode()] = nginx_gate(door) if gate.answers == "nginx" else door
    return Gates(settings.issuer_path, doors)


def nginx_gate(verify: Door) -> Door:
    """Return a door as nginx's `auth_request` can take it: to it all but 2xx, 401 and 403 is an error of ours.

    What would be another refusal is a 403, or a 401 where the client may mend it; `X-Auth-Status` has the true status.
    """

    async def gate(scope: Scope, receive: Receive, send: Send) -> None:
        told = _for_nginx(send)
        try:
            await verify(scope, receive, told)
        except Exception:  # noqa: BLE001 - as in the front: logged, and told to nobody
            _log.exception("unexpected error at a gate for nginx")
            await BROKEN.send(told)

    return gate


def _for_nginx(send: Send) -> Send:
    async def told(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start" and message["status"] > _ALLOWED_UP_TO:
            status = message["status"]
            known = (TRUE_STATUS, str(status).encode())
            added = (known, _CHALLENGE) if status == 400 else (known,)  # noqa: PLR2004 - RFC 9110, 15.5.2: with a 401
            message = {**message, "status": _AS.get(status, 403), "headers": (*message["headers"], *added)}
        await send(message)

    return told


# 400 is a request with two credentials, or none that can be read. A good key that nobody can decide on now is a 403:
# after a 401 its holder would throw it away.
_AS = {400: 401, 401: 401, 403: 403}
