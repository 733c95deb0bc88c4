"""A learner that shares its memory with servers in files: the files are deleted under it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from tests.models.error_memory.test_learner import events, learner
from thalweg.models.error_memory.learner import ErrorMemory
from thalweg.ops.run.app import _placed_anew
from thalweg.stream.publication.file_channel import FilePublisher, FileSubscriber


def test_a_deleted_memory_is_made_again_and_servers_answer_as_the_learner(tmp_path: Path) -> None:
    folder, made, undisturbed = tmp_path / "live" / "m", learner(), learner()
    made.place(folder)
    publisher = FilePublisher(folder, moved=lambda: _placed_anew(made))
    for one in (made, undisturbed):
        one.learn(events(50))
    publisher.publish(made.predictor(), version=1, learned_events=50, event_time=1.0)

    shutil.rmtree(tmp_path / "live")
    for one in (made, undisturbed):
        one.learn(events(20))
    publisher.publish(made.predictor(), version=2, learned_events=70, event_time=1.0)
    server = FileSubscriber(folder, ErrorMemory.predictor_from)

    assert server.look()
    assert server.current is not None
    for name, wanted in undisturbed.predictor().predict(events(9).inputs).items():
        np.testing.assert_array_equal(server.current.predictor.predict(events(9).inputs)[name], wanted)
    for one in (made, undisturbed):
        one.learn(events(20))
    assert made.state().sha256() == undisturbed.state().sha256()
    server.close()
    publisher.close()
