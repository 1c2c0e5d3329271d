"""What every door shares: the context of a request, and the one table from errors to answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystile.claims import MAX_JWT
from keystile.errors import (
    CannotTellError,
    KeyRefusedError,
    KeystileError,
    LimitReachedError,
    Reason,
    RequestError,
    TooManyFailuresError,
)
from keystile.http.asgi import Answer, Header, header, json_answer
from keystile.http.request_ids import TRACEPARENT, RequestIds, trace_id
from keystile.policy import RequestContext

if TYPE_CHECKING:
    from keystile.authority.verifier import Verifier
    from keystile.http.addresses import Client, ClientAddresses
    from keystile.http.asgi import Scope
    from keystile.http.forwarding import Forwarding
    from keystile.meters import Meter
    from keystile.policy import Rules
    from keystile.verdicts import Verdict

BROKEN = json_answer(500, {"error": "server_error"})
BAD_TARGET = json_answer(400, {"error": "invalid_target", "error_description": "the key may not ask for this audience"})
BAD_SCOPE = json_answer(400, {"error": "invalid_scope", "error_description": "the key does not hold this scope"})
TOO_LARGE = json_answer(
    400,
    {
        "error": "invalid_request",
        "error_description": f"the JWT would be larger than {MAX_JWT} bytes: ask for fewer scopes",
    },
)
_ASKED_TOO_MUCH = {
    Reason.JWT_TOO_LARGE: TOO_LARGE,
    Reason.AUDIENCE_DENIED: BAD_TARGET,
    Reason.GATEWAY_ONLY: BAD_TARGET,
    Reason.SCOPE_DENIED: BAD_SCOPE,
}


class Contexts:
    """Makes the context of a request: what is known of it before anything is verified."""

    def __init__(self, rules: Rules, addresses: ClientAddresses, forwarding: Forwarding) -> None:
        self._rules = rules
        self._addresses = addresses
        self._forwarding = forwarding
        self._ids = RequestIds()

    def of(self, scope: Scope, door: str, **asked: object) -> RequestContext:
        """Return the context of the request in *scope* at that door, with what it asks for."""
        client = self._client(scope)
        given = agent = traceparent = b""
        for name, value in scope["headers"]:
            if name == b"user-agent":
                agent = agent or value
            elif name == b"x-request-id":
                given = given or value
            elif name == TRACEPARENT:
                traceparent = traceparent or value
        trace = trace_id(traceparent)
        return RequestContext(
            rules=self._rules,
            door=door,
            address=client.address,
            method=scope["method"],
            path=scope["path"],
            facts=self._forwarding.facts(scope, client) if client.behind else None,
            user_agent=agent.decode("latin-1"),
            request_id=self._ids.of(given, trace),
            trace_id=trace,
            **asked,  # type: ignore[arg-type]  # the callers name fields
        )

    def address(self, scope: Scope) -> str:
        """Return the client's address."""
        return self._client(scope).address

    def _client(self, scope: Scope) -> Client:
        peer = scope.get("client") or ("", 0)
        return self._addresses.of(peer[0], scope["headers"])

    def request_id(self, scope: Scope) -> str:
        """Return what the request is called; one of our own is another at each call."""
        return self._ids.of(header(scope, b"x-request-id") or b"", trace_id(header(scope, TRACEPARENT) or b""))


def answer_to(error: KeystileError, refusal: Answer) -> Answer:
    """Return the answer to *error*; *refusal* is the door's one answer to whatever is wrong with a key."""
    if isinstance(error, KeyRefusedError):
        return _ASKED_TOO_MUCH.get(error.reason, refusal)
    if isinstance(error, RequestError):
        return json_answer(error.status, {"error": error.error, "error_description": error.description})
    if isinstance(error, TooManyFailuresError):
        return json_answer(429, {"error": "too_many_failures"}, _retry_after(error.retry_after))
    if isinstance(error, LimitReachedError):
        said = {"error": error.reason.value, "error_description": f"the limit {error.limit} is used up"}
        return json_answer(429, said, _retry_after(error.retry_after), *_limit_headers(error.fields))
    if isinstance(error, CannotTellError):
        return json_answer(503, {"error": "temporarily_unavailable"}, _retry_after(error.retry_after))
    raise error


def limits_of(verdict: Verdict, verifier: Verifier) -> tuple[Header, ...]:
    """Return what an answer to the holder of that key says of its limits: nothing if it has none."""
    return limits_told(verifier.metering.meters_of(verdict.record, verdict.owner), verifier)


def limits_told(meters: tuple[Meter, ...], verifier: Verifier) -> tuple[Header, ...]:
    """Return the same where its meters are at hand."""
    return _limit_headers(verifier.metering.fields(meters)) if meters else ()


def _limit_headers(fields: tuple[str, str]) -> tuple[Header, ...]:
    left, policies = fields
    return ((b"ratelimit", left.encode()), (b"ratelimit-policy", policies.encode())) if policies else ()


def _retry_after(seconds: int) -> Header:
    return (b"retry-after", str(max(1, seconds)).encode())
