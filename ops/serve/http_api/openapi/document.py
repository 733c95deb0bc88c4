"""The OpenAPI document: every route, with the columns or inputs that the served models have."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from thalweg.memory.software import version_of
from thalweg.ops.serve.access.roles import row_of
from thalweg.ops.serve.aliases import Alias
from thalweg.ops.serve.http_api.openapi.aliases import alias_schemas
from thalweg.ops.serve.http_api.openapi.schemas import (
    Described,
    answer_of,
    event_of,
    label_record_of,
    request_row_of,
)
from thalweg.ops.serve.models import Models, ServedModel

_ERRORS = {
    "400": "Something does not fit; the text says what was expected and what came.",
    "404": "There is no such model or version.",
    "409": "Not possible in the present state.",
    "413": "Larger than the service accepts.",
    "415": "The body's type or encoding is not supported.",
    "429": "Overloaded; retry later.",
    "501": "The model does not offer this.",
    "503": "No answer at present; the text says why.",
    "504": "What was waited for did not come in time.",
}
_FOR_CALLERS = {"401": "A token is required.", "403": "The token lacks the role, or web pages need one."}
_EXCLUDE = {
    "name": "exclude",
    "in": "query",
    "description": "`untrained`: models that wait for events, or whose learner has failed, do not make it unready",
    "schema": {"enum": ["untrained"]},
}
_NUMBER = {"type": "integer", "minimum": 0, "maximum": 2**62}


def document_of(models: Models) -> Described:
    """The document, as the models are now."""
    paths: Described = {
        "/healthz": {"get": _plain("Whether a restart of the server is due", "text/plain")},
        "/readyz": {
            "get": _plain("Whether all models answer, and the state of every part") | {"parameters": [_EXCLUDE]}
        },
        "/metrics": {"get": _plain("Metrics for Prometheus", "text/plain")},
        "/v1/models": {"get": _plain("The models")},
        "/v1/aliases": {
            "get": _plain(
                "The aliases: who answers, and how a comparison stands",
                schema=_object({"aliases": {"type": "array", "items": _ref("Alias")}}, "aliases"),
            )
        },
        "/v2": {"get": _plain("The server and the extensions that it offers")},
        "/v2/health/live": {"get": _plain("Whether the process is there", "text/plain")},
        "/v2/health/ready": {"get": _plain("As /readyz")},
    }
    schemas: Described = {
        "Error": _object({"error": {"type": "string"}, "rows": {"type": "array"}, "appended": {"type": "integer"}}),
        "Ack": _object(
            {
                "topic": {"type": "string"},
                "partition": {"type": "integer"},
                "offset": {"type": "integer"},
                "id": {"type": "string"},
                "labelled": {"type": "boolean", "description": "false: an event without a label; else not there"},
            }
        ),
        "Tensor": _TENSOR,
        **alias_schemas(),
    }
    for alias in models.aliases:
        if isinstance(alias, Alias):
            paths |= _alias_paths(alias.name)
    for model in (one for one in models.named() if "@" not in one.name):  # successors answer under its name
        paths |= _paths(model)
        schemas |= {
            f"{model.name}.Row": request_row_of(model),
            f"{model.name}.Event": event_of(model.schema),
            f"{model.name}.Answer": answer_of(model),
        }
        if model.labels_topic:
            schemas[f"{model.name}.Label"] = label_record_of(model.schema)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Thalweg",
            "version": version_of("thalweg"),
            "description": "Models that learn continuously from a log of events while they serve predictions.",
        },
        "paths": _with_roles(paths, [one.name for one in models.named()], [one.name for one in models.aliases]),
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _paths(model: ServedModel) -> Described:
    name = model.name
    base = f"/v1/models/{name}"
    row, answer = _ref(f"{name}.Row"), _ref(f"{name}.Answer")
    options = _OPTIONS if model.keys is None else (*_OPTIONS, _KEY_OPTION)
    found: Described = {
        f"{base}/predict": {
            "post": _call(f"Predict rows of {name}", name, _one_or_list(row), _one_or_list(answer), options=options)
        },
        f"{base}/events": {
            "post": _call(
                f"Append events for {name} to learn from",
                name,
                _one_or_list(_ref(f"{name}.Event")),
                _one_or_list(_ref("Ack")),
                options=_EVENT_OPTIONS,
            )
        },
        f"{base}:predict": {
            "post": _call(
                f"Predict rows of {name}, as KServe v1",
                name,
                {**_object({"instances": {"type": "array", "items": row}}, "instances"), "additionalProperties": False},
                _object({"predictions": {"type": "array", "items": answer}}, "predictions"),
                options=options,
            )
        },
        base: {"get": _plain(f"Whether {name} answers", tag=name)},
        f"/v2/models/{name}": {"get": _plain(f"Inputs, outputs and properties of {name}", tag=name)},
        f"/v2/models/{name}/ready": {"get": _plain(f"Whether {name} answers", tag=name)},
        f"/v2/models/{name}/config": {"get": _plain(f"Configuration of {name}, as Triton's clients read it", tag=name)},
        f"/v2/models/{name}/stats": {"get": _plain(f"Statistics of {name}, as Triton's clients read them", tag=name)},
        f"/v2/models/{name}/infer": {
            "post": _call(
                f"Predict tensors of {name}, as the Open Inference Protocol",
                name,
                _object(
                    {"inputs": {"type": "array", "items": _ref("Tensor")}, "id": {"type": "string"}}
                    | ({} if model.keys is None else {"parameters": _object({"key": _KEY})}),
                    "inputs",
                ),
                _object({"outputs": {"type": "array"}}, "outputs"),
            )
        },
    }
    if model.labels_topic:
        found[f"{base}/labels"] = {
            "post": _call(
                f"Append labels of earlier events of {name}",
                name,
                _one_or_list(_ref(f"{name}.Label")),
                _one_or_list(_ref("Ack")),
            )
        }
    return found


def _alias_paths(name: str) -> Described:
    base, alias = f"/v1/aliases/{name}", _ref("Alias")
    return {
        base: {"get": _plain(f"Who answers under {name}, and how a comparison stands", tag=name, schema=alias)},
        f"{base}/promote": {"post": _call(f"Promote a model of {name}, or go back", name, _ref("Promote"), alias)},
    }


def _call(summary: str, tag: str, body: Described, answer: Described, *, options: Any = ()) -> Described:
    return {
        "summary": summary,
        "tags": [tag],
        "parameters": list(options),
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": _response("Done.", answer),
            **{status: _response(text, _ref("Error")) for status, text in sorted(_ERRORS.items())},
        },
    }


def _with_roles(paths: Described, names: Iterable[str], aliases: Iterable[str]) -> Described:
    """The same paths, each operation with the role that it takes, and the refusals of who lacks it."""
    known = {f"/models/{name}" for name in names} | {f"/aliases/{name}" for name in aliases}
    for path, operations in paths.items():
        own = next((one for one in known if re.search(rf"{re.escape(one)}(?=$|[/:])", path)), "")
        template = path.replace(own, f"{own[: own.rindex('/')]}/{{name}}", 1) if own else path
        for method, operation in operations.items():
            role = row_of(f"{method.upper()} {template}").role
            if role is not None:
                operation["x-role"] = role
                operation["security"] = [{"token": []}, {}]  # without tokens, none is needed
                operation["responses"] |= {
                    status: _response(text, _ref("Error")) for status, text in _FOR_CALLERS.items()
                }
    return paths


def _plain(
    summary: str, media: str = "application/json", tag: str = "service", schema: Described | None = None
) -> Described:
    schema = {"type": "string"} if media == "text/plain" else schema or {}
    return {
        "summary": summary,
        "tags": [tag],
        "responses": {
            "200": _response("Done.", schema, media),
            "503": _response("Not at present; the content says why.", schema, media),
        },
    }


def _response(text: str, schema: Described, media: str = "application/json") -> Described:
    return {"description": text, "content": {media: {"schema": schema}}}


def _object(properties: Described, *required: str) -> Described:
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}


def _one_or_list(schema: Described) -> Described:
    return {"oneOf": [schema, {"type": "array", "items": schema}]}


def _ref(name: str) -> Described:
    return {"$ref": f"#/components/schemas/{name}"}


def _option(name: str, text: str, schema: Described) -> Described:
    return {"name": name, "in": "query", "description": text, "schema": schema}


_OPTIONS = (
    _option("as_of_version", "Predict with the snapshot of this version.", _NUMBER),
    _option("min_state_version", "Wait until this version is published.", _NUMBER),
    _option("outputs", "Names of outputs, with commas between; none: all.", {"type": "string"}),
    _option("explain", "true, or a number of entries.", {"type": "string"}),
    _option("event_id", "The id under which the only row waits for its label.", {"type": "string"}),
)
_EVENT_OPTIONS = (
    _option(
        "responses",
        "Responses that KServe's request logger posts: ignored, or the labels of their requests.",
        {"type": "string", "enum": ["ignore", "label"], "default": "ignore"},
    ),
    _option(
        "ids",
        "What names the requests that it posts: the events, or the `id` in their bodies.",
        {"type": "string", "enum": ["event", "body"], "default": "event"},
    ),
)
_KEY = {"type": ["string", "integer"], "description": "The key of all rows; its shard answers."}
_KEY_OPTION = _option("key", "The key of all rows that have none of their own; its shard answers.", {"type": "string"})
_TENSOR = _object(
    {
        "name": {"type": "string"},
        "datatype": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "data": {"type": "array"},
    },
    "name",
    "datatype",
    "shape",
    "data",
)
