"""The OpenAPI 3.1 document, made from the table of operations: what is not in the table is not in the API."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from keystile.http.api.answers import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

    from keystile.http.api.operations import Operation

_REF = "#/components/schemas/{model}"
_PARAMETER = re.compile(r"{(\w+)}")
_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key with a `keys:` scope, one of our JWTs for `{issuer}/api/v1`, an access token of the "
        "realm, or the bootstrap admin key.",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def openapi(operations: Iterable[Operation], base: str, version: str) -> dict[str, Any]:
    """Return the document for operations below *base*, a URL."""
    known = tuple(operations)
    paths: dict[str, Any] = {}
    for operation in known:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Keystile management API", "version": version},
        "servers": [{"url": base}],
        "security": [{name: []} for name in _SCHEMES],
        "paths": paths,
        "components": {"schemas": _schemas(known), "securitySchemes": _SCHEMES},
    }


def _described(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": {str(status): _response(operation, status) for status in operation.statuses},
    }
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(operation.body)}}}
    return described


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PARAMETER.findall(operation.path)
    ]
    if operation.query is not None:
        properties = operation.query.model_json_schema()["properties"]
        found += [{"name": name, "in": "query", "schema": schema} for name, schema in properties.items()]
    return found + [{"name": name, "in": "header", "schema": {"type": "string"}} for name in operation.headers]


def _response(operation: Operation, status: int) -> dict[str, Any]:
    response: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if status not in operation.answers:
        response["content"] = {"application/problem+json": {"schema": _ref(Problem)}}
    elif (model := operation.answers[status]) is not None:
        response["content"] = {"application/json": {"schema": _ref(model)}}
    return response


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
