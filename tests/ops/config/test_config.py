"""The configuration: every mistake at once, named with its place and the nearest valid key."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.models.contract.registry import BUILT_IN, PREFIXES
from thalweg.ops.config.config import load, parse
from thalweg.ops.config.error import ConfigurationError
from thalweg.stream.log.kafka_shared.choice import effective_client

GOOD = """
[service]
grpc = "127.0.0.1:0"
http = "127.0.0.1:0"

[[model]]
name = "digits"
learner = "ridge"
topic = "digits.events"
inputs.features = { shape = [64] }
"""


PACKAGE = {"confluent": "confluent-kafka"}.get(effective_client(), "kafka-python")


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "thalweg.toml"
    path.write_text(text)
    return path


def mistakes(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> list[str]:
    path = written(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        load(path, environment or {})
    return [line.removeprefix(f"{path}: ") for line in caught.value.mistakes]


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    config = load(written(tmp_path, GOOD), {})

    assert config.log.url == "sqlite:state/log.db"
    assert config.model[0].batch_events == "auto"
    assert config.model[0].specs()["features"].shape == (64,)
    assert config.model[0].specs()["features"].dtype == "float32"


@pytest.mark.parametrize("address", ["[::]:8081", "[::1]:8081", "localhost:8081"])
def test_an_address_may_be_of_ipv6_or_a_name(tmp_path: Path, address: str) -> None:
    assert load(written(tmp_path, GOOD), {"THALWEG_SERVICE__GRPC": address}).service.grpc == address


def test_all_mistakes_are_reported_at_once_with_the_nearest_key(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        GOOD.replace("learner", "lerner")
        + "batch_evnts = 3\nbatch_seconds = 'soon'\n[model.params]\ngamma = 0.1\n[servise]\n[log]\nurl = 'ftp://x'\n",
    )

    assert found == [
        "log.url: expected sqlite:PATH, kafka://HOST:PORT or memory:, got 'ftp://x'",
        "model.digits.batch_seconds: expected float, got 'soon'",
        "model.digits.learner: missing; it has no default",
        "model.digits.lerner: no such key; did you mean learner?",
        "model.digits.batch_evnts: no such key; did you mean batch_events?",
        "servise: no such key; did you mean service?",
    ]


def test_no_mistake_hides_another(tmp_path: Path) -> None:
    """Of types, of rules between keys, of a learner's parameters, of several models and of what is outside the file."""
    found = mistakes(
        tmp_path,
        """
[service]
grpc = "127.0.0.1:1"
http = "127.0.0.1:1"
workers = 0
token_file = "nowhere"
[log]
url = "kafka://broker:9092"
[log.kafka]
"securty.protocol" = "SSL"
[store]
url = 7
[[model]]
name = "a"
learner = "ridge"
topic = "t"
labels_topic = "t"
dedup_events = 0
seed = "x"
inputs.features = { shape = [4] }
params = { gama = 1, solver = "recursive", clip = "far" }
drift.action = "restart"
[[model]]
name = "a"
learner = "cotta"
topic = "t"
batch_events = 0
inputs.image = { shape = [1, 8, 8], dtype = "float" }
params = { variant = "best", adapt_batch = 7, follow_batch = 2 }
[[model]]
name = "b"
learner = "rigde"
topic = "bad topic"
inputs = {}
""",
        {"THALWEG_MODEL__B__PARAMS__X": "1", "THALWEG_MODEL__C__SEED": "1", "THALWEG_STORE__URL": "x"},
    )

    assert sorted(line.partition(", got")[0] for line in found) == sorted(
        [
            "THALWEG_MODEL__C__SEED: no model is called 'C'",
            "service.workers: expected at least 1",
            "service.http: expected another address than service.grpc",
            "service.token_file: nowhere cannot be read: No such file or directory",
            f"log.kafka.securty.protocol: no such client property of {PACKAGE}; did you mean security.protocol?",
            "THALWEG_STORE__URL: store.url: expected sqlite:PATH, redis://HOST:PORT/DB or memory:",
            "model.a.labels_topic: expected another topic than the events'",
            "model.a.dedup_events: expected 1 or more with a labels_topic: a label may be joined twice",
            "model.a.seed: expected int",
            "model.a.drift.action: expected one of observe, snapshot, raise_forgetting, reset, rollback",
            "model.a.params.gama: no such key; did you mean gamma?",
            "model.a.params.clip: expected float",
            'model.a.params.solver: recursive needs forgetting = 1 and balance = "none"',
            "model.a.name: another model has this name",
            "model.a.name: another model has this name",
            "model.a.batch_events: expected at least 1 or 'auto'",
            "model.a.inputs.image.dtype: expected one of float32, float64, int64, int32, uint8, bool, bytes",
            "model.a.params.variant: expected one of ours, paper, code-cifar, code-imagenet, tent, bn",
            "model.a.params.model: expected 'module:factory' or 'timm:NAME'",
            "model.a.params.adapt_batch: expected a multiple of follow_batch, 2",
            "model.b.topic: expected letters, digits, '.', '_' or '-'",
            "model.b.inputs: missing; expected either inputs (tensors) or columns (named values)",
            f"model.b.learner: no learner is called 'rigde'; did you mean ridge? Known: {', '.join(sorted(BUILT_IN))}"
            + "".join(f", {prefix}:IMPORT.PATH" for prefix in PREFIXES),
        ]
    )


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ("[model.params]\ngama = 1.0\n", "model.digits.params.gama: no such key; did you mean gamma?"),
        ("[model.params]\ngamma = -1.0\n", "model.digits.params.gamma: expected above 0 or 'auto', got -1.0"),
        (
            "labels_topic = 'digits.events'\n",
            "model.digits.labels_topic: expected another topic than the events', got 'digits.events'",
        ),
        (
            "labels_topic = 'x'\ndedup_events = 0\n",
            "model.digits.dedup_events: expected 1 or more with a labels_topic: a label may be joined twice, got 0",
        ),
        (
            "encoder = 'onnx:x'\n",
            "model.digits.encoder: x cannot be read: No such file or directory",
        ),
        (
            "encoder = 'random_features:many'\n",
            "model.digits.encoder: expected random_features:SIZE, a whole number above 0, got 'random_features:many'",
        ),
        (
            "encoder = 'nowhere:made'\n",
            "model.digits.encoder: 'nowhere:made' cannot be imported: No module named 'nowhere'{looked}",
        ),
        (
            "encoder = 'random_feature:64'\n",
            "model.digits.encoder: 'random_feature:64' cannot be imported: No module named 'random_feature'{looked}; "
            "did you mean random_features?",
        ),
        (
            "encoder = 'identiy'\n",
            "model.digits.encoder: expected 'module:name', 'timm:NAME', 'hf:FOLDER' or 'onnx:FILE', got 'identiy'; "
            "did you mean identity?",
        ),
        (
            "encoder = 'identity'\nweights = 'w'\n",
            "model.digits.weights: expected an encoder that takes weights, got encoder = 'identity'",
        ),
        (
            "weights = 'w'\n",
            "model.digits.weights: expected an encoder that takes weights, got encoder = 'identity'",
        ),
        (
            "encoder = 'random_features:8'\nweights = 'w'\n",
            "model.digits.weights: expected an encoder that takes weights, got encoder = 'random_features:8'",
        ),
        (
            "encoder = 'onnx:x'\nweights = 'w'\n",
            "model.digits.weights: expected an encoder that takes weights, got encoder = 'onnx:x'",
        ),
        (
            "encoder = 'random_convolution'\n",
            "model.digits.encoder: random_convolution takes [C, H, W] and a multiple of 16 features, got shape [64]",
        ),
        (
            "device = 'tpu'\n",
            "model.digits.device: expected auto, cpu, cuda or cuda:N, got 'tpu'",
        ),
        ("batch_seconds = nan\n", "model.digits.batch_seconds: expected a finite number, got nan"),
        (
            "classes = ['a', 'a']\n",
            "model.digits.classes: expected at least two different names, got ['a', 'a']",
        ),
        ("classes = ['', 'a']\n", "model.digits.classes: expected names of classes, got an empty text"),
        (
            "classes = ['a', 'b', 'c']\n[model.params]\ntask = 'regression'\n",
            "model.digits.classes: expected two names, for the labels 0 and 1, where labels are numbers, got 3",
        ),
        (
            "classes = ['a', 'b']\n[model.params]\ntask = 'regression'\ntargets = 2\n",
            "model.digits.classes: no such key here: the labels of this model are numbers, not classes",
        ),
        ("seed = -1\n", "model.digits.seed: expected at least 0, got -1"),
        ("[log]\nretention_bytes = 0\n", "log.retention_bytes: expected at least 1, got 0"),
        (
            "[store]\nurl = 'rdis://u:hush@h'\n",
            "store.url: expected sqlite:PATH, redis://HOST:PORT/DB or memory:, got 'rdis://***@h'",
        ),
        ("start = 'now'\n", "model.digits.start: expected one of earliest, latest, got 'now'"),
        ("batch_events = 0\n", "model.digits.batch_events: expected at least 1 or 'auto', got 0"),
        ("continual_events = -1\n", "model.digits.continual_events: expected at least 0, got -1"),
        ("continual_share = 0.0\n", "model.digits.continual_share: expected above 0 and at most 1, got 0.0"),
        ("batch_events = true\n", "model.digits.batch_events: expected int or 'auto', got True"),
        (
            "[model.drift]\ndetectors = ['adwin', 'dowsing']\n",
            "model.digits.drift.detectors[1]: expected one of adwin, page_hinkley, kswin, ddm, got 'dowsing'",
        ),
        ("[model.drift]\ninputs = ['t']\n", "model.digits.drift.inputs[0]: expected one of ks, psi, mmd, got 't'"),
        (
            "[model.drift]\naction = 'restart'\n",
            "model.digits.drift.action: expected one of observe, snapshot, raise_forgetting, reset, rollback, "
            "got 'restart'",
        ),
        (
            "[model.drift]\nforgetting_factor = 1.0\n",
            "model.digits.drift.forgetting_factor: expected above 1 and at most 1000000, got 1.0",
        ),
        (
            "quality_floor = 1.5\n",
            "model.digits.quality_floor: expected 0 to 1, a value of accuracy, got 1.5",
        ),
        (
            "quality_floor = -0.1\n[model.params]\ntask = 'regression'\n",
            "model.digits.quality_floor: expected at least 0, a value of rmse, got -0.1",
        ),
        ("quality_floor = 'high'\n", "model.digits.quality_floor: expected float, got 'high'"),
        ("quality_floor = nan\n", "model.digits.quality_floor: expected a finite number, got nan"),
        ("[model.drift]\nreference_events = 5\n", "model.digits.drift.reference_events: expected at least 200, got 5"),
        ("[log]\nurl = 'ftp://x'\n", "log.url: expected sqlite:PATH, kafka://HOST:PORT or memory:, got 'ftp://x'"),
        ("[log]\nurl = 'kafka://a:1;b:2'\n", "log.url: expected HOST:PORT, got 'a:1;b:2'"),
        (
            "[store]\nurl = 'redis://a:1,b:2/0'\n",
            "store.url: store redis://a:1,b:2/0: expected HOST:PORT, got 'a:1,b:2'",
        ),
        ("[store]\nurl = 'x'\n", "store.url: expected sqlite:PATH, redis://HOST:PORT/DB or memory:, got 'x'"),
    ],
)
def test_a_mistake_is_named_with_what_was_expected(tmp_path: Path, more: str, found: str) -> None:
    looked = f" (installed packages, PYTHONPATH, and beside the configuration: {tmp_path})"

    assert mistakes(tmp_path, GOOD + more) == [found.replace("{looked}", looked)]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("digits.events", "bad topic!", "model.digits.topic: expected letters"),
        (
            'topic = "digits.events"',
            'topic = "digits.joined"\nlabels_topic = "x"',
            "model.digits.topic: expected another topic than 'digits.joined', where the events joined",
        ),
        (
            "digits.events",
            "digits.alarms",
            "model.digits.topic: expected another topic than 'digits.alarms', where the",
        ),
        (
            'topic = "digits.events"',
            'topic = "digits.events"\nlabels_topic = "digits.joined"',
            "model.digits.labels_topic: expected another topic than 'digits.joined', where the events joined",
        ),
        (
            'topic = "digits.events"',
            'topic = "digits.events"\nlabels_topic = "digits.events.dlq"',
            "model.digits.labels_topic: expected another topic than 'digits.events.dlq', where the dead letters of",
        ),
        (
            'topic = "digits.events"',
            'topic = "labels.dlq"\nlabels_topic = "labels"',
            "model.digits.topic: expected another topic than 'labels.dlq', where the dead letters of 'labels' go",
        ),
        ('"digits"', '"live"', "model.live.name: expected letters"),
        ('"digits"', '"../up"', "model.../up.name: expected letters"),
        ('"ridge"', '"rigde"', "model.digits.learner: no learner is called 'rigde'; did you mean ridge?"),
        ("[64]", "[0]", "model.digits.inputs.features.shape[0]: expected at least 1, got 0"),
        ("[64] }", "[64], dtype = 'float' }", "model.digits.inputs.features.dtype: expected one of float32"),
        ("{ shape = [64] }", "{ }", "model.digits.inputs.features.shape: missing"),
        ('grpc = "127.0.0.1:0"', 'grpc = "8081"', "service.grpc: expected HOST:PORT, got '8081'"),
        (
            "127.0.0.1",
            "[::",
            "service.grpc: expected HOST:PORT, an IPv6 host in brackets as in [::1]:8080, got '[:::0'",
        ),
        ("127.0.0.1", "::1", "service.grpc: expected HOST:PORT, an IPv6 host in brackets"),
        (':0"', ':9"', "service.http: expected another address than"),
        ('grpc = "127.0.0.1:0"', "queue = -1", "service.queue: expected at least 0, got -1"),
        ('grpc = "127.0.0.1:0"', "tls_key = 'x'", "service.tls_certificate: missing: tls_key is given"),
    ],
)
def test_a_value_that_does_not_do_is_named(tmp_path: Path, old: str, new: str, text: str) -> None:
    found = mistakes(tmp_path, GOOD.replace(old, new))

    assert any(line.startswith(text) for line in found), found


