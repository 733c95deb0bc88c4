"""The JSON Schema of the configuration file, for editors."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from thalweg.models.contract.registry import BUILT_IN
from thalweg.ops.config.config import Config
from thalweg.ops.config.learners import params_type

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _WithoutTitles(GenerateJsonSchema):
    """The keys serve as titles."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the whole file; descriptions are the docstrings of the fields.

    It covers only what the file itself determines: neither relations between keys nor files that must exist. A key
    that only the environment sets counts as missing.
    """
    whole = Config.model_json_schema(schema_generator=_WithoutTitles)
    model = whole["$defs"]["ModelConfig"]
    model["properties"]["learner"]["examples"] = sorted(BUILT_IN)
    model["anyOf"] = [{"required": ["inputs"]}, {"required": ["columns"]}]
    model["allOf"] = [_params_of(name, whole["$defs"]) for name in sorted(BUILT_IN)]
    return {"$schema": DIALECT, **whole, "title": "Thalweg's configuration", "required": ["model"]}


def _params_of(learner: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema rule that a learner's name determines its parameters; adds their definitions to `definitions`."""
    kind = params_type(learner)
    if kind is not None:
        made = kind.model_json_schema(schema_generator=_WithoutTitles, ref_template=f"#/$defs/{learner}.{{model}}")
        definitions.update({f"{learner}.{name}": inner for name, inner in made.pop("$defs", {}).items()})
        definitions[learner] = made
    then = {"params": {"$ref": f"#/$defs/{learner}"} if kind is not None else {}}
    return {
        "if": {"properties": {"learner": {"const": learner}}, "required": ["learner"]},
        "then": {"properties": then},
    }
