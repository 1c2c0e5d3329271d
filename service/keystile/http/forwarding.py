"""What a trusted proxy says of the client's request: the facts that a policy on requests is judged by."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from keystile.http.asgi import headers
from keystile.network import Facts

if TYPE_CHECKING:
    from keystile.http.addresses import Client
    from keystile.http.asgi import Scope

# nginx, Caddy and Traefik ask in a request of their own, and say in headers which one it is about. A proxy overwrites
# the headers it knows, and passes on what a client wrote into any other: so only those of one convention are read.
_ENDPOINT_HEADERS = {
    "x-forwarded": (b"x-forwarded-method", b"x-forwarded-uri"),
    "x-original": (b"x-original-method", b"x-original-uri"),
}
_METHOD = re.compile(r"[A-Za-z-]{1,32}")
_TLS = {"https": True, "wss": True, "http": False, "ws": False}


class Forwarding:
    """Reads the facts of requests. *convention* is `KEYSTILE_FORWARDED_HEADERS`; *door* is the verify door's path.

    With `path` the proxy (Envoy) asks by the client's own method, and the client's path below the door's.
    """

    def __init__(self, convention: str, door: str) -> None:
        self._endpoint_headers = _ENDPOINT_HEADERS.get(convention)
        self._door = f"{door}/".encode()

    def facts(self, scope: Scope, client: Client) -> Facts:
        """Return the facts of a request that a trusted proxy sent: only for those is there anything to believe."""
        method, path = self._endpoint(scope)
        return Facts(
            address=client.address if client.named else None,
            origin=_only(scope, b"origin"),
            tls=_TLS.get((_only(scope, b"x-forwarded-proto") or "").lower()),
            method=method if method and _METHOD.fullmatch(method) else None,
            path=path,
        )

    def _endpoint(self, scope: Scope) -> tuple[str | None, str | None]:
        if self._endpoint_headers is not None:
            method, path = self._endpoint_headers
            return _only(scope, method), _only(scope, path)
        raw: bytes = scope.get("raw_path") or b""  # as it came: `path` is decoded already
        below = raw[len(self._door) - 1 :] if raw.startswith(self._door) else None
        return scope["method"], None if below is None else below.decode("latin-1")


def _only(scope: Scope, name: bytes) -> str | None:
    """Return that header if it came once and says something; of two nobody should pick one."""
    values = headers(scope, name)
    return (values[0].decode("latin-1").strip(" \t") or None) if len(values) == 1 else None