def test_every_kafka_property_that_cannot_work_is_named(tmp_path: Path) -> None:
    log = """[log]
url = "kafka://broker:9092"
[log.kafka]
"securty.protocol" = "SSL"
"group.id" = "mine"
"ssl.cafile" = "none.pem"
"sasl.mechanism" = "PLAIN"
"""

    found = mistakes(tmp_path, GOOD + log)

    assert [line.partition(": ")[0] for line in found] == [
        "log.kafka.securty.protocol",
        "log.kafka.group.id",
        "log.kafka.ssl.cafile",
    ]
    assert "did you mean security.protocol?" in found[0]


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    twice = GOOD + GOOD.partition("[[model]]")[1] + GOOD.partition("[[model]]")[2]

    assert set(mistakes(tmp_path, twice)) == {"model.digits.name: another model has this name"}


def test_a_file_that_is_not_there_or_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.toml: cannot be read: No such file"):
        load(tmp_path / "none.toml", {})
    assert "Invalid value" in mistakes(tmp_path, "model = [")[0]
    assert mistakes(tmp_path, "") == ["model: expected at least one [[model]]"]


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    config = load(
        written(tmp_path, GOOD),
        {
            "THALWEG_LOG__URL": "kafka://broker:9092",
            "THALWEG_MODEL__digits__BATCH_EVENTS": "7",
            "THALWEG_MODEL__DIGITS__PARAMS__GAMMA": "0.5",
            "THALWEG_SHARED": "/elsewhere",
            "THALWEG_REQUIRE_SERVICES": "1",
        },
    )

    assert config.log.url == "kafka://broker:9092"
    assert config.model[0].batch_events == 7
    assert config.model[0].params == {"gamma": 0.5}


