"""The OpenAPI document and the page made of it: valid, complete, and nothing fetched from elsewhere."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from keystile.http.api.docs import page
from keystile.http.api.openapi import openapi
from keystile.http.api.operations import OPERATIONS, TAGS
from unit.served import prepare, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unit.served import Prepared

BASE = "https://id.example.com/sts/api/v1"
DOCUMENT = openapi(OPERATIONS, TAGS, BASE, "1.0")
DESCRIBED = [
    (method, path, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]


def schemas_of(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the schemas of a request's body, those it refers to included."""
    todo = [operation.get("requestBody", {})]
    seen = set()
    while todo:
        text = json.dumps(todo.pop())
        for name in re.findall(r"#/components/schemas/(\w+)", text):
            if name not in seen:
                seen.add(name)
                todo.append(DOCUMENT["components"]["schemas"][name])
                yield DOCUMENT["components"]["schemas"][name]


def test_the_document_is_openapi() -> None:
    """It is what the OpenAPI 3.1 schema calls valid, and every reference leads somewhere."""
    assert [error.message for error in OPENAPI_31_VALIDATOR.iter_errors(DOCUMENT)] == []
    references = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT))
    assert set(references) <= set(DOCUMENT["components"]["schemas"])
    assert DOCUMENT["openapi"].startswith("3.1")


@pytest.mark.parametrize(("method", "path", "operation"), DESCRIBED)
def test_every_operation_is_described(method: str, path: str, operation: dict[str, Any]) -> None:
    """It has a group, a sentence, more than a sentence, words on each parameter, and an example of each field."""
    assert set(operation["tags"]) <= {tag["name"] for tag in DOCUMENT["tags"]}, (method, path)
    assert operation["summary"].endswith(".")
    assert "Needs `keys:" in operation["description"]
    for parameter in operation["parameters"]:
        assert parameter["description"]
    for schema in schemas_of(operation):
        for name, field in schema.get("properties", {}).items():
            assert field["description"], name
            assert field["examples"], name


@pytest.mark.parametrize(("method", "path", "operation"), DESCRIBED)
def test_every_refusal_is_described(method: str, path: str, operation: dict[str, Any]) -> None:
    """Errors are problem documents, with the headers that come with them; success has a shape or no body."""
    responses = operation["responses"]
    assert {"400", "401", "403", "422", "429", "503"} <= set(responses), (method, path)
    for status, response in responses.items():
        if status >= "400":
            schema = response["content"]["application/problem+json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Problem"}
        assert response["description"]
    assert "WWW-Authenticate" in responses["401"]["headers"]
    assert "Retry-After" in responses["429"]["headers"]
    assert "Retry-After" in responses["503"]["headers"]


def test_examples_are_good() -> None:
    """Every example of a request's field is one that the field takes."""
    for operation in OPERATIONS:
        for model in filter(None, (operation.body, operation.query)):
            fields = {name: field.examples[0] for name, field in model.model_fields.items() if field.examples}
            model.model_validate(fields)


class _Page(HTMLParser):
    """Collects what a page would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.targets: set[str] = set()
        self.ids: set[str] = set()
        self.handlers: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in {"src", "href", "action", "srcset", "data", "style"}:
                self.targets.add(value or "")
            if name == "id":
                self.ids.add(value or "")
            if name.startswith("on"):
                self.handlers.add(name)


def test_the_page_fetches_and_runs_nothing() -> None:
    """Its links lead into itself, each to something there; no script, no frame, no picture, no handler."""
    found = _Page()
    found.feed(page(DOCUMENT))
    assert found.tags.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "form", "base"})
    assert all(target.startswith("#") and target[1:] in found.ids for target in found.targets)
    assert found.handlers == set()
    assert "url(" not in page(DOCUMENT)
    assert "@import" not in page(DOCUMENT)


def test_the_page_says_it_all() -> None:
    """Every operation, every shape and every field's description stands on it, escaped."""
    shown = page(DOCUMENT)
    for method, path, operation in DESCRIBED:
        assert f"<code>{method.upper()} {path}</code>" in shown
        assert operation["summary"].replace("'", "&#x27;") in shown
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert f'id="{name}"' in shown
        assert all(f"<code>{field}</code>" in shown for field in schema.get("properties", {}))
    hostile = {**DOCUMENT, "info": {"title": "<script>alert(1)</script>", "version": "1", "description": "<b>`<i>`"}}
    assert "<script" not in page(hostile)
    assert "&lt;b&gt;<code>&lt;i&gt;</code>" in page(hostile)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(tmp_path_factory.mktemp("prepared"))


async def test_both_are_open_and_may_do_nothing(prepared: Prepared, tmp_path: Path) -> None:
    """They are served to everybody, for the issuer as it is set, and the page may run and fetch nothing."""
    async with serving(prepared, tmp_path, issuer="https://id.example.com/sts") as client:
        described = await client.send(
            "GET", "/openapi.json", [("Host", "evil.example"), ("Origin", "https://a.example")]
        )
        assert described.json()["servers"] == [{"url": BASE}]
        docs = await client.send("GET", "/docs")
        assert docs.header("content-type") == "text/html; charset=utf-8"
        assert (docs.header("content-security-policy") or "").startswith("default-src 'none'")
        assert docs.header("x-content-type-options") == "nosniff"
