"""`KeystileAuth`: gives every request of an httpx client a JWT, exchanged for an API key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from keystile.client.exchange import PATIENCE, make_exchange
from keystile.client.keys import key_source
from keystile.client.tokens import Tokens

try:  # the MCP SDK is built on httpx2, which takes an auth of its own kind alone
    from httpx2 import Auth as Auth2
except ModuleNotFoundError:

    class Auth2:  # type: ignore[no-redef]
        """Nothing: there is no httpx2 here."""


if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Generator, Iterable

_UNAUTHORIZED = 401


class KeystileAuth(httpx.Auth, Auth2):  # type: ignore[misc]  # two libraries, one protocol
    """Sends requests with a JWT for *resource*, got at the token endpoint of *issuer* for an API key.

    The key is *api_key*, else what is in *key_file*, else `KEYSTILE_API_KEY`; it goes to the token endpoint alone. The
    JWT goes wherever the client does: use one client for one resource server. One object serves any number of clients,
    threads and event loops, of httpx and httpx2, sync and async. *patience* is the longest an exchange may take, in
    seconds. Raises a `KeystileClientError`, out of a request too.

    A 401 of the resource server costs one fresh exchange, and the request is sent once more. A body that is a stream
    cannot be: then the 401 is the answer, and the next request gets a fresh JWT.
    """

    def __init__(
        self,
        issuer: str,
        resource: str = "",
        *,
        scope: str | Iterable[str] = (),
        api_key: str | None = None,
        key_file: str | os.PathLike[str] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._exchange = make_exchange(issuer, key_source(api_key, key_file), resource, scope, patience)
        self._tokens = Tokens(self._exchange, patience)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._exchange.issuer!r}, {self._exchange.resource!r})"

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:  # noqa: ANN401 - of httpx or httpx2
        """Send *request* with a JWT, and once more with a fresh one."""
        response = yield _with(request, self._tokens.get())
        if self._is_worth_another(request, response):
            yield _with(request, self._tokens.get())

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:  # noqa: ANN401 - of httpx or httpx2
        """Send *request* with a JWT, and once more with a fresh one."""
        response = yield _with(request, await self._tokens.wait())
        if self._is_worth_another(request, response):
            yield _with(request, await self._tokens.wait())

    def _is_worth_another(self, request: Any, response: Any) -> bool:  # noqa: ANN401 - of httpx or httpx2
        if response.status_code != _UNAUTHORIZED:
            return False
        self._tokens.refuse(request.headers["Authorization"].removeprefix("Bearer "))
        return _can_be_sent_again(request)


def _with(request: Any, token: str) -> Any:  # noqa: ANN401 - of httpx or httpx2
    request.headers["Authorization"] = f"Bearer {token}"
    return request


def _can_be_sent_again(request: Any) -> bool:  # noqa: ANN401 - of httpx or httpx2
    try:
        return request.content is not None
    except RuntimeError:  # RequestNotRead, of either: a stream that is used up
        return False