@pytest.mark.parametrize(
    ("variable", "text", "found"),
    [
        ("THALWEG_MODEL__x__SEED", "1", "THALWEG_MODEL__x__SEED: no model is called 'x'"),
        ("THALWEG_MODEL__digits", "1", "THALWEG_MODEL__digits: expected THALWEG_MODEL__NAME__KEY"),
        ("THALWEG_LOG__URI", "x", "THALWEG_LOG__URI: log.uri: no such key; did you mean url?"),
        ("THALWEG_LGO__URL", "x", "THALWEG_LGO__URL: lgo: no such key; did you mean log?"),
        ("THALWEG_LGO__KAFKA__X", "x", "THALWEG_LGO__KAFKA__X: lgo: no such key; did you mean log?"),
        ("THALWEG_SERVICE__GRPC__X", "1", "THALWEG_SERVICE__GRPC__X: grpc is not a table"),
        (
            "THALWEG_MODEL__digits__SEED",
            "soon",
            "THALWEG_MODEL__digits__SEED: model.digits.seed: expected int, got 'soon'",
        ),
        (
            "THALWEG_MODEL__digits__PARAMS__GAMMA",
            "-1",
            "THALWEG_MODEL__digits__PARAMS__GAMMA: model.digits.params.gamma: expected above 0 or 'auto', got -1",
        ),
        (
            "THALWEG_MODEL__digits__INPUTS__FEATURES__SHAPE",
            "[8, 0]",
            "THALWEG_MODEL__digits__INPUTS__FEATURES__SHAPE: model.digits.inputs.features.shape[1]: "
            "expected at least 1, got 0",
        ),
        (
            "THALWEG_SERVICE__GRPC",
            "8081",
            "THALWEG_SERVICE__GRPC: service.grpc: expected HOST:PORT, got '8081'",
        ),
    ],
)
def test_a_variable_that_does_not_fit_is_named(tmp_path: Path, variable: str, text: str, found: str) -> None:
    assert mistakes(tmp_path, GOOD, {variable: text}) == [found]


