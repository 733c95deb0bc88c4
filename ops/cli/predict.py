"""`thalweg predict`: rows on standard input, answers on standard output, in the form of `POST /v1/models/M/predict`."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import grpc

from thalweg.memory.proxies import by_proxy
from thalweg.ops.cli.remote.found import problem_with
from thalweg.ops.cli.remote.target import Target, target_of
from thalweg.ops.run.failed import Failed
from thalweg.proto import thalweg_pb2 as pb
from thalweg.proto import thalweg_pb2_grpc
from thalweg.proto.json_text import NotUtf8, NumberTooLong, json_of

_SECONDS = 10.0
_UNANSWERED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNKNOWN)


def run(target: str | Target, model: str, text: str, explain: int = 0) -> None:
    """Print the answer to an object, a list of objects, or one object per line.

    Args:
        target: Where gRPC is, as `HOST:PORT` or with a token and TLS; where HTTP is is understood, too.
        model: The model's name.
        text: JSON.
        explain: Entries of an explanation of each row; 0: none.
    """
    rows, by_line = _rows(text)
    target = target_of(target) if isinstance(target, str) else target
    options = {"explain": str(explain)} if explain else {}
    answers = json.loads(_answered(target, model, json.dumps(rows).encode(), options))
    if by_line:
        for answer in answers:
            print(json.dumps(answer, ensure_ascii=False))
    else:
        print(json.dumps(answers, indent=2, ensure_ascii=False))


def text_of(given: bytes) -> str:
    """What came on standard input, which is UTF-8 whatever the locale is. Raises Failed."""
    try:
        return given.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = given.count(b"\n", 0, error.start) + 1
        got = f"byte 0x{given[error.start]:02x} in line {line}"
        raise Failed(f"standard input: expected UTF-8, as JSON is, got {got}") from error


def _rows(text: str) -> tuple[Any, bool]:
    """What stands in a text, and whether it is one value per line."""
    try:
        return json_of(text.encode()), False
    except (NotUtf8, NumberTooLong) as error:
        raise Failed(f"standard input: {error}") from error
    except ValueError as error:
        whole = error
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise Failed('standard input is empty; expected JSON such as {"amount": 12.5}')
    if len(lines) < 2:
        raise Failed(f"standard input is no JSON: {whole}") from whole
    rows = []
    for number, line in lines:
        try:
            rows.append(json_of(line.encode()))
        except ValueError as error:
            raise Failed(f"standard input, line {number}: no JSON: {error}") from error
    return rows, True


def _answered(target: Target, model: str, rows: bytes, options: Mapping[str, str]) -> bytes:
    """The JSON of the answer."""
    with target.channel() as channel:
        stub = thalweg_pb2_grpc.LearningServiceStub(channel)
        try:
            request = pb.PredictRequest(model=model, rows=rows, options=options)
            return bytes(stub.Predict(request, timeout=_SECONDS, metadata=list(target.headers.items())).rows)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                answer = _over_http(target, model, rows, options)
                if answer is not None:
                    return answer
            proxy = by_proxy(target.address) if error.code() in _UNANSWERED else ""
            if error.code() in _UNANSWERED and not proxy and (problem := problem_with(target)):
                raise Failed(problem) from error
            raise Failed(f"{target.address}: {error.code().name}: {error.details()}{proxy}") from error


def _over_http(target: Target, model: str, rows: bytes, options: Mapping[str, str]) -> bytes | None:
    """The same if the target is the address of HTTP; None if it is not."""
    try:
        connection = target.connection(_SECONDS)
        query = f"?{urlencode(options)}" if options else ""
        connection.request("POST", f"/v1/models/{quote(model, safe='')}/predict{query}", rows, target.headers)
        response = connection.getresponse()
        content = response.read()
    except (OSError, ValueError, http.client.HTTPException):
        return None
    if response.status != http.client.OK:
        try:
            detail = json.loads(content)["error"]
        except (ValueError, KeyError, TypeError):
            return None
        raise Failed(f"{target.address}: {response.status} {response.reason}: {detail}")
    return content
