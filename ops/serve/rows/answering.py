"""Requests for rows, from any interface, answered by the inference core."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from thalweg.ops.serve.inference import InferenceCore
from thalweg.ops.serve.models import ServedModel
from thalweg.ops.serve.rows import kserve_v1
from thalweg.ops.serve.rows.answers import to_rows
from thalweg.ops.serve.rows.requests import RowRequests, RowsAsked


class RowAnswers:
    """Translates rows to requests, and responses to rows. Thread-safe."""

    def __init__(self, core: InferenceCore) -> None:
        self._core = core
        self._requests: dict[str, tuple[ServedModel, RowRequests]] = {}

    def predict(self, model: str, body: bytearray, query: Sequence[tuple[str, str]]) -> tuple[bytes, int]:
        """The JSON of an answer, an object for an object and a list for a list, and its number of rows.

        Raises:
            InputError: The rows or the options do not fit; others as `InferenceCore.infer`.
        """
        asked = self._of(model).read(body, query)
        rows = self._answered(asked)
        return msgspec.json.encode(rows[0] if asked.single else rows), len(rows)

    def predict_instances(self, model: str, body: bytearray, query: Sequence[tuple[str, str]]) -> tuple[bytes, int]:
        """The same for KServe's protocol, version 1."""
        rows = self._answered(self._of(model).of_rows(kserve_v1.read(body), query))
        return msgspec.json.encode(kserve_v1.to_json(rows)), len(rows)

    def _answered(self, asked: RowsAsked) -> list[dict[str, object]]:
        return to_rows(self._core.infer(asked.request), asked.ids)

    def _of(self, model: str) -> RowRequests:
        found = self._core.models.find(model)
        known = self._requests.get(found.name)
        if known is None or known[0] is not found:  # the first request, or another champion
            known = self._requests[found.name] = found, RowRequests(found)
        return known[1]
