"""A real Prometheus with our configuration and rules, a real service whose stream drifts: all that is asked is told."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import yaml

from tests.ops.deploy.test_dashboards import DASHBOARDS, expressions
from tests.ops.deploy.test_rules import ALERTS, FOLDER, RECORDED
from tests.ops.running import WAIT, Service, service, until
from tests.samples import events
from tests.services.processes import PATIENCE
from tests.services.prometheus import PrometheusServer
from thalweg.ops.cli.produce import messages
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc, thalweg_pb2, thalweg_pb2_grpc
from thalweg.proto.event import Batch, ClassLabels
from thalweg.stream.log.log import Message

pytestmark = pytest.mark.slow

MODEL = "learn_from_requests = true\nwindow_events = 500\nfrozen_after_events = 500\nquality_floor = 0.5\n"
MORE = """
[model.drift]
reference_events = 300

[[model]]
name = "shop"
topic = "shop.events"
labels_topic = "shop.labels"
ready_after_events = 0
learner = "error_memory"
inputs.user = { shape = [], dtype = "int64" }
inputs.item = { shape = [], dtype = "int64" }
[model.params]
dim = 4
hidden = "8-4"
views = "user+item+key"
memory_bytes = 20000
centre_events = 50
train_batch = 8
"""
VARIABLES = {"$model": ".*", "$metric": ".*", "$__rate_interval": "10s", "$__range": "10m", "$__interval": "10s"}


def substituted(expr: str) -> str:
    """As Grafana asks it, with everything chosen."""
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, expr
    return expr


def our_configuration(place: str) -> str:
    """The configuration that ships, at another address and in quicker steps."""
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"}
    config["rule_files"] = [str(FOLDER / pattern) for pattern in config["rule_files"]]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [place]}]
    return yaml.safe_dump(config)


class World:
    """Producers, callers and those who label, a little of each at a time."""

    def __init__(self, running: Service) -> None:
        self.running = running
        self._channel = grpc.insecure_channel(f"127.0.0.1:{running.ports['grpc']}")
        self.inference = inference_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self.learning = thalweg_pb2_grpc.LearningServiceStub(self._channel)
        self.turned = False
        self._sent = self._asked = 0

    def close(self) -> None:
        self._channel.close()

    def produce(self, count: int) -> None:
        batch = events(count, self._sent)
        if self.turned:  # other numbers, other names
            assert isinstance(batch.labels, ClassLabels)
            labels = ClassLabels((batch.labels.codes + 1) % 3, batch.labels.names)
            inputs = {"features": batch.inputs["features"] + np.float32([0, 3, 0, 0])}
            batch = Batch(inputs, labels, batch.weights, batch.times, batch.ids)
        self.running.log.append("m.events", messages(batch, 1))
        self._sent += count

    def step(self) -> None:
        """Events, some of them bad or seen before; requests, good and bad; labels for those of before."""
        self.produce(40)
        again = messages(events(1, 0), 1)
        self.running.log.append("m.events", [Message(b"no event"), Message(b'{"inputs": {"features": [1]}}'), *again])
        for rows in (1, 3):
            self._ask("m", features=np.ones((rows, 4), np.float32))
        with pytest.raises(grpc.RpcError):
            self._ask("m", features=np.ones((1, 5), np.float32))
        for _ in range(5):
            self._asked += 1
            number = np.array([self._asked % 7])
            self._ask("shop", f"r{self._asked}", user=number, item=number)
            self.learning.Label(
                thalweg_pb2.LabelRequest(model="shop", id=f"r{self._asked}", number=1.0), timeout=PATIENCE
            )

    def _ask(self, model: str, event_id: str = "", **inputs: Any) -> pb.ModelInferResponse:
        request = pb.ModelInferRequest(model_name=model)
        for name, array in inputs.items():
            datatype = "FP32" if array.dtype == np.float32 else "INT64"
            request.inputs.add(name=name, datatype=datatype, shape=array.shape)
            request.raw_input_contents.append(array.tobytes())
        if event_id:
            request.parameters["event_id"].string_param = event_id
        return self.inference.ModelInfer(request, timeout=PATIENCE, wait_for_ready=True)


def drifted_and_rolled_back(world: World, prometheus: PrometheusServer) -> None:
    """A life in short: a stream that turns, an alarm, a snapshot, a rollback, a learner that is killed."""
    running = world.running
    world.produce(1500)
    until("the stream to be learned", lambda: running.metric("thalweg_learned_events", model_name="m") == 1500)
    kept = world.learning.Snapshot(thalweg_pb2.SnapshotRequest(model="m"), timeout=PATIENCE).version
    until(
        "Prometheus to have seen no alarm", lambda: prometheus.query('thalweg_drift_alarms_total{model_name="m"} == 0')
    )
    world.turned = True
    world.produce(600)
    until("an alarm", lambda: running.metric("thalweg_drift_feature_distance", model_name="m") is not None)
    world.learning.Rollback(thalweg_pb2.RollbackRequest(model="m", version=kept), timeout=PATIENCE)
    until("the rollback", lambda: running.metric("thalweg_rollbacks_total", model_name="m", cause="operator"))
    seen = "thalweg_rollbacks_total > 0 and on (model_name) thalweg_drift_alarms_total > 0"
    until("Prometheus to have seen both, before the process that counted is no more", lambda: prometheus.query(seen))
    running.kill("learner")
    until("another learner", lambda: running.metric("thalweg_process_restarts_total", role="learner"))


def everything_asked() -> dict[str, str]:
    """Every expression that must have an answer, by where it stands."""
    return {
        **{
            f"{name}: {where}": substituted(expr)
            for name, document in DASHBOARDS.items()
            for where, expr in expressions(document)
        },
        **{f"recorded: {rule['record']}": rule["record"] for rule in RECORDED},
        **{f"rule: {rule['record']}": rule["expr"] for rule in RECORDED},
        **{  # empty when all is well, so that what they look at must be there
            f"{rule['alert']}: {metric}": metric
            for rule in ALERTS
            for metric in re.findall(
                r"\b(?:thalweg|kafka|up)\b[\w:]*|\bthalweg_\w+", re.sub(r"\{[^}]*\}", "", rule["expr"])
            )
        },
        **{
            f"{name}: variable {variable['name']}": f"group by ({inner[2]}) ({inner[1]})"
            for name, document in DASHBOARDS.items()
            for variable in document["templating"]["list"][1:]
            if (inner := re.fullmatch(r"label_values\((.*), (\w+)\)", substituted(variable["query"]["query"])))
        },
    }


def firing(prometheus: PrometheusServer) -> set[str]:
    return {dict(labels)["alertname"] for labels in prometheus.query('ALERTS{alertstate="firing"}')}


@pytest.mark.slow(10)
@pytest.mark.prometheus
def test_every_expression_of_dashboards_and_rules_has_something_to_show(
    tmp_path: Path, start_prometheus: Callable[[str], PrometheusServer]
) -> None:
    with service(tmp_path, model=MODEL, more=MORE) as running:
        prometheus = start_prometheus(our_configuration(f"127.0.0.1:{running.ports['http']}"))
        running.start()
        until("readiness", running.ready)
        world = World(running)
        drifted_and_rolled_back(world, prometheus)

        missing, deadline, told = everything_asked(), time.monotonic() + WAIT, set()  # on a quiet machine a few seconds
        expected = {"ThalwegDrift", "ThalwegDeadLetters", "ThalwegRollback"}
        while (missing or not expected <= told) and time.monotonic() < deadline:
            world.step()
            found = {place: prometheus.query(expr) for place, expr in missing.items()}
            missing = {
                place: missing[place]
                for place, values in found.items()
                if not any(np.isfinite(value) for value in values.values())
            }
            told |= firing(prometheus)
        with urllib.request.urlopen(f"{prometheus.url}/api/v1/rules", timeout=WAIT) as reply:
            groups = json.load(reply)["data"]["groups"]
        world.close()

    assert missing == {}
    assert expected <= told
    assert "ThalwegTargetDown" not in told
    assert [rule["name"] for group in groups for rule in group["rules"] if rule["health"] != "ok"] == []
    assert sum(len(group["rules"]) for group in groups) == len(ALERTS) + len(RECORDED)
