"""The API's documentation as one page of HTML, made from its OpenAPI document: no script, nothing fetched."""

from __future__ import annotations

import json
from html import escape
from typing import Any

_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "code,pre{font-family:monospace;background:#eee8;padding:0 .2em}pre{padding:.6em;overflow:auto}"
    "summary{cursor:pointer;margin:.6em 0}td,th{text-align:left;padding:.1em .8em .1em 0;vertical-align:top}"
)


def page(document: dict[str, Any]) -> str:
    """Return the page for that OpenAPI document."""
    title = escape(document["info"]["title"])
    base = escape(document["servers"][0]["url"])
    operations = "".join(
        _operation(method, path, described)
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    )
    schemas = "".join(_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items()))
    how = escape(document["components"]["securitySchemes"]["bearer"]["description"])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{title}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{title}</h1><p>Base: <code>{base}</code>. <code>Authorization: Bearer …</code>: {how}</p>"
        f"<h2>Operations</h2>{operations}<h2>Shapes</h2>{schemas}</body></html>"
    )


def _operation(method: str, path: str, described: dict[str, Any]) -> str:
    takes = described.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    rows = "".join(
        f"<tr><td>{escape(each['in'])}</td><td><code>{escape(each['name'])}</code></td></tr>"
        for each in described["parameters"]
    )
    answers = ", ".join(
        f"{status} {escape(answer['description'])}" for status, answer in described["responses"].items()
    )
    body = f"<p>Body: {_link(takes)}</p>" if takes else ""
    return (
        f"<details><summary><code>{method.upper()} {escape(path)}</code> {escape(described['summary'])}</summary>"
        f"<table>{rows}</table>{body}<p>Answers: {answers}</p></details>"
    )


def _schema(name: str, schema: dict[str, Any]) -> str:
    text = escape(json.dumps(schema, indent=2, ensure_ascii=False))
    return f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary><pre>{text}</pre></details>'


def _link(schema: dict[str, str]) -> str:
    name = escape(schema["$ref"].rpartition("/")[2])
    return f'<a href="#{name}"><code>{name}</code></a>'
