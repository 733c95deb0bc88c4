"""Pipelines as a user has them: factories and objects in a module of their own."""

from __future__ import annotations

from typing import Any

from river import base, compose, linear_model, optim, preprocessing, tree


def scaled(rate: float = 0.1) -> compose.Pipeline:
    """Numbers scaled and texts as one-hot columns, in front of a linear model."""
    numbers = compose.SelectType(float, int) | preprocessing.StandardScaler()
    texts = compose.SelectType(str) | preprocessing.OneHotEncoder()
    return (numbers + texts) | linear_model.LogisticRegression(optimizer=optim.Adam(rate))


class Doubled(base.Transformer):
    """A transformer of the user's own."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}

    def learn_one(self, x: dict[str, Any]) -> None:
        self.seen |= x

    def transform_one(self, x: dict[str, Any]) -> dict[str, Any]:
        return {key: 2 * value for key, value in x.items()}


own = Doubled() | preprocessing.StandardScaler() | tree.HoeffdingTreeClassifier(grace_period=10)
"""An object, made already."""


def with_a_lambda() -> compose.Pipeline:
    return compose.FuncTransformer(lambda x: x) | linear_model.LogisticRegression()


def unseeded() -> compose.Pipeline:
    return preprocessing.StandardScaler() | tree.HoeffdingAdaptiveTreeClassifier()


def no_estimator() -> int:
    return 3


def broken() -> compose.Pipeline:
    raise RuntimeError("no connection")
