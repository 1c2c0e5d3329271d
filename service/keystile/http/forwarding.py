"""What a trusted proxy says of the client's request: the facts that a policy on requests is judged by."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

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
        self._read = frozenset({b"origin", b"x-forwarded-proto", *(self._endpoint_headers or ())})
        self._door = f"{door}/".encode()

    def facts(self, scope: Scope, client: Client) -> Facts:
        """Return the facts of a request that a trusted proxy sent: only for those is there anything to believe."""
        said = self._said(scope)
        method, path = self._endpoint(scope, said)
        return Facts(
            address=client.address if client.named else None,
            origin=said.get(b"origin") or None,
            tls=_TLS.get(said.get(b"x-forwarded-proto", "").lower()),
            method=method if method and _METHOD.fullmatch(method) else None,
            path=path or None,
        )

    def _said(self, scope: Scope) -> dict[bytes, str]:
        """Return what the headers say that are read here: nothing where one came twice, for nobody should pick."""
        said: dict[bytes, str] = {}
        for name, value in scope["headers"]:
            if name in self._read:
                said[name] = "" if name in said else value.decode("latin-1").strip(" \t")
        return said

    def _endpoint(self, scope: Scope, said: dict[bytes, str]) -> tuple[str | None, str | None]:
        if self._endpoint_headers is not None:
            method, path = self._endpoint_headers
            return said.get(method), said.get(path)
        raw: bytes = scope.get("raw_path") or b""  # as it came: `path` is decoded already
        below = raw[len(self._door) - 1 :] if raw.startswith(self._door) else None
        return scope["method"], None if below is None else below.decode("latin-1")
