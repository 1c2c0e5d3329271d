"""Routes of the management API in the Quart application: each step is the same for every operation."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from quart import Response, request

from keystile.authority.administration import Asker
from keystile.authority.auditing import Origin, on_behalf_of
from keystile.errors import KeyRefusedError, KeystileError, Reason, RequestError
from keystile.http.api.docs import page
from keystile.http.api.handlers import Call, Handlers
from keystile.http.api.openapi import openapi
from keystile.http.api.operations import OPERATIONS
from keystile.http.api.problems import problem, problem_of
from keystile.http.credentials import credential_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pydantic import BaseModel
    from quart import Quart

    from keystile.assembly import Deployment
    from keystile.http.api.operations import Operation
    from keystile.http.asgi import Answer
    from keystile.http.doors import Contexts

_DOOR = "api"
_MAX_ERRORS = 20


def add_api(app: Quart, deployment: Deployment, contexts: Contexts, send: Callable[[Answer], Response]) -> None:
    """Add the management API, its OpenAPI document and its documentation to *app*."""
    base = f"{deployment.settings.issuer_path}/api/v1"
    handlers = Handlers(deployment)
    for operation in OPERATIONS:
        app.add_url_rule(
            base + operation.path.replace("{", "<").replace("}", ">"),
            endpoint=operation.name,
            view_func=_view(operation, deployment, handlers, contexts, send),
            methods=[operation.method],
            provide_automatic_options=False,
        )
    document = openapi(OPERATIONS, f"{deployment.settings.issuer}/api/v1", version("keystile"))
    described, shown = json.dumps(document), page(document)

    async def openapi_json() -> Response:
        return Response(described, content_type="application/json")

    async def docs() -> Response:
        return Response(shown, content_type="text/html; charset=utf-8")

    app.add_url_rule("/openapi.json", view_func=openapi_json)
    app.add_url_rule("/docs", view_func=docs)


def _view(
    operation: Operation,
    deployment: Deployment,
    handlers: Handlers,
    contexts: Contexts,
    send: Callable[[Answer], Response],
) -> Callable[..., Awaitable[Response]]:
    async def view(**params: str) -> Response:
        try:
            asker = await _asker(operation, deployment, contexts)
            raw = await request.body
            call = Call(
                asker=asker,
                params=params,
                body=None if operation.body is None else _checked(operation.body, _json(raw)),
                query=None if operation.query is None else _checked(operation.query, _query()),
                raw_body=raw,
                headers={name.lower(): value for name, value in request.headers.items()},
            )
            origin = Origin(asker.caller.actor, asker.context.address or None, asker.context.request_id or None)
            with on_behalf_of(origin):
                return send(await operation.handle(handlers, call))
        except ValidationError as error:
            return send(_invalid(error))
        except KeystileError as error:
            return send(problem_of(error))

    return view


async def _asker(operation: Operation, deployment: Deployment, contexts: Contexts) -> Asker:
    scope: Any = request.scope
    context = contexts.of(scope, _DOOR, is_counted=False)  # managing keys spends nothing of theirs
    credential = credential_of(scope)
    if credential is None:
        raise KeyRefusedError(Reason.MALFORMED)
    caller = await deployment.callers.identify(
        credential.text, context, writing=operation.writing, urgent=operation.urgent
    )
    return Asker(caller, context)


def _json(raw: bytes) -> Any:  # noqa: ANN401 - what a client sent
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if not raw and not media_type:
        return {}
    if media_type != "application/json":
        raise RequestError("invalid_request", "the body is JSON, and says so in Content-Type", status=415)
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RequestError("invalid_request", "the body is not JSON") from error


def _query() -> dict[str, str]:
    repeated = [name for name in request.args if len(request.args.getlist(name)) > 1]
    if repeated:
        raise RequestError("invalid_request", f"{min(repeated)[:40]} is repeated")
    return dict(request.args)


def _checked(model: type[BaseModel], document: Any) -> BaseModel:  # noqa: ANN401 - what a client sent
    return model.model_validate(document)


def _invalid(error: ValidationError) -> Answer:
    faults = [
        {"field": ".".join(str(part) for part in fault["loc"])[:200] or "body", "message": fault["msg"]}
        for fault in error.errors(include_input=False, include_url=False)[:_MAX_ERRORS]
    ]
    return problem(422, "; ".join(f"{fault['field']}: {fault['message']}" for fault in faults)[:1000], errors=faults)
