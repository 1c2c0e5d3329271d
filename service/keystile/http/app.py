"""The Quart application: everything that is not asked on every request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quart import Quart, Response, current_app, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from keystile.errors import KeystileError
from keystile.http.api.problems import problem
from keystile.http.api.routes import add_api
from keystile.http.asgi import MAX_BODY, Answer, json_answer
from keystile.http.auth import add_auth
from keystile.http.credentials import credential_of
from keystile.http.doors import BROKEN, answer_to, limits_of
from keystile.http.metadata import metadata, metadata_paths
from keystile.http.metrics.exposition import exposition
from keystile.http.verify_door import REFUSED

if TYPE_CHECKING:
    from keystile.assembly import Deployment
    from keystile.http.front import Doors
    from keystile.http.metrics.workers import Workers

_OPEN_TO_ALL = {"Access-Control-Allow-Origin": "*"}
_WORDS = {404: "not_found", 405: "method_not_allowed", 413: "invalid_request"}


def create_app(deployment: Deployment, doors: Doors, workers: Workers) -> Quart:
    """Return the application for one opened deployment."""
    app = Quart(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    path = deployment.settings.issuer_path
    settings = deployment.settings
    described = metadata(settings.issuer, doors.token.grants, settings.catalogue, settings.jwks_uri)
    app.extensions["deployment"], app.extensions["doors"], app.extensions["metadata"] = deployment, doors, described
    app.extensions["workers"] = workers
    app.add_url_rule(f"{path}/jwks.json", view_func=jwks)
    app.add_url_rule(f"{path}/authorize", view_func=authorize, methods=["GET", "POST"])
    for place in metadata_paths(path):
        app.add_url_rule(place, view_func=authorization_server)
    app.add_url_rule("/api/v1/api-keys/validate", view_func=validate, methods=["POST"])
    app.add_url_rule("/healthz", view_func=healthz)
    app.add_url_rule("/readyz", view_func=readyz)
    app.add_url_rule("/metrics", view_func=metrics)
    add_api(app, deployment, doors.contexts, _send)
    add_auth(app, deployment, doors.contexts, _send)
    app.register_error_handler(HTTPException, wrong_path)
    app.register_error_handler(Exception, broken)
    return app


async def jwks() -> Response:
    """Answer the public keys (RFC 7517)."""
    response = _json(_deployment().tokens.jwks(), "application/jwk-set+json")
    response.headers.update(_OPEN_TO_ALL)
    response.headers["Cache-Control"] = f"public, max-age={_deployment().settings.jwks_max_age.total_seconds():.0f}"
    return response


async def authorization_server() -> Response:
    """Answer the metadata (RFC 8414)."""
    response = _json(current_app.extensions["metadata"])
    response.headers.update(_OPEN_TO_ALL)
    return response


async def authorize() -> Response:
    """Refuse: there is no code flow; the endpoint stands because clients expect one in the metadata."""
    return _send(json_answer(400, {"error": "unsupported_response_type"}))


async def validate() -> Response:
    """Answer gateways that call the older validation endpoint: a key in `X-API-Key`, a JWT in JSON."""
    deployment: Deployment = _deployment()
    doors: Doors = current_app.extensions["doors"]
    try:
        credential = credential_of(request.scope)  # type: ignore[arg-type]  # hypercorn's type of the same thing
        if credential is None:
            return _send(REFUSED)
        context = doors.contexts.of(request.scope, "validate", client_id=credential.client_id)  # type: ignore[arg-type]
        verdict = await deployment.verifier.verify(credential.text, context)
        minted = await deployment.exchange.mint(verdict, context)
    except KeystileError as error:
        return _send(answer_to(error, REFUSED))
    return _send(
        json_answer(
            200,
            {
                "access_token": minted.token,
                "token_type": "Bearer",
                "expires_in": minted.expires_in,
                "user_id": verdict.owner.id,
                "username": verdict.owner.username,
                "key_id": verdict.record.key_id,
            },
            *limits_of(verdict, deployment.verifier),
        )
    )


async def healthz() -> Response:
    """Say that the process lives."""
    return _json({"status": "ok"})


async def readyz() -> Response:
    """Say whether to send requests here: while known keys can be answered, yes."""
    return _json({"status": "ready", "degraded": _deployment().degraded()})


async def metrics() -> Response:
    """Answer a Prometheus scrape, with the numbers of all workers."""
    workers: Workers = current_app.extensions["workers"]
    return Response(exposition(await workers.all()), content_type="text/plain; version=0.0.4; charset=utf-8")


async def wrong_path(error: HTTPException) -> Response:
    """Answer unknown paths and methods in JSON, as clients beside OAuth paths expect."""
    status = error.code or 500
    document = {"error": _WORDS.get(status, "invalid_request")}
    response = _send(problem(status) if _is_api() else json_answer(status, document))
    if status == 405 and hasattr(error, "valid_methods"):  # noqa: PLR2004 - RFC 9110, 15.5.6
        response.headers["Allow"] = ", ".join(error.valid_methods or ())
    return response


async def broken(error: Exception) -> Response:
    """Answer a fault of ours without a word about it; the log has the rest."""
    doors: Doors = current_app.extensions["doors"]
    request_id = doors.contexts.request_id(request.scope)  # type: ignore[arg-type]  # hypercorn's type of the same thing
    current_app.logger.error("unexpected error in request %s", request_id, exc_info=error)
    return _send(problem(500) if _is_api() else BROKEN)


def _is_api() -> bool:
    return request.path.startswith(f"{_deployment().settings.issuer_path}/api/v1/")


def _deployment() -> Deployment:
    deployment: Deployment = current_app.extensions["deployment"]
    return deployment


def _json(document: dict[str, Any], content_type: str = "application/json") -> Response:
    answer = json_answer(200, document)
    return Response(answer.body, content_type=content_type)


def _send(answer: Answer) -> Response:
    headers = Headers([(name.decode(), value.decode()) for name, value in answer.headers])
    return Response(answer.body, status=answer.status, headers=headers)
