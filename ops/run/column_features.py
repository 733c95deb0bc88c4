"""The columns of models and the features that they become, for `thalweg check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import structlog

from thalweg.models.columns.layout import Layout
from thalweg.models.columns.make import takes_columns
from thalweg.ops.config.config import Config

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
        if takes_columns(model.learner):
            yield f"# Columns of {model.name}: {len(columns)}, which {model.learner} takes as they are"
            continue
        layout = Layout(columns)
        counts = Counter(layout.columns())
        yield f"# Columns of {model.name}: {len(columns)}, which become F = {layout.width} features"
        for name, column in columns.items():
            yield f"# {name}: {column.kind}, {counts[name]} feature{'s'[: counts[name] > 1]}"
        if layout.width > MANY:
            name, most = counts.most_common(1)[0]
            log.warning(
                "many features: most learners take time and memory with the square of their number",
                model=model.name,
                features=layout.width,
                largest_column=name,
                its_features=most,
            )
