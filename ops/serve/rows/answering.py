"""Requests for rows, from any interface, answered by the inference core."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from thalweg.ops.serve.bounds.answer_bytes import row_bytes
from thalweg.ops.serve.bounds.input_bytes import hold_inputs
from thalweg.ops.serve.bounds.pieces import cut
from thalweg.ops.serve.inference import InferenceCore
from thalweg.ops.serve.models import ServedModel
from thalweg.ops.serve.rows import kserve_v1
from thalweg.ops.serve.rows.answers import part_of, to_rows
from thalweg.ops.serve.rows.requests import RowRequests, RowsAsked


class RowAnswers:
    """Translates rows to requests, and responses to rows. Thread-safe."""

    def __init__(self, core: InferenceCore) -> None:
        self._core = core
        self._requests: dict[str, tuple[ServedModel, RowRequests]] = {}

    def predict(
        self, model: str, body: bytearray, query: Sequence[tuple[str, str]], read: Callable[[], None] = lambda: None
    ) -> tuple[bytes, int]:
        """The JSON of an answer, an object for an object and a list for a list, and its number of rows.

        `read` is called once the body is read.

        Raises:
            InputError: The rows or the options do not fit; others as `InferenceCore.infer`.
        """
        asked = self._of(model).read(body, query)
        read()
        return self._answered(asked)

    def predict_instances(
        self, model: str, body: bytearray, query: Sequence[tuple[str, str]], read: Callable[[], None] = lambda: None
    ) -> tuple[bytes, int]:
        """The same for KServe's protocol, version 1."""
        asked = self._of(model).of_rows(kserve_v1.read(body), query, size=len(body))
        read()
        rows, count = self._answered(asked)
        return msgspec.json.encode(kserve_v1.to_json(msgspec.Raw(rows))), count

    def _answered(self, asked: RowsAsked) -> tuple[bytes, int]:
        """The JSON of the rows, and how many there are; written in pieces."""
        hold_inputs(asked.request.inputs)
        response = self._core.infer(asked.request)
        if asked.single:
            return msgspec.json.encode(to_rows(response, asked.ids)[0]), 1
        parts = [
            msgspec.json.encode(to_rows(part_of(response, piece), asked.ids[piece]))[1:-1]
            for piece in cut(
                len(asked.ids), row_bytes(response.served.predictor, response.options.outputs, "rows").working
            )
        ]
        return b"[%b]" % b",".join(parts), len(asked.ids)

    def _of(self, model: str) -> RowRequests:
        found = self._core.models.find(model)
        known = self._requests.get(found.name)
        if known is None or known[0] is not found:  # the first request, or another champion
            known = self._requests[found.name] = found, RowRequests(found)
        return known[1]
