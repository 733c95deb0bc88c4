"""`Watch`: metrics and drift as they happen, told by a learner in its file, heard over a real server."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from tests.ops.serve.serving import served
from tests.ops.telemetry.test_metrics import RAISED, report_of, watched
from tests.ops.telemetry.test_status import graded
from tests.services.processes import PATIENCE
from thalweg.ops.serve.grpc_api.status_stream import StatusStream, alarm_message
from thalweg.ops.telemetry.status import STATUS_FILE, LearnerStatus, Statuses
from thalweg.proto import thalweg_pb2 as pb
from thalweg.proto import thalweg_pb2_grpc


def test_whoever_watches_hears_of_figures_and_of_each_change_of_an_alarm_once(tmp_path: Path) -> None:
    live = tmp_path / "live"
    told, monitor = LearnerStatus(live, clock=lambda: 50.0), watched()
    model = told.model("m")
    graded(model, monitor)

    def tells(*alarms: object) -> None:
        monitor.drift._alarms = list(alarms)  # type: ignore[arg-type]
        model.reported(report_of(monitor))
        beside = live / "beside"
        beside.write_bytes(told.render())
        beside.rename(live / STATUS_FILE)

    with (
        served(tmp_path, statuses=Statuses(live)) as parts,
        grpc.insecure_channel(f"127.0.0.1:{parts.server.grpc_port}") as wire,
    ):
        call = thalweg_pb2_grpc.LearningServiceStub(wire).Watch(
            pb.WatchRequest(model="m", interval_seconds=0.05), timeout=PATIENCE
        )
        assert next(call).told == 0  # nothing was told yet

        tells(RAISED)
        first = next(status for status in call if status.told)
        tells(replace(RAISED, end=8, end_time=9.0))
        heard = [next(status for status in call if status.alarms)]
        heard += [next(call) for _ in range(5)]
        call.cancel()

    assert first.metrics["accuracy"] == first.frozen["accuracy"] == 0.5
    assert first.recent["accuracy"] == first.frozen_recent["accuracy"] == 0.5
    assert (first.lag_records, first.drifting) == (7, True)
    assert [alarm.number for alarm in first.alarms] == [1]
    assert [(alarm.end, alarm.end_time) for alarm in heard[0].alarms] == [(8, 9.0)]
    assert not heard[0].drifting
    assert not any(status.alarms for status in heard[1:])


def test_an_alarm_of_another_release_is_told_as_far_as_it_is_known() -> None:
    record = {**RAISED.record(), "of_the_future": 3}

    message = alarm_message(record)

    assert (message.number, message.signals[0].event, message.HasField("end")) == (1, 5, False)


@pytest.mark.parametrize("seconds", [math.inf, -math.inf, math.nan, -1.0, 1e30])
def test_an_interval_that_cannot_be_waited_is_refused_by_name(tmp_path: Path, seconds: float) -> None:
    with served(tmp_path) as parts, grpc.insecure_channel(f"127.0.0.1:{parts.server.grpc_port}") as wire:
        request = pb.WatchRequest(model="m", interval_seconds=seconds)
        with pytest.raises(grpc.RpcError) as caught:
            next(thalweg_pb2_grpc.LearningServiceStub(wire).Watch(request, timeout=PATIENCE))

    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "interval_seconds: expected" in caught.value.details()


def test_a_status_says_what_quality_is_measured_against(tmp_path: Path) -> None:
    recovery = {"alarm": 2, "since": 4110, "metric": "accuracy", "before": 0.92, "now": 0.62, "recovered": False}
    told = {
        "recovery": {**recovery, "of_the_future": 1},
        "replaced": {"at": 5000, "how": "rolled back to version 17", "before": None},
        "quality_floor": 0.8,
        "floor_breached": True,
        "controls": {"majority": {"accuracy": 0.5}},
        "controls_recent": {"majority": {"accuracy": 0.6}},
    }
    with served(tmp_path) as parts:
        model = parts.server.models.find("m")
        status, quiet = (StatusStream(lambda: 1.0).status(model, one) for one in (told, {"recovery": None}))

    assert (status.recovery.since, status.recovery.before, status.recovery.now) == (4110, 0.92, 0.62)
    assert status.recovery.HasField("recovered")
    assert not status.recovery.recovered
    assert (status.replaced.at, status.replaced.how) == (5000, "rolled back to version 17")
    assert not status.replaced.HasField("before")
    assert (status.quality_floor, status.floor_breached) == (0.8, True)
    assert status.controls["majority"].metrics["accuracy"] == 0.5
    assert status.controls["majority"].recent["accuracy"] == 0.6
    assert not any(quiet.HasField(name) for name in ("recovery", "replaced", "quality_floor", "floor_breached"))
