"""The OpenAPI 3.1 document, made from the table of operations: what is not in the table is not in the API."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from keystile.http.api.answers import Problem, ShownKey
from keystile.rights import Action, Caller, CallerKind, Relation, Role, allows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import BaseModel

    from keystile.http.api.operation import Operation

_REF = "#/components/schemas/{model}"
_PARAMETER = re.compile(r"{(\w+)}")
_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key with a `keys:` scope, one of our JWTs for this API, an access token of the realm, "
        "or the bootstrap admin key.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same by another name; two different credentials in one request are refused.",
    },
}
_DESCRIPTION = (
    "Everything an admin and an owner do with API keys. Errors are problem details (RFC 9457); `errors` names the "
    "fields that are wrong. An API key stands in `Authorization`, and in the body of `POST /keys/verify-batch`: "
    "anywhere else it is refused, so that it is neither kept nor repeated. Users of the realm manage their own "
    "keys, its administrators all of them; a key does what its `keys:` scopes say."
)
_SCOPES = {"keys:read": Role.OWNER_READ, "keys:write": Role.OWNER_WRITE}
_TEXT = {"type": "string"}
_IN_PATH = {
    "key_id": {
        "description": "the id of a key: its public part, or the record id of one of the older format",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "examples": ["0a1b2c3d4e5f"]},
    },
    "user_id": {
        "description": "the id of a user, or a username that has no slash in it",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "examples": ["alice"]},
    },
}
_IN_HEADER = {
    "Idempotency-Key": {
        "description": "a name for this request, by which it is known when it is sent again within 24 hours",
        "schema": {
            "type": "string",
            "pattern": "^[!-~]([ -~]*[!-~])?$",
            "maxLength": 255,
            "examples": ["8e03978e-40d5-43dd-bc93-6894a57f9324"],
        },
    },
    "If-Match": {
        "description": "entity tags, or `*`: the key must still have one of them",
        "schema": {
            "type": "string",
            "pattern": "^[!-~]([ -~]*[!-~])?$",
            "maxLength": 255,
            "examples": ['"0123456789abcdef0123456789abcdef"'],
        },
    },
}
_WHY = {
    200: "Done",
    201: "Issued",
    202: "Refused from now on; its record follows when the store is back",
    204: "Taken",
    400: "The request cannot be read",
    401: "The credential is missing, or not good here; why is not told",
    403: "This caller may not do that",
    404: "There is no such key or user, or none that this caller may see",
    409: "The key, or its owner, is in no state for it",
    412: "The key was changed meanwhile",
    413: "The body is larger than 16 KB",
    415: "The body is not JSON, or does not say so",
    422: "`errors` names what is wrong",
    429: "This address failed too often",
    503: "A store is away; try again",
}
_ON_ERROR = {
    401: {"WWW-Authenticate": {"description": "`Bearer`", "required": True, "schema": _TEXT}},
    429: {"Retry-After": {"description": "seconds", "required": True, "schema": _TEXT}},
    503: {"Retry-After": {"description": "seconds", "required": True, "schema": _TEXT}},
}
_ETAG = {"ETag": {"description": "the key's entity tag, for `If-Match`", "required": True, "schema": _TEXT}}
_LOCATION = {"Location": {"description": "where the key is shown", "required": True, "schema": _TEXT}}
_FROM_ANSWER = {"key_id": "$response.body#/key_id", "user_id": "$response.body#/owner_id"}


def openapi(operations: Iterable[Operation], tags: Mapping[str, str], base: str, version: str) -> dict[str, Any]:
    """Return the document for operations below *base*, a URL; *tags* tells what each group of them is about."""
    known = tuple(operations)
    links = _links(known)
    paths: dict[str, Any] = {}
    for operation in known:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, links)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Keystile management API", "version": version, "description": _DESCRIPTION},
        "servers": [{"url": base}],
        "tags": [{"name": name, "description": text} for name, text in tags.items()],
        "security": [{name: []} for name in _SCHEMES],
        "paths": paths,
        "components": {"schemas": _schemas(known), "securitySchemes": _SCHEMES},
    }


def _described(operation: Operation, links: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": f"{operation.description} {_needs(operation)}",
        "parameters": _parameters(operation),
        "responses": {str(status): _response(operation, status, links) for status in operation.statuses},
    }
    if operation.body is not None:
        content = {"application/json": {"schema": _ref(operation.body)}}
        described["requestBody"] = {
            "description": operation.body.__doc__,
            "required": any(field.is_required() for field in operation.body.model_fields.values()),
            "content": content,
        }
    return described


def _needs(operation: Operation) -> str:
    """Return which scope a key needs for it, as the rights table says."""
    own = [f"`{scope}`" for scope, role in _SCOPES.items() if _may(role, operation.action, Relation.OWN)]
    any_key = "" if operation.action is Action.WHOAMI else ", `keys:admin` for any"
    return f"Needs {' or '.join(own)} for one's own keys{any_key}."


def _may(role: Role, action: Action, relation: Relation) -> bool:
    return allows(Caller(kind=CallerKind.KEY, actor="", roles=frozenset({role})), action, relation)


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    properties = operation.query.model_json_schema()["properties"]
    return [
        *(
            {"name": name, "in": "path", "required": True, **_IN_PATH[name]}
            for name in _PARAMETER.findall(operation.path)
        ),
        *(
            {"name": name, "in": "query", "description": schema.pop("description"), "schema": schema}
            for name, schema in properties.items()
        ),
        *({"name": name, "in": "header", **_IN_HEADER[name]} for name in operation.headers),
    ]


def _response(operation: Operation, status: int, links: dict[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": _WHY[status]}
    if status not in operation.answers:
        content = {"application/problem+json": {"schema": _ref(Problem)}}
        return {**response, "headers": _ON_ERROR.get(status, {}), "content": content}
    model = operation.answers[status]
    if model is not None:
        response["content"] = {"application/json": {"schema": _ref(model)}}
        if issubclass(model, ShownKey):
            response["headers"] = _ETAG | (_LOCATION if status == HTTPStatus.CREATED else {})
            response["links"] = links if status == HTTPStatus.CREATED else {}
    return response


def _links(operations: tuple[Operation, ...]) -> dict[str, Any]:
    """Return what can be done next with a key that an answer shows."""
    links: dict[str, Any] = {}
    for operation in operations:
        names = _PARAMETER.findall(operation.path)
        if names:
            links[operation.name] = {
                "operationId": operation.name,
                "parameters": {name: _FROM_ANSWER[name] for name in names},
            }
    return links


def _schemas(operations: tuple[Operation, ...]) -> dict[str, Any]:
    taken: set[type[BaseModel]] = {operation.body for operation in operations if operation.body is not None}
    answered = {model for operation in operations for model in operation.answers.values() if model is not None}
    _, inputs = models_json_schema([(model, "validation") for model in _sorted(taken)], ref_template=_REF)
    _, outputs = models_json_schema(
        [(model, "validation") for model in _sorted({*answered, Problem})], ref_template=_REF
    )
    return {**inputs.get("$defs", {}), **outputs.get("$defs", {})}


def _sorted(models: set[type[BaseModel]]) -> list[type[BaseModel]]:
    return sorted(models, key=lambda model: model.__name__)


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}
