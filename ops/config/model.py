"""`[[model]]`: one model of the configuration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from thalweg.memory.devices.names import AUTO, CPU, EXPECTED, FORM, is_device, usable_gpu
from thalweg.memory.exchange.pending import USUAL
from thalweg.models.columns.make import make_learner
from thalweg.models.columns.settings import ColumnTable, MissingValues
from thalweg.models.contract.layouts import KEY as LAYOUTS
from thalweg.models.contract.layouts import noted_layouts
from thalweg.models.contract.learner import Learner, LearnerContext, ParamsError
from thalweg.models.contract.merging import merged_params
from thalweg.models.contract.registry import UnknownLearner
from thalweg.models.encoders.spec import IDENTITY, EncoderSpec
from thalweg.models.parts.settings import Count, Settings, Whole, rule
from thalweg.ops.config.access.secrets import MASK, shown
from thalweg.ops.config.fields import FieldsConfig
from thalweg.ops.config.hosts import scaled
from thalweg.ops.config.names import Name, Topic, TopicOrNone, written_itself
from thalweg.proto.rows.column import Column
from thalweg.proto.rows.fields import NAMES, FieldMapping, can_be_found
from thalweg.proto.schema import TensorSpec, column_specs
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.freshness.params import FreshnessParams
from thalweg.stream.learn.settings import LearnSettings
from thalweg.stream.shards.names import family_of
from thalweg.stream.shards.params import ScaleParams
from thalweg.stream.tuning.params import TuneParams
from thalweg.stream.tuning.settings import settings_of


def _device(given: str) -> str:
    if not is_device(given):
        raise ValueError(f"expected {EXPECTED}, got {given!r:.60}")
    return given


AtLeastOne = Annotated[float, Field(ge=1)]
PartOfAll = Annotated[float, Field(gt=0, le=1)]
DeviceName = Annotated[str, AfterValidator(_device), Field(json_schema_extra={"pattern": FORM})]


class InputConfig(Settings):
    """`inputs.NAME`: one input tensor of a model, without the batch dimension."""

    shape: list[Count]
    """Sizes of its dimensions, all at least 1."""
    dtype: Literal["float32", "float64", "int64", "int32", "uint8", "bool", "bytes"] = "float32"
    """`float32`, `float64`, `int64`, `int32`, `uint8`, `bool` or `bytes`."""


class ModelConfig(LearnSettings):
    """`[[model]]`: one model, its topic and its settings."""

    name: Name
    """Letters, digits, `.`, `_`, `-`; the name that clients use."""
    learner: str
    """A built-in learner (docs/learners), `river:IMPORT.PATH` or `sklearn:IMPORT.PATH`, or a name of the entry points
    `thalweg.learners`."""
    topic: Topic
    """The topic of its events."""
    inputs: dict[str, InputConfig] = {}  # noqa: RUF012 - pydantic copies it
    """Its input tensors by name; either these or `columns`."""
    columns: dict[str, ColumnTable] = {}  # noqa: RUF012
    """Its columns by name, instead of `inputs`: a kind such as `"numeric"`, or a table; docs/columns.md."""
    missing_values: MissingValues = []  # noqa: RUF012
    """Texts that stand for a missing value in every column that names none itself, such as `["?", "-"]`."""
    fields: FieldsConfig | None = None
    """`[model.fields]`: where label, id, time, key and weight stand in records of your own; none: in our own event
    form."""
    classes: list[str] = []  # noqa: RUF012
    """The names of all classes, if they are known: a label that names another is invalid, and one such as `NA`, which
    otherwise stands for a missing label, is a class; empty: any label is a class. Where labels are numbers, as of
    `error_memory`: two names, such as `["no", "yes"]`, which are 0 and 1."""
    on_change: Literal["successor", "refuse"] = "successor"
    """What a change of a setting that determines the state does: `successor`, the saved version goes on answering and
    learning, and a [successor](changes.md) is built beside it from the log, until `thalweg promote`; `refuse`, the
    model is blocked. Models of an `[[alias]]` are blocked, too: there the changed one is another model. With
    `[model.scale]` it is `refuse`."""
    keep_previous: bool = True
    """After a promotion of a successor the version before goes on learning, so that `thalweg promote --back` loses
    nothing; it costs as much as a model of its own. Without it, it ends with the next restart."""
    history: str = ""
    """A file of recorded events, `.jsonl` or `.csv`, also with `.gz`, `.bz2` or `.xz`, that a new model or a successor
    learns before those of the log. An event that is in both is learned once if it has an `id`."""
    labels_topic: TopicOrNone = ""
    """Topic of late labels, joined by id with earlier events or requests; empty: labels arrive with their events."""
    label_seconds: AtLeastOne = USUAL.seconds
    """How long an event or request waits for its label, and a label for its event …"""
    label_events: Count = USUAL.events
    """… and how many wait at most; the oldest are dropped first."""
    snapshots_kept: Count = 5
    """Number of snapshots retained; older ones are deleted."""
    window_events: Count = 1000
    """Size of the recent window of the prequential metrics."""
    seed: Whole = 0
    """Seed of everything random in the learner."""
    params: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it
    """The learner's own hyper-parameters, named as in its documentation."""
    encoder: str = IDENTITY
    """A frozen encoder in front of the learner: `identity`, `random_features`, `random_convolution` (both also with
    `:SIZE`), `onnx:FILE`, a function or torch module of your own, `module:name`, `timm:NAME` or `hf:FOLDER`;
    docs/encoders.md."""
    weights: str = ""
    """Safetensors file for the encoder's torch module."""
    weights_strict: bool = True
    """The file must have all of the module's tensors and no others; false: those that fit are loaded, and `check` and
    the log say which do not."""
    encoder_arguments: dict[str, Any] = {}  # noqa: RUF012
    """Arguments of the encoder's factory, by name."""
    encoder_columns: list[str] = []  # noqa: RUF012
    """Columns that the encoder takes as they are; its features stand beside those of the other columns. Empty: it takes
    the features of all."""
    probabilities: bool = True
    """A classifier also gives calibrated probabilities, learned online; without them it gives its scores alone. May be
    changed at any time: a calibration that is switched on begins anew."""
    device: DeviceName = AUTO
    """Where learner and encoder compute: `cpu`; `cuda` or `cuda:N`, a GPU; `auto`, the first GPU for what gains from it
    at its size, else the processor. Another device continues a state, equal up to rounding; [gpu](gpu.md)."""
    device_bytes: Whole = 0
    """Most bytes that the learner may keep on a GPU: beyond them the model fails, and no other; 0: what there is."""
    frozen_after_events: Whole = 1000
    """The frozen baseline is a copy of the model after this many events; 0: none."""
    continual_events: Whole = 10
    """Events held out per class for continual evaluation; 0: none."""
    continual_share: PartOfAll = 0.02
    """Evaluations of held-out events as a share of the events: the cost relative to prediction."""
    continual_bytes: Whole = 4 << 20
    """Limit of the held-out events; classes that do not fit are not evaluated."""
    frozen_version: Whole = 0
    """The frozen baseline is this snapshot instead, which must exist when the service first starts with it; 0: none."""
    quality_floor: float | None = None
    """The worst acceptable recent value of the main metric (accuracy, AUC or log-likelihood; for regression the highest
    RMSE): a worse one raises an alert. Judged from 100 labelled events on; none by default."""
    drift: DriftParams = DriftParams()
    """`[model.drift]`: drift detectors, and the action on an alarm."""
    tune: TuneParams | None = None
    """`[model.tune]`: variants that differ in parameters learn beside it, and the best so far answers; none by
    default."""
    scale: ScaleParams | None = None
    """`[model.scale]`: each partition of its topic is learned by itself, by as many processes as there are, or it
    is learned whole by whichever host is there; none by default: one process learns all of them."""
    freshness: FreshnessParams = FreshnessParams()
    """`[model.freshness]`: what is promised about how fresh the answers are."""
    learn_from_requests: bool = False
    """Requests become unlabelled events of the topic: for learners that adapt to their traffic."""

    ready_after_events: Whole = 1
    """The model is not ready, and answers no request, before it has learned this many labelled events; 0: it always
    is. Does not apply to learners that adapt a trained model (`cotta`), nor with `learn_from_requests`."""

    def model_post_init(self, _: Any) -> None:
        """Fill in what `[model.scale]` makes of what was not given: of merged shards, what makes that exact."""
        if self.scale is not None and "on_change" not in self.model_fields_set:
            self.__dict__["on_change"] = "refuse"
        if self.sharded is None or self.sharded.answers != "merge":
            return
        with suppress(UnknownLearner, ParamsError):  # told as mistakes
            self.__dict__["params"] = merged_params(self.learner, self.params)
        self.__dict__["columns"] = {name: one.merged() for name, one in self.columns.items()}

    @rule("inputs", "columns")
    def _inputs_or_columns(self) -> str | None:
        if not self.inputs and not self.columns:
            return "missing; expected either inputs (tensors) or columns (named values), got neither"
        both = self.inputs and self.columns
        return "expected either inputs or columns, got both" if both else None

    @rule("inputs", "columns", "fields")
    def _names_are_found_in_records(self) -> str | None:
        parts = self.fields
        of_parts = () if parts is None else (parts.label, parts.id, parts.key, parts.weight, parts.time.field)
        names = *self.inputs, *(column.path for column in self.named_columns().values()), *of_parts
        odd = next((name for name in names if not can_be_found(name)), None)
        return None if odd is None else f"expected {NAMES}; got {odd!r}: rename the field where it is written"

    @rule("missing_values", "columns")
    def _missing_values_are_of_columns(self) -> str | None:
        return "expected a model with columns" if self.missing_values and not self.columns else None

    @rule("fields", "columns")
    def _label_is_no_column(self) -> str | None:
        paths = {column.path: name for name, column in self.named_columns().items()}
        name = None if self.fields is None else paths.get(self.fields.label)
        return None if name is None else f"the label is column {name!r}, too: nothing is left to predict"

    @rule("classes")
    def _classes_differ(self) -> str | None:
        if self.classes and (len(self.classes) < 2 or len(set(self.classes)) < len(self.classes)):
            return f"expected at least two different names, got {self.classes!r:.200}"
        return "expected names of classes, got an empty text" if "" in self.classes else None

    @rule("topic", "labels_topic", "name")
    def _it_reads_no_events_that_it_writes(self) -> str | None:
        return written_itself(self.topic, self.name, (self.topic, self.labels_topic), self.joined_topic)

    @rule("labels_topic", "topic", "name")
    def _labels_have_a_topic_of_their_own(self) -> str | None:
        if self.labels_topic and self.labels_topic == self.topic:
            return f"expected another topic than the events', got {self.labels_topic!r}"
        return written_itself(self.labels_topic, self.name, (self.topic, self.labels_topic), self.joined_topic)

    @rule("dedup_events", "labels_topic")
    def _joined_twice_is_learned_once(self) -> str | None:
        sound = self.dedup_events or not self.labels_topic
        return None if sound else "expected 1 or more with a labels_topic: a label may be joined twice, got 0"

    @rule("scale", "start")
    def _new_partitions_are_read_whole(self) -> str | None:
        return None if self.sharded is None else scaled.late(self.start)

    @rule("scale", "history", "frozen_version")
    def _shards_begin_alike(self) -> str | None:
        return None if self.sharded is None else scaled.begun(self.history, self.frozen_version)

    @rule("scale", "on_change", "keep_previous")
    def _what_moves_has_no_successor(self) -> str | None:
        on_change = self.on_change if "on_change" in self.model_fields_set else ""
        return None if self.scale is None else scaled.succeeded(on_change, self.keep_previous)

    @rule("weights", "encoder")
    def _weights_are_of_a_module(self) -> str | None:
        sound = not self.weights or self.encoding().takes_weights
        return None if sound else f"expected an encoder that takes weights, got encoder = {self.encoder!r}"

    @rule("encoder", "encoder_arguments", "encoder_columns")
    def _there_is_an_encoder(self) -> str | None:
        given = self.encoder_arguments or self.encoder_columns
        return "missing; encoder_arguments and encoder_columns need one" if given and self.encoder == IDENTITY else None

    @property
    def sharded(self) -> ScaleParams | None:
        """`[model.scale]` where each partition of its topic is learned by itself; None: it is learned whole."""
        return self.scale if self.scale is not None and self.scale.by == "partition" else None

    @property
    def served_name(self) -> str:
        """The name that clients use: of a successor or a shard, the name of the model that it belongs to."""
        return family_of(self.name)

    @property
    def joined_topic(self) -> str:
        """Topic of events joined with their labels, which successors share; empty without a `labels_topic`."""
        return f"{self.served_name}.joined" if self.labels_topic else ""

    def paced(self) -> dict[str, Any]:
        """How it consumes its topics, at the pace that its freshness objective asks for."""
        plain = {key: getattr(self, key) for key in LearnSettings.model_fields}
        return plain | self.freshness.paces(self.batch_seconds)

    def encoding(self) -> EncoderSpec:
        """The encoder, and how it is made."""
        return EncoderSpec(
            name=self.encoder,
            weights=self.weights,
            weights_strict=self.weights_strict,
            arguments=self.encoder_arguments,
            columns=tuple(self.encoder_columns),
        )

    def specs(self) -> dict[str, TensorSpec]:
        """The inputs, or the columns, as tensor specifications."""
        if self.columns:
            return column_specs(self.named_columns())
        return {name: TensorSpec(name, one.dtype, tuple(one.shape)) for name, one in self.inputs.items()}

    def column_of_label(self, label: str | None) -> str | None:
        """The column that stands where a file's label is said to stand, so that nothing is left to predict; None: none.

        `label`: the place of the label in a row, as given on the command line.
        """
        named = self.named_columns() if self.columns else {}
        return next((name for name, column in named.items() if column.path == label), None)

    def named_columns(self) -> dict[str, Column]:
        """The columns by name."""
        found = {name: one.column(name) for name, one in self.columns.items()}
        usual = tuple(self.missing_values)
        return {name: one if one.missing_values else replace(one, missing_values=usual) for name, one in found.items()}

    def field_mapping(self) -> FieldMapping | None:
        """Where the parts of its events stand in a record; None: in our own event form."""
        return None if self.fields is None else self.fields.mapping(self.named_columns().values())

    def identity(self) -> dict[str, Any]:
        """The settings that determine the state, as JSON values: a state is only restored under equal ones."""
        columns = {name: one.identity() for name, one in self.columns.items()}
        said = {
            "learner": self.learner,
            "inputs": {name: one.model_dump() for name, one in self.inputs.items()},
            **({"columns": columns} if columns else {}),
            **({"missing_values": self.missing_values} if self.missing_values else {}),
            **({"classes": self.classes} if self.classes else {}),
            "params": self.params,
            "seed": self.seed,
            "encoder": self.encoding().sha256(self.seed) or IDENTITY,
            **({"encoder_columns": sorted(self.encoder_columns)} if self.encoder_columns else {}),
            **({"tune": self.tune.model_dump()} if self.tune is not None else {}),
            **({LAYOUTS: layouts} if (layouts := self.layouts().get(LAYOUTS)) else {}),
        }
        return said if self.fields is None else said | {"fields": self.fields.model_dump(exclude_defaults=True)}

    def layouts(self) -> dict[str, dict[str, int]]:
        """The layouts and revisions of its state, as of `noted_layouts`."""
        parts = {"calibration": self.probabilities, "columns": self.columns, "tune": self.tune is not None}
        parts["encoder"] = self.encoder != IDENTITY
        return noted_layouts(self.learner, (name for name, there in parts.items() if there))

    def context(self) -> LearnerContext:
        """The context for creating the learner; with `device = "auto"`, the GPU that may be taken is looked for."""
        return LearnerContext(
            inputs=self.specs(),
            params=self._with_classes(),
            seed=self.seed,
            device=self.device,
            spare_gpu=usable_gpu() if self.device == AUTO else "",
            device_bytes=self.device_bytes,
            columns=self.named_columns(),
        )

    def _with_classes(self) -> dict[str, Any]:
        """The parameters; those of scikit-learn, which asks for the classes, have them from `classes` if not given."""
        asked = self.classes and self.learner.startswith("sklearn:") and "classes" not in self.params
        return self.params | {"classes": list(self.classes)} if asked else self.params

    def variants(self) -> list[dict[str, Any]]:
        """The parameters of each variant, those of the model itself first; only those without `tune`."""
        own = self._with_classes()
        return [own] if self.tune is None else settings_of(own, self.tune.params, self.tune.variants)

    def identity_sha256(self) -> str:
        """Hash of `identity`."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True, default=str).encode()).hexdigest()

    def shown_identity(self) -> dict[str, Any]:
        """`identity` as JSON, secrets masked, for manifests: the encoder by name, and its hash as `encoder_sha256`."""
        table = self.identity() | {"params": shown(self.params, ("model", 0, "params")), "encoder": self.encoder}
        if self.encoder != IDENTITY:
            table["encoder_sha256"] = self.encoding().sha256(self.seed)
        if self.weights:
            table["weights"] = self.weights
        if not self.weights_strict:
            table["weights_strict"] = False
        if self.encoder_arguments:
            table["encoder_arguments"] = shown(self.encoder_arguments, ("model", 0, "encoder_arguments"))
        made: dict[str, Any] = json.loads(json.dumps(table, default=str))
        return made

    def under(self, identity: Mapping[str, Any]) -> ModelConfig:
        """This model under the settings that a manifest shows; those that are masked there, and the weights where none
        are recorded, are its own.

        Raises:
            ValueError: They are not valid any more.
        """
        given = self.model_dump(exclude_unset=True)
        shown_now = self.identity().keys() | {"weights", "weights_strict", "encoder_arguments", "encoder_columns"}
        takes_weights = EncoderSpec(name=identity.get("encoder", IDENTITY)).takes_weights
        weights = identity.get("weights", self.weights if takes_weights else "")
        table = {key: value for key, value in given.items() if key not in shown_now and key not in identity}
        table |= {key: value for key, value in identity.items() if key not in ("encoder_sha256", LAYOUTS)}
        table["params"] = _unmasked(identity.get("params", {}), self.params)
        if "encoder_arguments" in identity:
            table["encoder_arguments"] = _unmasked(identity["encoder_arguments"], self.encoder_arguments)
        return type(self).model_validate(table | ({"weights": weights} if weights else {}))

    def new_learner(self) -> Learner:
        """A new learner of the model, on the processor: to see that there is one. Raises as `make_learner`."""
        return make_learner(self.learner, self.on_processor(), self.encoding())

    def on_processor(self) -> LearnerContext:
        """The context of a learner that is only looked at: it takes no GPU."""
        return replace(self.context(), device=CPU, spare_gpu="")


def _unmasked(shown_params: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in shown_params.items():
        now = present.get(key)
        if isinstance(value, Mapping):
            made[key] = _unmasked(value, now if isinstance(now, Mapping) else {})
        else:
            made[key] = now if value == MASK and now is not None else value
    return made
