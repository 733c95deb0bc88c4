"""Aliases over HTTP: who answers, how the comparison stands, and promotions that refuse what would refuse requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from jsonschema import Draft202012Validator, ValidationError

from tests.ops.serve.test_aliases import World
from tests.services.processes import until
from thalweg.memory.audit import audit_log
from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.ops.serve.access.access import AccessSettings
from thalweg.ops.serve.access.tokens import Tokens
from thalweg.ops.serve.aliases import Alias, AliasLocation
from thalweg.ops.serve.http_api.openapi.document import document_of
from thalweg.ops.serve.models import Models, RequestSinks
from thalweg.ops.serve.readiness import ServiceHealth
from thalweg.ops.serve.server import Server, workers_of
from thalweg.ops.serve.settings import Addresses, ServerLimits
from thalweg.ops.telemetry.server_metrics import ServerMetrics
from thalweg.stream.comparison.bounds import Bounds
from thalweg.stream.comparison.comparison import ChallengerTest, Comparison
from thalweg.stream.comparison.comparison_file import ComparisonReport, write_comparison
from thalweg.stream.comparison.evidence import Sums
from thalweg.stream.journal.promotions import Promotions
from thalweg.stream.log.in_memory import InMemoryLog

TOKEN = "a-token-that-operates"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.learn("ridge", 7)
    made.learn("mean", 3)
    yield made
    for publisher in made.publishers.values():
        publisher.close()


@pytest.fixture
def client(world: World) -> Iterator[httpx.Client]:
    """Of a server whose alias `fraud` promotes by a test."""
    folder = world.folder
    models = Models([world.location(name) for name in ("ridge", "mean")], RequestSinks())
    location = AliasLocation(
        "fraud",
        "ridge",
        ("ridge", "mean"),
        folder / ".aliases" / "fraud.jsonl",
        folder / ".aliases" / "fraud.comparison.json",
    )
    models.audit = audit_log(folder)
    models.serve_under([Alias(location, models.by_name)])
    health, path = ServiceHealth(models, models.registry), folder / "tokens"
    path.write_text(TOKEN + "\n")
    server = Server(
        models,
        InMemoryLog(),
        InMemoryCommandQueue(),
        workers=workers_of(ServerLimits()),
        addresses=Addresses(grpc="127.0.0.1:0", http="127.0.0.1:0"),
        telemetry=ServerMetrics(folder / "live", models, health),
        tokens=Tokens(path),
        access=AccessSettings(),
        health=health,
    )
    server.start()
    until("both are loaded", lambda: all(model.versions.newest for model in models.all()))
    with httpx.Client(
        base_url=f"http://127.0.0.1:{server.http_port}", headers={"authorization": f"Bearer {TOKEN}"}
    ) as made:
        yield made
    server.close()


def promote(client: httpx.Client, content: object, alias: str = "fraud") -> httpx.Response:
    return client.post(f"/v1/aliases/{alias}/promote", json=content)


def test_a_promotion_and_going_back_are_one_request_each_and_answer_at_once(client: httpx.Client) -> None:
    first = client.get("/v1/aliases/fraud").json()
    assert (first["champion"], first["models"], first["promotion"]) == ("ridge", ["ridge", "mean"], 0)

    done = promote(client, {"model": "mean"})
    assert done.status_code == 200
    assert (done.json()["champion"], done.json()["cause"]) == ("mean", "promoted")
    assert client.get("/v2/models/fraud").json()["versions"] == [str(10**12 + 3)]  # the same server follows at once
    back = promote(client, {"back": True})

    assert (back.json()["champion"], back.json()["cause"], back.json()["promotion"]) == ("ridge", "back", 2)
    assert [one["champion"] for one in client.get("/v1/aliases").json()["aliases"][0]["promotions"]] == [
        "ridge",
        "mean",
        "ridge",
    ]


@pytest.mark.parametrize(
    ("content", "status", "text"),
    [
        ({"model": "ridge"}, 409, "ridge is the champion already"),
        ({"back": True}, 409, "no champion before"),
        ({"model": "other"}, 404, "'other' is none of its models"),
        ({}, 400, "expected"),
        ([], 400, "expected"),
        ({"model": 7}, 400, "expected"),
        ({"model": "mean", "back": True}, 400, "expected"),
        ({"model": "mean", "now": True}, 400, "expected"),
        ({"back": "yes"}, 400, "expected"),
    ],
)
def test_what_is_no_promotion_is_refused_with_its_reason(
    client: httpx.Client, content: object, status: int, text: str
) -> None:
    answer = promote(client, content)

    assert (answer.status_code, text in answer.json()["error"]) == (status, True)
    assert client.get("/v1/aliases/fraud").json()["promotion"] == 0


def test_promotions_are_recorded_with_who_made_them_and_what_came_of_it(client: httpx.Client, world: World) -> None:
    for body in ({"model": "mean"}, {"model": "mean"}, {"back": True}):
        client.post("/v1/aliases/fraud/promote", json=body)

    entries = [json.loads(line) for line in (world.folder / "audit.jsonl").read_text().splitlines()]
    assert [(one["action"], one["subject"], one["by_kind"], one["outcome"]) for one in entries] == [
        ("promote", "fraud", "token", "done"),
        ("promote", "fraud", "token", "failed"),
        ("promote", "fraud", "token", "done"),
    ]
    assert entries[1]["detail"] == "fraud: mean is the champion already"


def test_an_alias_that_is_not_there_is_not_found_and_the_known_ones_are_named(client: httpx.Client) -> None:
    for answer in (client.get("/v1/aliases/ridge"), promote(client, {"model": "mean"}, "ridge")):
        assert answer.status_code == 404
        assert "known: fraud" in answer.json()["error"]


def test_how_the_comparison_stands_is_in_status_page_and_metrics(client: httpx.Client, world: World) -> None:
    tests = (ChallengerTest("mean", 0.03, Sums(200, 12.0, 30.0), compared=900, ended=1),)
    comparison = Comparison("ridge", 0, 0.05, 2, Bounds(0.0, 1.0), tests, {"t/0": 1000})
    report = ComparisonReport(
        comparison, "auto", 1.0, waits="mean learns behind ridge", left_out={"tree": "its task is regression"}
    )
    write_comparison(world.folder / ".aliases" / "fraud.comparison.json", report)

    shown = client.get("/v1/aliases/fraud").json()["comparison"]
    page = client.get("/api/models").json()["aliases"][0]["comparison"]
    metrics = client.get("/metrics").text

    assert shown == page
    assert (shown["waits"], shown["left_out"]) == ("mean learns behind ridge", {"tree": "its task is regression"})
    (mean,) = shown["challengers"]
    assert (mean["model"], mean["compared_events"], mean["loss_difference"]) == ("mean", 900, 0.06)
    assert 0 < mean["evidence"] < 1
    assert 'thalweg_alias_compared_events{alias="fraud",model_name="mean"} 900.0' in metrics
    assert 'thalweg_alias_loss_difference{alias="fraud",model_name="mean"} 0.06' in metrics
    assert 'thalweg_alias_waiting{alias="fraud"} 1.0' in metrics
    assert f'thalweg_alias_evidence{{alias="fraud",model_name="mean"}} {mean["evidence"]}' in metrics


def test_a_promotion_by_the_test_is_shown_with_what_decided_it(client: httpx.Client, world: World) -> None:
    record = Promotions(world.folder / ".aliases" / "fraud.jsonl")
    sums = {"events": 200, "total": 8.0, "squares": 30.0}
    evidence = {"sums": sums, "log_evidence": 4.0, "log_needed": 3.5, "place": "t/0", "offset": 417}
    record.promote_tested("mean", record.read()[-1], evidence)
    until("it answers", lambda: client.get("/v1/aliases/fraud").json()["champion"] == "mean")

    told = client.get("/v1/aliases/fraud").json()["promotions"][-1]

    assert (told["cause"], told["evidence"]["events"], told["evidence"]["offset"]) == ("tested", 200, 417)
    assert told["evidence"]["loss_difference"] == 0.04
    assert told["evidence"]["evidence"] == pytest.approx(54.6, abs=0.1)


def test_a_comparison_that_cannot_be_read_is_none(client: httpx.Client, world: World) -> None:
    (world.folder / ".aliases" / "fraud.comparison.json").write_text("{")

    assert client.get("/v1/aliases/fraud").json()["comparison"] is None
    assert client.get("/metrics").status_code == 200


@pytest.mark.parametrize("auto", [True, False])
def test_an_alias_is_as_the_document_says_and_has_a_comparison_only_where_a_test_promotes(
    client: httpx.Client, world: World, auto: bool
) -> None:
    models = Models([world.location(name) for name in ("ridge", "mean")], RequestSinks())
    folder = world.folder / ".aliases"
    file = folder / "other.comparison.json" if auto else None
    alias = Alias(AliasLocation("other", "ridge", ("ridge", "mean"), folder / "other.jsonl", file), models.by_name)
    models.serve_under([alias])
    document = document_of(models)
    valid = Draft202012Validator({"$ref": "#/components/schemas/Alias", "components": document["components"]}).validate

    standing = alias.standing()
    valid(standing)
    assert ("comparison" in standing) is auto
    assert document["paths"]["/v1/aliases/other/promote"]["post"]["x-role"] == "operate"

    answer = promote(client, {"model": "mean"}).json()
    valid(answer)
    assert answer["comparison"] is None
    with pytest.raises(ValidationError):
        valid({**answer, "cause": "moved"})


def test_what_promote_takes_is_as_the_document_says(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    takes = Draft202012Validator({"$ref": "#/components/schemas/Promote", "components": document["components"]})
    assert client.get("/docs").status_code == 200

    for body in ({"model": "mean"}, {"back": True}, {"model": "ridge", "back": False, "force": True}, {"model": None},
                 {"model": "mean", "back": True}, {"back": False}, {}, {"modle": "mean"}, {"back": 1}):  # fmt: skip
        assert (promote(client, body).status_code != 400) is takes.is_valid(body), body
