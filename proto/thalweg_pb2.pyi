from thalweg.proto import inference_pb2 as _inference_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Event(_message.Message):
    __slots__ = ("id", "time", "key", "inputs", "raw_input_contents", "label_text", "label_number", "label_numbers", "weight", "model", "served")
    ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    RAW_INPUT_CONTENTS_FIELD_NUMBER: _ClassVar[int]
    LABEL_TEXT_FIELD_NUMBER: _ClassVar[int]
    LABEL_NUMBER_FIELD_NUMBER: _ClassVar[int]
    LABEL_NUMBERS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SERVED_FIELD_NUMBER: _ClassVar[int]
    id: str
    time: float
    key: str
    inputs: _containers.RepeatedCompositeFieldContainer[_inference_pb2.ModelInferRequest.InferInputTensor]
    raw_input_contents: _containers.RepeatedScalarFieldContainer[bytes]
    label_text: str
    label_number: float
    label_numbers: Numbers
    weight: float
    model: str
    served: Answer
    def __init__(self, id: _Optional[str] = ..., time: _Optional[float] = ..., key: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[_inference_pb2.ModelInferRequest.InferInputTensor, _Mapping]]] = ..., raw_input_contents: _Optional[_Iterable[bytes]] = ..., label_text: _Optional[str] = ..., label_number: _Optional[float] = ..., label_numbers: _Optional[_Union[Numbers, _Mapping]] = ..., weight: _Optional[float] = ..., model: _Optional[str] = ..., served: _Optional[_Union[Answer, _Mapping]] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("state_version", "label", "classes", "scores", "rest", "known", "value", "score", "model")
    STATE_VERSION_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    REST_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    state_version: int
    label: str
    classes: _containers.RepeatedScalarFieldContainer[str]
    scores: _containers.RepeatedScalarFieldContainer[float]
    rest: float
    known: int
    value: _containers.RepeatedScalarFieldContainer[float]
    score: float
    model: str
    def __init__(self, state_version: _Optional[int] = ..., label: _Optional[str] = ..., classes: _Optional[_Iterable[str]] = ..., scores: _Optional[_Iterable[float]] = ..., rest: _Optional[float] = ..., known: _Optional[int] = ..., value: _Optional[_Iterable[float]] = ..., score: _Optional[float] = ..., model: _Optional[str] = ...) -> None: ...

