"""The schemas of aliases: who answers under a name, how a comparison stands, and promotions."""

from __future__ import annotations

from thalweg.ops.serve.http_api.openapi.schemas import Described

_TEXT, _WHOLE = {"type": "string"}, {"type": "integer", "minimum": 0}
_NUMBER = {"type": "number"}
_TIME = {"type": ["number", "null"], "description": "Unix seconds; null: before any promotion."}
_CAUSE = {"type": "string", "enum": ["first", "promoted", "back", "configured", "tested"]}


def alias_schemas() -> Described:
    """The components: an alias as it stands, and what `promote` takes."""
    return {"Alias": _alias(), "Promote": _PROMOTE}


_PROMOTE: Described = {
    "type": "object",
    "oneOf": [
        {"type": "object", "properties": {"model": _TEXT, "back": {"const": False}}, "required": ["model"]},
        {"type": "object", "properties": {"back": {"const": True}, "model": {"type": "null"}}, "required": ["back"]},
    ],
    "properties": {
        "model": {"type": ["string", "null"], "description": "The model of the alias that is to answer."},
        "back": {"type": "boolean", "description": "true: the champion before."},
        "force": {"type": "boolean", "description": "Also where requests may be refused afterwards."},
    },
    "additionalProperties": False,
}


def _alias() -> Described:
    promotion = {
        "number": _WHOLE,
        "champion": _TEXT,
        "cause": _CAUSE,
        "time": _TIME,
        "evidence": {"type": "object", "description": "What decided a test; only there for `tested`."},
    }
    found = {
        "name": _TEXT,
        "champion": {"type": "string", "description": "The model that answers."},
        "models": {"type": "array", "items": _TEXT},
        "promotion": {**_WHOLE, "description": "The number of the newest promotion; 0: the first champion."},
        "promoted": _TIME,
        "cause": _CAUSE,
        "auto": {"type": "boolean", "description": "Whether a test promotes, too."},
        "promotions": {
            "type": "array",
            "items": _object(promotion, *(name for name in promotion if name != "evidence")),
            "description": "The newest ones, oldest first.",
        },
    }
    return _object({**found, "comparison": _comparison()}, *found)


def _comparison() -> Described:
    challenger = {
        "model": _TEXT,
        "compared_events": _WHOLE,
        "unanswered_events": _WHOLE,
        "test_events": _WHOLE,
        "loss_difference": {"type": ["number", "null"]},
        "evidence": {**_NUMBER, "description": "0: none, 1: it promotes."},
        "alpha": _NUMBER,
        "ended_tests": _WHOLE,
    }
    found = {
        "alpha": _NUMBER,
        "loss": _TEXT,
        "waits": {"type": ["string", "null"], "description": "For whom the comparison waits."},
        "held": {"type": ["string", "null"], "description": "Why the test does not promote."},
        "left_out": {"type": "object", "additionalProperties": _TEXT},
        "challengers": {"type": "array", "items": _object(challenger, *challenger)},
    }
    described = "Only there where the alias promotes by a test; null until the first events are compared."
    return {**_object(found, *found), "type": ["object", "null"], "description": described}


def _object(properties: Described, *required: str) -> Described:
    return {"type": "object", "properties": properties, "required": list(required)}
