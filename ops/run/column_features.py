"""The columns of models and the features that they become, and their encoders, for `thalweg check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import structlog

from thalweg.models.columns.make import transform_of
from thalweg.models.encoders.encoder import FEATURES, shared_encoder
from thalweg.models.encoders.spec import IDENTITY
from thalweg.ops.config.config import Config
from thalweg.proto.bounds.counted import counted

log = structlog.get_logger(__name__)

MANY = 1000
"""More features than these are warned of: most learners take time and memory with the square of their number."""


def column_lines(config: Config) -> Iterator[str]:
    """For each model with columns a line with its features, and one for each column, as comments of TOML.

    Many features are also a warning in the log, which names the column that has most of them.
    """
    for model in config.model:
        columns = model.named_columns()
        if not columns:
            continue
        yield ""
        transform = transform_of(model.learner, model.context(), model.encoding())
        if transform is None:
            yield f"# Columns of {model.name}: {len(columns)}, which {model.learner} takes as they are"
            continue
        layout = transform.layout
        ids = frozenset() if transform.direct is None else transform.direct.columns
        counts = Counter(layout.columns())
        which = f", {len(ids)} of them ids, the others" if len(ids) < len(columns) else ", all of them ids"
        became = f" become F = {counted(layout.width, 'feature')}" if layout.width else ""
        yield f"# Columns of {model.name}: {len(columns)}{which if ids else ', which'}{became}"
        encoded = transform.encoded
        for name, column in columns.items():
            what = "an id" if name in ids else f"{counts[name]} feature{'s'[: counts[name] > 1]}"
            if encoded is not None and name in encoded.columns:
                what = f"encoded by {model.encoder}, {counted(counts[encoded.made.name], 'feature')}"
            marked = f"; missing: {', '.join(map(repr, column.missing_values))}" if column.missing_values else ""
            yield f"# {name}: {column.kind}, {what}{marked}"
        if layout.width > MANY:
            name, most = counts.most_common(1)[0]
            log.warning(
                "many features: most learners take time and memory with the square of their number",
                model=model.name,
                features=layout.width,
                largest_column=name,
                its_features=most,
            )


def encoder_lines(config: Config) -> Iterator[str]:
    """For each model with an encoder a line with what it takes and gives, and what of its weights does not fit."""
    for model in config.model:
        spec = model.encoding()
        if spec.name == IDENTITY:
            continue
        transform = transform_of(model.learner, model.context(), spec)
        inputs = model.specs() if transform is None else transform.specs
        if spec.columns:
            inputs = {name: one for name, one in model.specs().items() if name in spec.columns}
        encoder = shared_encoder(spec, "", inputs, model.seed)
        yield ""
        (width,) = encoder.specs[FEATURES].shape
        yield f"# Encoder of {model.name}: {spec.name}, from {', '.join(inputs)} to {counted(width, 'feature')}"
        yield from (f"# {note}" for note in encoder.notes)
