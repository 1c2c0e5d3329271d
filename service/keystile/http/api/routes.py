"""Routes of the management API in the Quart application: each step is the same for every operation."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from quart import Response, request
from werkzeug.routing import BaseConverter

from keystile.authority.administration import Asker
from keystile.authority.auditing import Origin, on_behalf_of
from keystile.authority.newcomers import is_newcomer
from keystile.errors import ChangeRefusedError, KeyRefusedError, KeystileError, Reason, RightsError
from keystile.http.api.docs import page
from keystile.http.api.handlers import Call, Handlers
from keystile.http.api.openapi import openapi
from keystile.http.api.operations import OPERATIONS, TAGS
from keystile.http.api.problems import problem, problem_of
from keystile.http.api.reading import Credentials, FieldsError, read_headers, read_json, read_path, read_query
from keystile.http.credentials import credential_of
from keystile.keys import without_credentials
from keystile.ports import AuditEvent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from quart import Quart

    from keystile.assembly import Deployment
    from keystile.http.api.operation import Operation
    from keystile.http.asgi import Answer
    from keystile.http.doors import Contexts
    from keystile.policy import RequestContext

_DOOR = "api"
_MOST_OF_A_NAME = 64  # characters
_MAX_ERRORS = 20
_ALIKE = (401, 404)  # of which one must not be told from another
_PAGE = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


class _Id(BaseConverter):
    """An id in a path: any segment but the one that names an operation of its own."""

    regex = "(?!verify-batch$)[^/]+"


def add_api(app: Quart, deployment: Deployment, contexts: Contexts, send: Callable[[Answer], Response]) -> None:
    """Add the management API, its OpenAPI document and its documentation to *app*."""
    base = f"{deployment.settings.issuer_path}/api/v1"
    handlers = Handlers(deployment)
    credentials = Credentials.of(deployment.settings)
    app.url_map.converters["id"] = _Id
    for operation in OPERATIONS:
        app.add_url_rule(
            base + operation.path.replace("{", "<id:").replace("}", ">"),
            endpoint=operation.name,
            view_func=view_of(operation, deployment, handlers, contexts, credentials, send),
            methods=[operation.method],
            provide_automatic_options=False,
        )
    document = openapi(OPERATIONS, TAGS, f"{deployment.settings.issuer}/api/v1", version("keystile"))
    described, shown = json.dumps(document), page(document)

    async def openapi_json() -> Response:
        return Response(described, content_type="application/json")

    async def docs() -> Response:
        return Response(shown, headers=_PAGE, content_type="text/html; charset=utf-8")

    app.add_url_rule("/openapi.json", view_func=openapi_json)
    app.add_url_rule("/docs", view_func=docs)


def view_of(
    operation: Operation,
    deployment: Deployment,
    handlers: Handlers,
    contexts: Contexts,
    credentials: Credentials,
    send: Callable[[Answer], Response],
) -> Callable[..., Awaitable[Response]]:
    """Return what answers requests for *operation*: who asks is proved before anything else is read."""

    async def view(**params: str) -> Response:
        context = _context(contexts, credentials)
        response = send(await answer(context, params))
        if response.status_code not in _ALIKE:
            response.headers["X-Request-Id"] = context.request_id  # by which the audit log names it
        return response

    async def answer(context: RequestContext, params: Mapping[str, str]) -> Answer:
        origin = Origin("", context.address or None, context.request_id or None)
        try:
            asker = await _asker(operation, deployment, context)  # before anything else is read
            origin = replace(origin, actor=asker.caller.actor)
            with on_behalf_of(origin):
                return await operation.handle(handlers, await _call(operation, asker, params, credentials))
        except ValidationError as error:
            return _invalid(_faults_of(error))
        except FieldsError as error:
            return _invalid(error.faults)
        except KeystileError as error:
            if isinstance(error, RightsError | ChangeRefusedError):
                with on_behalf_of(replace(origin, actor=getattr(error, "actor", "") or origin.actor)):
                    deployment.auditor.changed(_refusal(operation, params, credentials, error))
            return problem_of(error)

    return view


def _context(contexts: Contexts, credentials: Credentials) -> RequestContext:
    scope: Any = request.scope
    context = contexts.of(scope, _DOOR, is_counted=False)  # managing keys spends nothing of theirs
    return replace(context, path=credentials.hide(context.path), request_id=credentials.hide(context.request_id))


def _refusal(
    operation: Operation, params: Mapping[str, str], credentials: Credentials, error: RightsError | ChangeRefusedError
) -> AuditEvent:
    # What a caller wrote into the path names no key and no owner until one was found: it would fill the recent audit
    # with events of its own making, and those of keys that are not its own.
    named = {name: credentials.hide(text)[:_MOST_OF_A_NAME] for name, text in params.items()}
    fields = sorted(getattr(error, "fields", ()))
    return AuditEvent(
        event="management_refused",
        outcome="refused",
        reason=operation.action.value,
        detail={"action": operation.action.value, "why": str(error), **named, **({"fields": fields} if fields else {})},
    )


async def _asker(operation: Operation, deployment: Deployment, context: RequestContext) -> Asker:
    scope: Any = request.scope
    credential = credential_of(scope)
    if credential is None:
        raise KeyRefusedError(Reason.MALFORMED)
    caller = await deployment.callers.identify(
        credential.text, context, writing=operation.writing, urgent=operation.urgent
    )
    if operation.writing and not operation.urgent and is_newcomer(caller.username):
        await deployment.visits.count(caller.subject)  # the attack: anybody comes, and keeps the directory writing
    return Asker(caller, context)


async def _call(operation: Operation, asker: Asker, params: Mapping[str, str], credentials: Credentials) -> Call:
    scope: Any = request.scope
    read = read_path(scope, params, credentials)
    query = operation.query.model_validate(read_query(request.args.items(multi=True), credentials))
    headers = {name: request.headers.getlist(name) for name in operation.headers if name in request.headers}
    raw, body = b"", None
    if operation.body is not None:
        raw = await request.body
        sent = read_json(request.headers.getlist("Content-Type"), raw, credentials, takes_keys=operation.takes_keys)
        body = operation.body.model_validate(sent)
    return Call(
        asker=asker,
        params=read,
        body=body,
        query=query,
        raw_body=raw,
        headers=read_headers(headers, credentials),
    )


def _faults_of(error: ValidationError) -> list[tuple[str, str]]:
    return [
        (".".join(str(part) for part in fault["loc"]), fault["msg"])
        for fault in error.errors(include_input=False, include_url=False, include_context=False)
    ]


def _invalid(faults: Sequence[tuple[str, str]]) -> Answer:
    told = [
        {"field": without_credentials(field)[:200] or "body", "message": message}
        for field, message in faults[:_MAX_ERRORS]
    ]
    return problem(422, "; ".join(f"{each['field']}: {each['message']}" for each in told)[:1000], errors=told)
