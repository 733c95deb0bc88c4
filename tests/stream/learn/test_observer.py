"""Notifications reach all watchers, and what they can be told shows on any version of Python."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from thalweg.models.contract.capabilities import Explainer, Unlearner, capability
from thalweg.stream.labels.join_observer import JoinObserver, JoinReadingObserver, NoJoinObserver
from thalweg.stream.learn.observer import NoObserver, Observer, each


class Noting:
    def __init__(self) -> None:
        self.told: list[Any] = []
        self.note = "a value, not a notification"

    def labels_lag(self, lag: Any) -> None:
        self.told.append(lag)


def test_each_watcher_is_told_in_order() -> None:
    first, second = Noting(), Noting()

    each(first, second).labels_lag({"a": 1})

    assert first.told == second.told == [{"a": 1}]


def test_what_one_watcher_does_not_know_is_refused() -> None:
    both = each(Noting(), NoJoinObserver())

    with pytest.raises(AttributeError):
        both.labels_joined([1.0])


def test_a_watcher_that_takes_whatever_comes_is_told_too() -> None:
    told: list[str] = []

    class Whatever:
        def __getattr__(self, name: str) -> Any:
            return lambda *_: told.append(name)

    each(Whatever(), NoJoinObserver()).labels_joined([1.0])

    assert told == ["labels_joined"]


@pytest.mark.parametrize(
    ("watcher", "protocol"),
    [(NoJoinObserver, JoinReadingObserver), (NoJoinObserver, JoinObserver), (NoObserver, Observer)],
)
def test_a_protocol_finds_all_that_the_watchers_can_be_told(watcher: type, protocol: type) -> None:
    """Without `__getattr__`, which `isinstance` has not asked since Python 3.12."""
    both = each(watcher(), watcher())
    names = [name for name in vars(protocol) if not name.startswith("_") and callable(vars(protocol)[name])]

    assert names
    for name in names:
        assert callable(inspect.getattr_static(both, name)), name


def test_a_capability_that_is_passed_on_is_found() -> None:
    class Passing:
        """Passes everything on, as a wrapper of a user's may."""

        def __init__(self, inside: object) -> None:
            self._inside = inside

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inside, name)

    class Unlearns:
        def unlearn(self, batch: Any) -> None: ...

    passing: Any = Passing(Unlearns())

    assert capability(passing, Unlearner) is passing  # type: ignore[type-abstract]
    assert capability(passing, Explainer) is None  # type: ignore[type-abstract]
