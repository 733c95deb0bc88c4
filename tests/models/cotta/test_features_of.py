"""What a pass gives the last layer is told to the thread that asked, whoever computes with the network meanwhile."""

from __future__ import annotations

import threading

import torch
from torch import nn

from thalweg.models.cotta.windows import features_of


def test_passes_of_other_threads_are_not_among_its_own() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    mine, other = torch.eye(4)[:1], torch.eye(4)[1:2]

    with features_of(model) as caught:
        thread = threading.Thread(target=lambda: model(other))
        thread.start()
        thread.join()
        model(mine)

    assert len(caught) == 1
    assert torch.equal(caught[0], mine)
