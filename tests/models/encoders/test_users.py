"""A user's own encoder: functions and modules with inputs of any dtype, by name or in a dictionary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.models import own_encoders
from tests.models.columns.samples import texts
from thalweg.models.contract.learner import LearnerContext, ParamsError
from thalweg.models.encoders.encoded import make_learner
from thalweg.models.encoders.encoder import Encoder, EncoderFailed
from thalweg.models.encoders.spec import EncoderSpec
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import Inputs, TensorSpec

OWN = "tests.models.own_encoders:"
SPECS = {
    "title": TensorSpec("title", "bytes", ()),
    "body": TensorSpec("body", "bytes", ()),
    "texts": TensorSpec("texts", "bytes", ()),
    "id": TensorSpec("id", "int64", ()),
    "amount": TensorSpec("amount", "float64", ()),
    "x": TensorSpec("x", "float32", (2,)),
    "picture": TensorSpec("picture", "uint8", (2, 4)),
}


def encoder(name: str, *inputs: str, **more: Any) -> Encoder:
    return Encoder(EncoderSpec(name=OWN + name, **more), "", {each: SPECS[each] for each in inputs}, 0)


def of(name: str, inputs: Inputs, **more: Any) -> Any:
    return encoder(name, *inputs, **more).inputs(inputs)["features"]


def test_a_function_gets_its_inputs_by_name_as_they_came() -> None:
    inputs = {"title": texts(["a fraud", ""]), "body": texts(["the weather", "refund, refund"])}

    found = of("words", inputs)

    assert found.dtype == np.float32
    assert found.tolist() == [[2, 0, 0, 1], [0, 0, 2, 0]]
    assert own_encoders.seen[-1]["title"][-1] == b""


def test_a_function_of_one_parameter_gets_several_inputs_in_a_dictionary_each_in_its_dtype() -> None:
    ids = np.array([2**53 + 1, 6])

    found = of("by_dictionary", {"id": ids, "amount": np.array([np.nan, 2.5])})

    assert own_encoders.seen[-1]["id"].dtype == np.int64
    assert 2**53 + 1 in [int(one) for call in own_encoders.seen[-2:] for one in call["id"]]  # no float held it
    np.testing.assert_array_equal(found, np.array([[np.nan, (2**53 + 1) % 7], [2.5, 6]], np.float32))


@pytest.mark.parametrize(
    ("name", "inputs", "found"),
    [
        ("one_in_a_dictionary", {"x": np.ones((1, 2), np.float32)}, [[2, 2]]),
        ("whatever", {"id": np.array([3]), "amount": np.array([0.5])}, [[3, 0.5]]),
        ("lengths", {"texts": texts(["two words", ""])}, [[9, 1], [-1, 0]]),
        ("lengths", {"title": texts(["x"])}, [[1, 0]]),
        ("factory", {"x": np.ones((1, 2), np.float32)}, [[1, 1]]),
    ],
)
def test_each_way_of_being_called(name: str, inputs: Inputs, found: list[list[float]]) -> None:
    assert of(name, inputs).tolist() == found


def test_arguments_make_what_encodes_and_are_part_of_its_identity() -> None:
    plain, scaled = encoder("factory", "x"), encoder("factory", "x", arguments={"scale": 3.0})
    buckets = encoder("Buckets", "id", arguments={"count": 3})

    assert scaled.inputs({"x": np.ones((1, 2), np.float32)})["features"].tolist() == [[3, 3]]
    assert buckets.inputs({"id": np.array([4])})["features"].tolist() == [[0, 1, 0]]
    assert len({plain.sha256, scaled.sha256, encoder("factory", "x", arguments={"scale": 2.0}).sha256}) == 3
    assert scaled.sha256 == encoder("factory", "x", arguments={"scale": 3.0}).sha256


def test_to_a_module_integers_stay_integers_and_pictures_of_bytes_become_floats() -> None:
    found = of("Ids", {"id": np.array([9, 9, 0]), "amount": np.array([0.5, 1.5, 0.5])})

    assert found.shape == (3, 4)
    np.testing.assert_array_equal(found[0, :3], found[1, :3])
    assert found[:, 3].tolist() == [0.5, 1.5, 0.5]
    pictures = np.arange(16, dtype=np.uint8).reshape(2, 2, 4)
    flat = Encoder("tests.models.small_networks:flattened", "", {"picture": SPECS["picture"]}, 0)
    assert flat.inputs({"picture": pictures})["features"].tolist() == pictures.reshape(2, 8).tolist()
    dense = Encoder(OWN + "layered", "", {"n": TensorSpec("n", "int64", (8,))}, 0)
    assert dense.inputs({"n": np.ones((1, 8), np.int64)})["features"].shape == (1, 4)


def test_many_rows_are_encoded_as_each_alone() -> None:
    inputs = {"texts": texts(["word " * (row % 11) for row in range(150)])}
    made = encoder("lengths", "texts")

    together = made.inputs(inputs)["features"]

    for row in range(0, 150, 13):
        alone = made.inputs({"texts": inputs["texts"][row : row + 1]})["features"]
        np.testing.assert_array_equal(alone[0], together[row])
    assert made.inputs({"texts": inputs["texts"][:0]})["features"].shape == (0, 2)


def test_rows_of_equal_content_are_encoded_once_and_of_other_content_never_mixed_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, rows = encoder("words", "title", "body"), []
    encode = made._encode
    monkeypatch.setattr(made, "_encode", lambda x: rows.append(len(x["title"])) or encode(x))
    count = 16
    inputs = {"title": texts(["fraud"] * count), "body": texts([f"{row}" for row in range(count)])}
    moved = {"title": texts(["frau"] * count), "body": texts([f"d{row}" for row in range(count)])}

    def batch(inputs: Inputs) -> Batch:
        return Batch(inputs, None, np.ones(count), np.zeros(count))

    first, again, other = (made.batch(batch(one)).inputs["features"] for one in (inputs, inputs, moved))

    assert sum(rows) == 2 * count
    np.testing.assert_array_equal(first, again)
    assert (first[:, 0] == 2).all()
    assert (other[:, 0] == 0).all()


@pytest.mark.parametrize(
    ("name", "inputs", "key", "said"),
    [
        ("flat", ["texts"], "encoder", r"expected features \(N, F\) from '.*:flat', for 8 rows \(8, F\), got \(8,\)"),
        ("of_texts", ["texts"], "encoder", "cannot take inputs of shape .* bytes: TypeError: expected an array of num"),
        ("two_alone", ["id", "amount"], "encoder", "to take id, amount by name, or all .* it takes first, second, thi"),
        ("words", ["title"], "encoder", "expected '.*:words' to take title by name"),
        ("padded_to_the_longest", ["texts"], "encoder", "gives a row other features beside other rows, as one does"),
        ("NUMBER", ["id"], "encoder", "expected '.*:NUMBER' to be a function or a torch module, got int"),
        ("nothing", ["id"], "encoder", "'.*:nothing' cannot be imported: .*no attribute 'nothing'"),
        ("Buckets", ["id"], "encoder", "'.*:Buckets' raised TypeError: .*count"),
    ],
)
def test_what_is_no_encoder_of_these_inputs_is_refused_by_name(
    name: str, inputs: list[str], key: str, said: str
) -> None:
    with pytest.raises(ParamsError, match=said) as told:
        encoder(name, *inputs)

    assert told.value.mistakes.keys() == {key}


def test_a_failure_names_the_encoder_and_what_it_did() -> None:
    made = encoder("poisoned", "texts")

    with pytest.raises(EncoderFailed, match=r"encoder '.*:poisoned' raised KeyError: 'poison'"):
        made.inputs({"texts": texts(["a", "poison"])})
    with pytest.raises(EncoderFailed, match=r"encoder '.*:poisoned': expected features \(1, 2\), got \(0, 2\)"):
        made.inputs({"texts": texts(["short"])})


def test_a_learner_behind_a_function_learns_from_texts_and_ids() -> None:
    spec = EncoderSpec(name=OWN + "words")
    context = LearnerContext(inputs={name: SPECS[name] for name in ("title", "body")}, params={"expansion": 0})
    learner, random = make_learner("ridge", context, spec), np.random.default_rng(0)
    codes = random.integers(0, 4, 200).astype(np.int32)
    bodies = texts([f"about {own_encoders.TOPICS[code].decode()}" for code in codes])
    events = Batch(
        {"title": texts(["news"] * 200), "body": bodies}, ClassLabels(codes, tuple("abcd")), np.ones(200), np.zeros(200)
    )
    learner.learn(events)

    told = learner.predictor().predict({"title": texts(["refund", "refund"]), "body": texts(["", "holiday"])})

    assert learner.predictor().classes[told["label"][0]] == "c"
    assert learner.schema.inputs == context.inputs


# Weights


def saved(path: Path, **changed: torch.Tensor | None) -> str:
    """The tensors of `layered`, some changed or left out; `_` stands for a dot."""
    tensors = own_encoders.layered().state_dict()
    for name, tensor in changed.items():
        key = name.replace("_", ".")
        tensors = {each: one for each, one in tensors.items() if each != key}
        if tensor is not None:
            tensors[key] = tensor
    save_file(tensors, path)
    return str(path)


X = {"x": TensorSpec("x", "float32", (8,))}


def test_a_checkpoint_with_other_tensors_is_refused_with_their_shapes_or_accepted_and_told(tmp_path: Path) -> None:
    weights = saved(tmp_path / "w", **{"2_bias": None, "head_weight": torch.zeros(9, 4), "0_bias": torch.zeros(5)})

    with pytest.raises(ParamsError) as refused:
        Encoder(EncoderSpec(name=OWN + "layered", weights=weights), "", X, 0)
    loose = Encoder(EncoderSpec(name=OWN + "layered", weights=weights, weights_strict=False), "", X, 0)

    differing = r"missing 2.bias [4]; unexpected head.weight [9, 4]; of another shape 0.bias [5] (the model's: [6])"
    said = f"{weights} does not fit the model: {differing}"
    assert refused.value.mistakes == {"weights": f"{said}. weights_strict = false accepts what fits"}
    assert loose.notes == [f"{said}; the rest was loaded"]


def test_a_checkpoint_that_fits_is_loaded_and_of_one_that_has_nothing_of_the_model_nothing_is_accepted(
    tmp_path: Path,
) -> None:
    fits = saved(tmp_path / "fits", **{"2_bias": torch.full((4,), 7.0), "2_weight": torch.zeros(4, 6)})
    save_file({"other": torch.zeros(3)}, tmp_path / "other")

    made = Encoder(EncoderSpec(name=OWN + "layered", weights=fits), "", X, 0)

    assert made.notes == []
    assert made.inputs({"x": np.ones((1, 8), np.float32)})["features"].tolist() == [[7.0] * 4]
    with pytest.raises(ParamsError, match="does not fit the model: missing"):
        Encoder(EncoderSpec(name=OWN + "layered", weights=str(tmp_path / "other"), weights_strict=False), "", X, 0)


def test_weights_for_a_function_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"expected a torch module from '.*:factory' to load them into, got"):
        encoder("factory", "x", weights=saved(tmp_path / "w"))
