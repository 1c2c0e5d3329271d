"""The API's documentation as one page of HTML, made from its OpenAPI document: no script, nothing fetched."""

from __future__ import annotations

import json
import re
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "code{font-family:monospace;background:#eee8;padding:0 .2em}table{border-collapse:collapse;margin:.5em 0 1em}"
    "summary{cursor:pointer;margin:.6em 0}td,th{text-align:left;padding:.1em .8em .1em 0;vertical-align:top}"
)
_MARKED = re.compile(r"`([^`]*)`")


def page(document: dict[str, Any]) -> str:
    """Return the page for that OpenAPI document."""
    title, about = document["info"]["title"], document["info"]["description"]
    base = document["servers"][0]["url"]
    schemas = sorted(document["components"]["schemas"].items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"<p>{_text(about)}</p><p>Base: <code>{escape(base)}</code></p>"
        f"<h2>Who calls</h2>{_table(_schemes(document['components']['securitySchemes']))}"
        f"{''.join(_group(document, tag) for tag in document['tags'])}"
        f"<h2>Shapes</h2>{''.join(_schema(name, schema) for name, schema in schemas)}</body></html>"
    )


def _schemes(schemes: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for scheme in schemes.values():
        shown = "Authorization: Bearer …" if scheme["type"] == "http" else f"{scheme['name']}: …"
        yield f"<code>{escape(shown)}</code>", _text(scheme["description"])


def _group(document: dict[str, Any], tag: dict[str, str]) -> str:
    operations = "".join(
        _operation(method, path, described)
        for path, methods in document["paths"].items()
        for method, described in methods.items()
        if tag["name"] in described["tags"]
    )
    return f"<h2>{escape(tag['name'])}</h2><p>{_text(tag['description'])}</p>{operations}"


def _operation(method: str, path: str, described: dict[str, Any]) -> str:
    parameters = _table(
        (
            f"<code>{escape(each['name'])}</code>",
            escape(each["in"]),
            _text(each["description"]),
            _example(each["schema"]),
        )
        for each in described["parameters"]
    )
    answers = _table(
        (status, _text(answer["description"]), _shapes(answer)) for status, answer in described["responses"].items()
    )
    body = f"<p>Body: {_shapes(described['requestBody'])}</p>" if "requestBody" in described else ""
    return (
        f"<details><summary><code>{method.upper()} {escape(path)}</code> {_text(described['summary'])}</summary>"
        f"<p>{_text(described['description'])}</p>{parameters}{body}{answers}</details>"
    )


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    fields = _table(
        (
            f"<code>{escape(field)}</code>{'' if field in required else ' <i>optional</i>'}",
            _kind(described),
            _text(described.get("description", "")),
            _example(described),
        )
        for field, described in schema.get("properties", {}).items()
    )
    words = ", ".join(f"<code>{escape(str(word))}</code>" for word in schema.get("enum", ()))
    about = f"<p>{_text(schema.get('description', ''))}</p>{words}{fields}"
    return f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>{about}</details>'


def _kind(schema: dict[str, Any]) -> str:
    """Return what a field holds, in few words."""
    if "$ref" in schema:
        return _link(schema)
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"<code>{escape(str(word))}</code>" for word in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return escape(str(schema.get("const", schema.get("type", "anything"))))


def _example(schema: dict[str, Any]) -> str:
    examples = schema.get("examples", ())
    return f"<code>{escape(json.dumps(examples[0], ensure_ascii=False))}</code>" if examples else ""


def _shapes(holder: dict[str, Any]) -> str:
    return ", ".join(_link(content["schema"]) for content in holder.get("content", {}).values())


def _link(schema: dict[str, str]) -> str:
    name = escape(schema["$ref"].rpartition("/")[2])
    return f'<a href="#{name}"><code>{name}</code></a>'


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table of cells that are HTML already."""
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{lines}</table>" if lines else ""


def _text(text: str) -> str:
    return _MARKED.sub(r"<code>\1</code>", escape(text))
