"""The page at `/docs`: the OpenAPI document for people, in plain HTML that loads nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

from thalweg.ops.serve.http_api.openapi.schemas import Described

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Thalweg: REST</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1d2430 }
code, pre { font: 13px/1.5 ui-monospace, monospace }
pre { background: #f4f6f8; padding: .6rem .8rem; overflow-x: auto }
h2 { margin-top: 2.2rem; border-bottom: 1px solid #d8dee6 }
summary { cursor: pointer; padding: .25rem 0 }
summary b { display: inline-block; width: 3.5rem }
td { padding: .1rem 1rem .1rem 0; vertical-align: top }
@media (prefers-color-scheme: dark) {
body { background: #14181e; color: #d7dde5 } pre { background: #1d232b }
h2 { border-color: #333c47 } a { color: #7db7ff }
}
</style></head><body><h1>REST</h1>
<p>The same for programs: <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1).</p>
"""


def page_of(document: Described, address: str) -> str:
    """The page.

    Args:
        document: From `document_of`.
        address: Where the service is reached, `http://HOST:PORT`, for the examples.
    """
    tags: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            tags.setdefault(call["tags"][0], []).append(_call(document, address, path, method, call))
    own = "".join(f"<h2>{escape(tag)}</h2>" + "".join(calls) for tag, calls in tags.items() if tag != "service")
    return _HEAD + own + "<h2>Service</h2>" + "".join(tags.get("service", ())) + "</body></html>\n"


def _call(document: Described, address: str, path: str, method: str, call: Described) -> str:
    parts = [
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> {escape(call['summary'])}</summary>"
    ]
    if body := call.get("requestBody"):
        example = json.dumps(_example(document, body["content"]["application/json"]["schema"]), ensure_ascii=False)
        quoted = example.replace("'", "'\\''")
        parts.append(f"<pre>curl -s {escape(address + path)} -d '{escape(quoted)}'</pre>")
    else:
        parts.append(f"<pre>curl -s {escape(address + path)}</pre>")
    rows = [(f"?{one['name']}=", one["description"]) for one in call.get("parameters", ())]
    rows += [(status, one["description"]) for status, one in call["responses"].items()]
    parts += ["<table>", *_cells(rows), "</table></details>"]
    return "".join(parts)


def _cells(rows: list[tuple[str, str]]) -> Iterator[str]:
    for name, text in rows:
        yield f"<tr><td><code>{escape(name)}</code></td><td>{escape(text)}</td></tr>"


def _example(document: Described, schema: Described) -> Any:
    """A value that the schema allows."""
    if "$ref" in schema:
        return _example(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    for choice in ("oneOf", "anyOf"):
        if choice in schema:
            return _example(document, schema[choice][0])
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        properties = schema.get("properties", {})
        shown = schema.get("required") or [name for name in properties if name not in ("id", "time", "key", "weight")]
        return {name: _example(document, properties[name]) for name in shown}
    if kind == "array":
        return [_example(document, schema.get("items", {}))] * min(max(1, schema.get("minItems", 1)), 64)
    return {"number": 0.5, "integer": 1, "boolean": True, "string": "…"}.get(kind or "", "…")
