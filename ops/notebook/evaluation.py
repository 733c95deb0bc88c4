"""`thalweg.evaluate`: prequential evaluation of a table, as `thalweg replay` does it of a file, with its picture."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from threadpoolctl import threadpool_limits

from thalweg.models.contract.learner import Learner
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.replay.labels import left_out_text, no_prediction_hint, unknown_class_text, when_known, why_unanswered
from thalweg.ops.replay.replay import Replayed, replay_events
from thalweg.ops.replay.report import draw
from thalweg.ops.replay.unsure import unsure_text
from thalweg.proto.bounds.counted import counted
from thalweg.proto.event import Batch, Decoded


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found; shown in a notebook with its picture."""

    replayed: Replayed
    """The replay, as of `thalweg replay`."""
    began_after: int
    """Labelled events that the model had learned before; 0: a new one was evaluated."""

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics over all rows: each was predicted before it was learned."""
        return self.replayed.evaluation.metrics()

    @property
    def recent(self) -> dict[str, float]:
        """The same over the last `window_events` rows."""
        return self.replayed.evaluation.recent()

    @property
    def controls(self) -> Mapping[str, Mapping[str, float]]:
        """Naive controls, which look at no input: what a model has to beat."""
        return self.replayed.controls

    @property
    def frozen(self) -> dict[str, float]:
        """The same model if it stops learning after a tenth of the rows."""
        return self.replayed.frozen.metrics()

    @property
    def unanswered(self) -> int:
        """Labelled rows that got no answer because the model had learned too little; they are in no other figure."""
        return self.replayed.unanswered

    @property
    def left_out(self) -> int:
        """Rows that figures over all rows leave out: of another order of magnitude, or of a very rare class."""
        return self.replayed.left_out

    @property
    def hints(self) -> list[str]:
        """What to try where the model gave no prediction, or a naive control predicted as well as it; mostly none."""
        return [*no_prediction_hint(self.replayed), *self.replayed.hints]

    def report(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return self.replayed.report()

    def __repr__(self) -> str:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        return f"<thalweg.Evaluation of {counted(self.replayed.events, 'event')}: {figures or 'no labels'}>"

    def _repr_png_(self) -> bytes | None:
        if not self.replayed.events:
            return None
        try:
            import matplotlib as mpl
        except ImportError:
            return None
        with BytesIO() as file, mpl.rc_context():
            draw(self.replayed, file)
            return file.getvalue()

    def _repr_html_(self) -> str:
        sides = {"learning": self.metrics, "recent": self.recent, "frozen": self.frozen, **self.controls}
        rows = "".join(
            f"<tr><th>{html.escape(name)}</th>"
            + "".join(f"<td>{side[name]:.4g}</td>" if name in side else "<td></td>" for side in sides.values())
            + "</tr>"
            for name in self.metrics
        )
        head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in sides)
        picture = self._repr_png_()
        shown = "<p>The picture needs matplotlib: <code>pip install 'thalweg[report]'</code></p>"
        if picture is not None:
            shown = f'<img alt="quality over the rows" width="760" src="data:image/png;base64,{_text(picture)}">'
        missing = (
            f"; not answered: {self.unanswered:,}, {html.escape(why_unanswered(self.replayed))}"
            if self.unanswered
            else ""
        )
        missing += f"; not in all figures: {left_out_text(self.replayed)}" if self.left_out else ""
        missing += "".join(
            f"; {told}" for told in (unknown_class_text(self.replayed), *unsure_text(self.replayed)) if told
        )
        begun = f"; it had learned {counted(self.began_after, 'event')} before" if self.began_after else ""
        what = f"{html.escape(self.replayed.model.learner)}, {counted(self.replayed.events, 'row')}"
        what += f", labels known {when_known(self.replayed)}{missing}"
        begun += "".join(f"<br>{html.escape(text)}" for text in self.hints)
        return f"<p>{what}{begun}</p><table><tr><th></th>{head}</tr>{rows}</table>{shown}"


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def evaluated(
    config: ModelConfig,
    learner: Learner,
    batch: Batch,
    frozen_after: int | None,
    began_after: int,
    delay_events: int = 0,
) -> Evaluation:
    """Predict, grade and learn a batch, as `replay` does.

    Args:
        config: The model.
        learner: Its learner.
        batch: The rows.
        frozen_after: As of `replay`.
        began_after: Labelled events that the learner has learned.
        delay_events: As of `replay`.
    """
    with threadpool_limits(1):  # as in a service
        replayed = replay_events(
            config, learner, lambda: [Decoded(batch)], frozen_after=frozen_after, delay_events=delay_events
        )
    return Evaluation(replayed, began_after)
