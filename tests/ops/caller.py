"""A caller that asks a model over REST again and again, for tests of what callers see meanwhile."""

from __future__ import annotations

import json
import threading
import urllib.request

from tests.ops.running import Service
from tests.samples import FEATURES
from tests.services.processes import PATIENCE

_TENSOR = {"name": "features", "datatype": "FP32", "shape": [1, FEATURES], "data": [0.5] * FEATURES}
_BODY = json.dumps({"inputs": [_TENSOR]}).encode()


class Caller:
    """Asks within its block, from a thread of its own.

    Args:
        running: The service.
        model: The model or alias.
    """

    def __init__(self, running: Service, model: str) -> None:
        self._running, self._model = running, model
        self.seen: list[int] = []
        """The versions that answered."""
        self.failed: list[BaseException] = []
        """What ended it: a refused or unanswered request."""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep_asking)

    def ask(self) -> int:
        """The version that answers now. Raises OSError."""
        url = f"http://127.0.0.1:{self._running.ports['http']}/v2/models/{self._model}/infer"
        with urllib.request.urlopen(url, _BODY, timeout=PATIENCE) as answer:
            return int(json.loads(answer.read())["parameters"]["state_version"])

    def __enter__(self) -> Caller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _keep_asking(self) -> None:
        try:
            while not self._done.is_set():
                self.seen.append(self.ask())
        except BaseException as error:
            self.failed.append(error)