def test_a_variable_is_a_text_where_a_text_is_wanted_and_a_value_elsewhere(tmp_path: Path) -> None:
    config = load(
        written(tmp_path, GOOD),
        {
            "THALWEG_MODEL__digits__TOPIC": "2024",
            "THALWEG_MODEL__digits__START": "latest",
            "THALWEG_LOG__RETENTION_SECONDS": "3600",
            "THALWEG_LOG__KAFKA__SASL_PASSWORD": "0123",
            "THALWEG_LOG__KAFKA__SESSION_TIMEOUT_MS": "9000",
            "THALWEG_MODEL__digits__INPUTS__FEATURES__SHAPE": "[8, 8]",
        },
    )

    model = config.model[0]
    assert (model.topic, model.start, model.inputs["features"].shape) == ("2024", "latest", [8, 8])
    assert config.log.retention_seconds == 3600.0
    assert config.log.kafka == {"sasl_password": "0123", "session_timeout_ms": 9000}


def test_a_variable_is_a_text_where_the_learner_wants_one(tmp_path: Path) -> None:
    clicks = GOOD.replace("ridge", "error_memory").replace(
        "features = { shape = [64] }",
        "user = { shape = [], dtype = 'int64' }\ninputs.item = { shape = [], dtype = 'int64' }",
    )

    config = load(written(tmp_path, clicks), {"THALWEG_MODEL__digits__PARAMS__HIDDEN": "64"})

    assert config.model[0].params == {"hidden": "64"}


