"""Pipelines as a user has them: factories and objects in a module of their own."""

from __future__ import annotations

from typing import Any

from river import base, compose, linear_model, optim, preprocessing, stats, tree


def scaled(rate: float = 0.1) -> compose.Pipeline:
    """Numbers scaled and texts as one-hot columns, in front of a linear model."""
    numbers = compose.SelectType(float, int) | preprocessing.StandardScaler()
    texts = compose.SelectType(str) | preprocessing.OneHotEncoder()
    return (numbers + texts) | linear_model.LogisticRegression(optimizer=optim.Adam(rate))


def regression() -> compose.Pipeline:
    """The same in front of a linear regression."""
    numbers = compose.SelectType(float, int) | preprocessing.StandardScaler()
    texts = compose.SelectType(str) | preprocessing.OneHotEncoder()
    return (numbers + texts) | linear_model.LinearRegression()


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


def imputing() -> compose.Pipeline:
    """Named columns, of which some are missing."""
    amounts = compose.Select("amount") | preprocessing.StatImputer(("amount", stats.Mean()))
    return amounts | preprocessing.StandardScaler() | linear_model.LogisticRegression()


def with_a_lambda() -> compose.Pipeline:
    return compose.FuncTransformer(lambda x: x) | linear_model.LogisticRegression()


def unseeded() -> compose.Pipeline:
    return preprocessing.StandardScaler() | tree.HoeffdingAdaptiveTreeClassifier()


def no_estimator() -> int:
    return 3


def broken() -> compose.Pipeline:
    raise RuntimeError("no connection")


class Choosy(base.Classifier):
    """Raises for a negative amount when it learns, and for one above 5 when it predicts."""

    def __init__(self) -> None:
        self.sum = 0.0

    @property
    def _multiclass(self) -> bool:
        return True

    def learn_one(self, x: dict[str, Any], y: Any) -> None:
        if x["amount"] < 0:
            raise ValueError("a negative amount")
        self.sum += x["amount"]

    def predict_proba_one(self, x: dict[str, Any]) -> dict[Any, float]:
        if x["amount"] > 5:
            raise ValueError("too much")
        return {"a": float("nan")} if x["amount"] == 4 else {"a": 0.25, "b": 0.25, "other": 0.5}


class Restless(base.Regressor):
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def learn_one(self, x: dict[str, Any], y: float, w: float = 1.0) -> None:
        self.asked += 1000 * int(w)

    def predict_one(self, x: dict[str, Any]) -> float:
        self.asked += 1
        return float(self.asked)


class Superstitious(tree.HoeffdingTreeClassifier):  # type: ignore[misc]
    """A tree that changes before it raises for some numbers."""

    def learn_one(self, x: dict[str, Any], y: Any, *, w: float = 1.0) -> None:
        super().learn_one(x, y, w=w)
        if x["features[0]"] in (13.0, 37.0):
            raise ArithmeticError("not that one")


def priors_of(classes: list[str]) -> Any:
    """An estimator of scikit-learn that is made for certain classes."""
    from sklearn.naive_bayes import GaussianNB

    return GaussianNB(priors=[1 / len(classes)] * len(classes))
