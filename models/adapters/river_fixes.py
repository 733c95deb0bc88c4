"""Where River makes a state depend on more than its events: what predicts must not change a model, nor may hash seeds.

Both are in the observer of texts in the leaves of Hoeffding trees; what they return is the same.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

from river.tree.splitter.nominal_splitter_classif import NominalSplitterClassif as Observer

_MARK = "_of_events_alone"


def apply() -> None:
    """Replace two methods, once per process."""
    if getattr(Observer, _MARK, False):
        return
    observer: Any = Observer
    cond_proba, suggestion = observer.cond_proba, observer.best_evaluated_split_suggestion

    @wraps(cond_proba)
    def without_an_entry(self: Any, att_val: Any, target_val: Any) -> Any:
        """A class that was never seen here gets no entry for being asked about."""
        if target_val not in self._att_dist_per_class:
            return 0.0
        return cond_proba(self, att_val, target_val)

    @wraps(suggestion)
    def in_order(self: Any, *args: Any, **more: Any) -> Any:
        """Of two splits that are equally good the first wins: a set of texts has another order in each process."""
        values = self._att_values
        self._att_values = sorted(values, key=repr)
        try:
            return suggestion(self, *args, **more)
        finally:
            self._att_values = values

    observer.cond_proba, observer.best_evaluated_split_suggestion = without_an_entry, in_order
    setattr(observer, _MARK, True)
