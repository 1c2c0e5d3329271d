"""Questions of a resource server to Keystile: over connections that are kept, bounded in time and size."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx

from keystile.client.errors import UnavailableError
from keystile.client.wire import MAX_ANSWER, Answer, may_use_proxy, server_url, shown

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

_PATIENCE = 5.0  # seconds: a tool call waits meanwhile
_CONNECTIONS = httpx.Limits(max_connections=20)
_PLAIN = {"Accept": "application/json", "Accept-Encoding": "identity"}


class Asking:
    """Asks the Keystile at the address *url*; plain http to loopback, and to hosts named in *plain_http*, alone."""

    def __init__(self, url: str, plain_http: Container[str] = ()) -> None:
        self.url = server_url(url, plain_http)
        self._http = httpx.AsyncClient(
            trust_env=may_use_proxy(self.url), timeout=_PATIENCE, limits=_CONNECTIONS, headers=_PLAIN
        )

    async def get(self, path: str) -> Answer:
        """Return what is answered to GET, or raise an `UnavailableError`."""
        return await self._ask(self._http.build_request("GET", self.url + path))

    async def post(self, path: str, form: Mapping[str, str], key: str) -> Answer:
        """Return what is answered to *form*, sent with that API key, or raise an `UnavailableError`."""
        headers = {"Authorization": f"Bearer {key}"}
        return await self._ask(self._http.build_request("POST", self.url + path, data=form, headers=headers))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _ask(self, request: httpx.Request) -> Answer:
        try:
            async with asyncio.timeout(_PATIENCE):
                response = await self._http.send(request, stream=True)
                try:
                    return Answer.of(response, await _read(response))
                finally:
                    await response.aclose()
        except (httpx.HTTPError, OSError) as error:  # the second: also what took too long
            why = shown(str(error) or type(error).__name__)  # and no more: the request holds our key
        raise UnavailableError(f"{request.url} does not answer: {why}")


async def _read(response: httpx.Response) -> bytes:
    body = b""
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_ANSWER:
            raise OSError("too much of an answer")
    return body