class Numbers(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class EventBatch(_message.Message):
    __slots__ = ("events", "inputs", "raw_input_contents", "ids", "keys", "times", "weights", "class_names", "class_codes", "label_numbers", "served")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    RAW_INPUT_CONTENTS_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAMES_FIELD_NUMBER: _ClassVar[int]
    CLASS_CODES_FIELD_NUMBER: _ClassVar[int]
    LABEL_NUMBERS_FIELD_NUMBER: _ClassVar[int]
    SERVED_FIELD_NUMBER: _ClassVar[int]
    events: int
    inputs: _containers.RepeatedCompositeFieldContainer[_inference_pb2.ModelInferRequest.InferInputTensor]
    raw_input_contents: _containers.RepeatedScalarFieldContainer[bytes]
    ids: _containers.RepeatedScalarFieldContainer[str]
    keys: _containers.RepeatedScalarFieldContainer[str]
    times: bytes
    weights: bytes
    class_names: _containers.RepeatedScalarFieldContainer[str]
    class_codes: bytes
    label_numbers: bytes
    served: _containers.RepeatedCompositeFieldContainer[Answer]
    def __init__(self, events: _Optional[int] = ..., inputs: _Optional[_Iterable[_Union[_inference_pb2.ModelInferRequest.InferInputTensor, _Mapping]]] = ..., raw_input_contents: _Optional[_Iterable[bytes]] = ..., ids: _Optional[_Iterable[str]] = ..., keys: _Optional[_Iterable[str]] = ..., times: _Optional[bytes] = ..., weights: _Optional[bytes] = ..., class_names: _Optional[_Iterable[str]] = ..., class_codes: _Optional[bytes] = ..., label_numbers: _Optional[bytes] = ..., served: _Optional[_Iterable[_Union[Answer, _Mapping]]] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("topic", "partition", "offset", "id", "error")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    offset: int
    id: str
    error: str
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., offset: _Optional[int] = ..., id: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...

class LabelRequest(_message.Message):
    __slots__ = ("model", "id", "text", "number", "numbers")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    model: str
    id: str
    text: str
    number: float
    numbers: Numbers
    def __init__(self, model: _Optional[str] = ..., id: _Optional[str] = ..., text: _Optional[str] = ..., number: _Optional[float] = ..., numbers: _Optional[_Union[Numbers, _Mapping]] = ...) -> None: ...

class PredictRequest(_message.Message):
    __slots__ = ("model", "rows", "options")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    model: str
    rows: bytes
    options: _containers.ScalarMap[str, str]
    def __init__(self, model: _Optional[str] = ..., rows: _Optional[bytes] = ..., options: _Optional[_Mapping[str, str]] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("rows",)
    ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: bytes
    def __init__(self, rows: _Optional[bytes] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "learner", "topic", "ready", "reason", "state_version", "learned_events", "staleness_seconds", "published", "classes", "properties")
    class PropertiesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    LEARNER_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STATE_VERSION_FIELD_NUMBER: _ClassVar[int]
    LEARNED_EVENTS_FIELD_NUMBER: _ClassVar[int]
    STALENESS_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    name: str
    learner: str
    topic: str
    ready: bool
    reason: str
    state_version: int
    learned_events: int
    staleness_seconds: float
    published: float
    classes: _containers.RepeatedScalarFieldContainer[str]
    properties: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., learner: _Optional[str] = ..., topic: _Optional[str] = ..., ready: bool = ..., reason: _Optional[str] = ..., state_version: _Optional[int] = ..., learned_events: _Optional[int] = ..., staleness_seconds: _Optional[float] = ..., published: _Optional[float] = ..., classes: _Optional[_Iterable[str]] = ..., properties: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ListSnapshotsRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class ListSnapshotsResponse(_message.Message):
    __slots__ = ("snapshots",)
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    snapshots: _containers.RepeatedCompositeFieldContainer[SnapshotInfo]
    def __init__(self, snapshots: _Optional[_Iterable[_Union[SnapshotInfo, _Mapping]]] = ...) -> None: ...

class SnapshotInfo(_message.Message):
    __slots__ = ("version", "parent", "learner", "config_sha256", "offsets", "events_learned", "created", "metrics", "state_sha256", "size_bytes", "recent")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class RecentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    LEARNER_FIELD_NUMBER: _ClassVar[int]
    CONFIG_SHA256_FIELD_NUMBER: _ClassVar[int]
    OFFSETS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_LEARNED_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    STATE_SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    RECENT_FIELD_NUMBER: _ClassVar[int]
    version: int
    parent: int
    learner: str
    config_sha256: str
    offsets: _containers.RepeatedCompositeFieldContainer[PartitionOffset]
    events_learned: int
    created: float
    metrics: _containers.ScalarMap[str, float]
    state_sha256: str
    size_bytes: int
    recent: _containers.ScalarMap[str, float]
    def __init__(self, version: _Optional[int] = ..., parent: _Optional[int] = ..., learner: _Optional[str] = ..., config_sha256: _Optional[str] = ..., offsets: _Optional[_Iterable[_Union[PartitionOffset, _Mapping]]] = ..., events_learned: _Optional[int] = ..., created: _Optional[float] = ..., metrics: _Optional[_Mapping[str, float]] = ..., state_sha256: _Optional[str] = ..., size_bytes: _Optional[int] = ..., recent: _Optional[_Mapping[str, float]] = ...) -> None: ...

class PartitionOffset(_message.Message):
    __slots__ = ("topic", "partition", "offset")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    offset: int
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., offset: _Optional[int] = ...) -> None: ...

class SnapshotRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class SnapshotResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class RollbackResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...

class ForgetRequest(_message.Message):
    __slots__ = ("model", "key", "ids")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    model: str
    key: str
    ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., key: _Optional[str] = ..., ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ForgetResponse(_message.Message):
    __slots__ = ("events", "version")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    events: int
    version: int
    def __init__(self, events: _Optional[int] = ..., version: _Optional[int] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("model", "interval_seconds")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    model: str
    interval_seconds: float
    def __init__(self, model: _Optional[str] = ..., interval_seconds: _Optional[float] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("model", "time", "state_version", "learned_events", "staleness_seconds", "metrics", "recent", "frozen", "frozen_recent", "worst_case_accuracy", "events_per_second", "lag_records", "drift_scores", "drifting", "alarms", "told", "recovery", "quality_floor", "floor_breached", "controls", "replaced")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class RecentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class FrozenEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class FrozenRecentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class ControlsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Figures
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Figures, _Mapping]] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    STATE_VERSION_FIELD_NUMBER: _ClassVar[int]
    LEARNED_EVENTS_FIELD_NUMBER: _ClassVar[int]
    STALENESS_SECONDS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    RECENT_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    FROZEN_RECENT_FIELD_NUMBER: _ClassVar[int]
    WORST_CASE_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    EVENTS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    LAG_RECORDS_FIELD_NUMBER: _ClassVar[int]
    DRIFT_SCORES_FIELD_NUMBER: _ClassVar[int]
    DRIFTING_FIELD_NUMBER: _ClassVar[int]
    ALARMS_FIELD_NUMBER: _ClassVar[int]
    TOLD_FIELD_NUMBER: _ClassVar[int]
    RECOVERY_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FLOOR_FIELD_NUMBER: _ClassVar[int]
    FLOOR_BREACHED_FIELD_NUMBER: _ClassVar[int]
    CONTROLS_FIELD_NUMBER: _ClassVar[int]
    REPLACED_FIELD_NUMBER: _ClassVar[int]
    model: str
    time: float
    state_version: int
    learned_events: int
    staleness_seconds: float
    metrics: _containers.ScalarMap[str, float]
    recent: _containers.ScalarMap[str, float]
    frozen: _containers.ScalarMap[str, float]
    frozen_recent: _containers.ScalarMap[str, float]
    worst_case_accuracy: float
    events_per_second: float
    lag_records: int
    drift_scores: _containers.RepeatedCompositeFieldContainer[DriftScore]
    drifting: bool
    alarms: _containers.RepeatedCompositeFieldContainer[Alarm]
    told: float
    recovery: Recovery
    quality_floor: float
    floor_breached: bool
    controls: _containers.MessageMap[str, Figures]
    replaced: Replaced
    def __init__(self, model: _Optional[str] = ..., time: _Optional[float] = ..., state_version: _Optional[int] = ..., learned_events: _Optional[int] = ..., staleness_seconds: _Optional[float] = ..., metrics: _Optional[_Mapping[str, float]] = ..., recent: _Optional[_Mapping[str, float]] = ..., frozen: _Optional[_Mapping[str, float]] = ..., frozen_recent: _Optional[_Mapping[str, float]] = ..., worst_case_accuracy: _Optional[float] = ..., events_per_second: _Optional[float] = ..., lag_records: _Optional[int] = ..., drift_scores: _Optional[_Iterable[_Union[DriftScore, _Mapping]]] = ..., drifting: bool = ..., alarms: _Optional[_Iterable[_Union[Alarm, _Mapping]]] = ..., told: _Optional[float] = ..., recovery: _Optional[_Union[Recovery, _Mapping]] = ..., quality_floor: _Optional[float] = ..., floor_breached: bool = ..., controls: _Optional[_Mapping[str, Figures]] = ..., replaced: _Optional[_Union[Replaced, _Mapping]] = ...) -> None: ...

class Recovery(_message.Message):
    __slots__ = ("alarm", "since", "metric", "before", "now", "recovered")
    ALARM_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    RECOVERED_FIELD_NUMBER: _ClassVar[int]
    alarm: int
    since: int
    metric: str
    before: float
    now: float
    recovered: bool
    def __init__(self, alarm: _Optional[int] = ..., since: _Optional[int] = ..., metric: _Optional[str] = ..., before: _Optional[float] = ..., now: _Optional[float] = ..., recovered: bool = ...) -> None: ...

class Figures(_message.Message):
    __slots__ = ("metrics", "recent")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class RecentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    METRICS_FIELD_NUMBER: _ClassVar[int]
    RECENT_FIELD_NUMBER: _ClassVar[int]
    metrics: _containers.ScalarMap[str, float]
    recent: _containers.ScalarMap[str, float]
    def __init__(self, metrics: _Optional[_Mapping[str, float]] = ..., recent: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Replaced(_message.Message):
    __slots__ = ("at", "how", "before")
    AT_FIELD_NUMBER: _ClassVar[int]
    HOW_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    at: int
    how: str
    before: float
    def __init__(self, at: _Optional[int] = ..., how: _Optional[str] = ..., before: _Optional[float] = ...) -> None: ...

class DriftScore(_message.Message):
    __slots__ = ("detector", "signal", "score")
    DETECTOR_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    detector: str
    signal: str
    score: float
    def __init__(self, detector: _Optional[str] = ..., signal: _Optional[str] = ..., score: _Optional[float] = ...) -> None: ...

class Alarm(_message.Message):
    __slots__ = ("number", "since", "start", "start_time", "peak", "end", "end_time", "detector", "signal", "severity", "kind", "signals", "features", "action", "done")
    class Sign(_message.Message):
        __slots__ = ("signal", "detector", "event")
        SIGNAL_FIELD_NUMBER: _ClassVar[int]
        DETECTOR_FIELD_NUMBER: _ClassVar[int]
        EVENT_FIELD_NUMBER: _ClassVar[int]
        signal: str
        detector: str
        event: int
        def __init__(self, signal: _Optional[str] = ..., detector: _Optional[str] = ..., event: _Optional[int] = ...) -> None: ...
    class Feature(_message.Message):
        __slots__ = ("name", "distance")
        NAME_FIELD_NUMBER: _ClassVar[int]
        DISTANCE_FIELD_NUMBER: _ClassVar[int]
        name: str
        distance: float
        def __init__(self, name: _Optional[str] = ..., distance: _Optional[float] = ...) -> None: ...
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    PEAK_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    DETECTOR_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    number: int
    since: int
    start: int
    start_time: float
    peak: int
    end: int
    end_time: float
    detector: str
    signal: str
    severity: float
    kind: str
    signals: _containers.RepeatedCompositeFieldContainer[Alarm.Sign]
    features: _containers.RepeatedCompositeFieldContainer[Alarm.Feature]
    action: str
    done: str
    def __init__(self, number: _Optional[int] = ..., since: _Optional[int] = ..., start: _Optional[int] = ..., start_time: _Optional[float] = ..., peak: _Optional[int] = ..., end: _Optional[int] = ..., end_time: _Optional[float] = ..., detector: _Optional[str] = ..., signal: _Optional[str] = ..., severity: _Optional[float] = ..., kind: _Optional[str] = ..., signals: _Optional[_Iterable[_Union[Alarm.Sign, _Mapping]]] = ..., features: _Optional[_Iterable[_Union[Alarm.Feature, _Mapping]]] = ..., action: _Optional[str] = ..., done: _Optional[str] = ...) -> None: ...