def test_a_model_is_named_by_place_or_with_underscores_for_what_a_variable_cannot_hold() -> None:
    models = [table(name="digits-linear")["model"][0], table(name="Noaa.v2")["model"][0]]

    config = parse({"model": models}, "f", {"THALWEG_MODEL__DIGITS_LINEAR__SEED": "7", "THALWEG_MODEL__1__SEED": "8"})

    assert [model.seed for model in config.model] == [7, 8]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["service", "log", "url", "kafka", "model", "name", "learner", "inputs", "x", "shape"]),
                inner,
                max_size=4,
            )
        ),
    ).filter(lambda value: isinstance(value, dict)),
    st.sampled_from(
        ["THALWEG_LOG__URL", "THALWEG_MODEL__0__NAME", "THALWEG_MODEL__X__INPUTS__X__SHAPE", "THALWEG_A__B"]
    ),
    st.text(st.characters(exclude_characters="\0"), max_size=8),
)
def test_whatever_the_file_and_the_environment_hold_there_is_a_configuration_or_a_list_of_mistakes(
    found: dict[str, Any], variable: str, text: str
) -> None:
    with contextlib.suppress(ConfigurationError):
        parse(found, "f", {variable: text})


def table(**model: Any) -> dict[str, Any]:
    base = {"name": "d", "learner": "ridge", "topic": "t", "inputs": {"x": {"shape": [2]}}}
    return {"model": [{**base, **model}]}


def test_the_identity_of_a_state_follows_from_what_makes_it_and_nothing_else() -> None:
    first = parse(table(), "f", {}).model[0].identity_sha256()

    assert parse(table(name="e", topic="u", batch_events=9), "f", {}).model[0].identity_sha256() == first
    for other in ({"seed": 1}, {"params": {"gamma": 0.5}}, {"inputs": {"x": {"shape": [3]}}}):
        assert parse(table(**other), "f", {}).model[0].identity_sha256() != first
