"""Architectures by name, of timm and of Hugging Face: with local weights or not at all."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from thalweg.models.contract.learner import ParamsError
from thalweg.models.encoders.encoder import Encoder
from thalweg.models.encoders.spec import EncoderSpec
from thalweg.models.networks.torch_models import build
from thalweg.proto.schema import TensorSpec

IMAGE = {"image": TensorSpec("image", "uint8", (3, 4, 4))}
TOKENS = {name: TensorSpec(name, "int64", (5,)) for name in ("input_ids", "attention_mask")}


class Small(nn.Module):
    """In the form of timm's: a body, and a head that `num_classes = 0` leaves out."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 6, 3)
        self.fc = nn.Linear(6, num_classes) if num_classes else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.fc(self.body(x).mean((2, 3)))
        return found


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of the form of timm, with one small architecture; as the real one is not installed everywhere."""

    def create_model(name: str, *, pretrained: bool, num_classes: int = 10, **more: Any) -> nn.Module:
        assert not pretrained, "it would fetch"
        if name != "small":
            raise RuntimeError(f"Unknown model ({name})")
        return Small(num_classes, **more)

    package = ModuleType("timm")
    package.create_model = create_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", package)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    torch.manual_seed(3)
    save_file(Small(10).state_dict(), tmp_path / "small.safetensors")
    return str(tmp_path / "small.safetensors")


def encoder(inputs: dict[str, TensorSpec], **spec: Any) -> Encoder:
    return Encoder(EncoderSpec(**spec), "", inputs, 0)


@pytest.mark.usefixtures("timm")
def test_an_architecture_without_weights_is_refused_and_how_to_make_them_is_said() -> None:
    for make in (lambda: encoder(IMAGE, name="timm:small"), lambda: build("timm:small")):
        with pytest.raises(ParamsError) as told:
            make()

        assert told.value.mistakes.keys() == {"weights"}
        assert "nothing is fetched" in str(told.value)
        assert "save_file(timm.create_model('small', pretrained=True).state_dict()" in str(told.value)


@pytest.mark.usefixtures("timm")
def test_an_architecture_encodes_pictures_of_bytes_with_local_weights_without_its_head(weights: str) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (5, 3, 4, 4)).astype(np.uint8)

    with pytest.raises(ParamsError, match=r"unexpected fc.bias \[10\], fc.weight \[10, 6\]. weights_strict = false"):
        encoder(IMAGE, name="timm:small", weights=weights)
    made = encoder(IMAGE, name="timm:small", weights=weights, weights_strict=False)
    whole = encoder(IMAGE, name="timm:small", weights=weights, arguments={"num_classes": 10})

    assert "unexpected fc.bias [10]" in made.notes[0]
    assert made.inputs({"image": pictures})["features"].shape == (5, 6)
    assert whole.inputs({"image": pictures})["features"].shape == (5, 10)
    assert made.sha256 != whole.sha256


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("name", "arguments", "key", "said"),
    [
        ("timm:smal", {}, "encoder", r"'timm:smal' raised RuntimeError: Unknown model \(smal\)"),
        ("timm:small", {"pretrained": True}, "encoder_arguments", "pretrained: nothing is fetched"),
        ("timm:small", {"depth": 3}, "encoder", "raised TypeError: .*depth"),
    ],
)
def test_what_timm_does_not_know_is_said(
    weights: str, name: str, arguments: dict[str, Any], key: str, said: str
) -> None:
    with pytest.raises(ParamsError, match=said) as told:
        encoder(IMAGE, name=name, weights=weights, arguments=arguments)

    assert told.value.mistakes.keys() == {key}


def test_what_a_missing_library_is_installed_by_is_said(monkeypatch: pytest.MonkeyPatch, weights: str) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)

    with pytest.raises(ParamsError, match=r"encoder: 'timm:small' needs timm: pip install 'thalweg\[timm\]'"):
        encoder(IMAGE, name="timm:small", weights=weights)


def test_a_name_of_hugging_face_that_is_no_folder_here_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="'hf:bert-base-uncased' is no folder, and nothing is fetched; make it once"):
        encoder(TOKENS, name="hf:bert-base-uncased")
    with pytest.raises(ParamsError, match=r"has no config.json and \*.safetensors, and nothing is fetched"):
        encoder(TOKENS, name=f"hf:{tmp_path}")


def test_a_folder_of_hugging_face_encodes_tokens(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=9, **sizes)).save_pretrained(tmp_path)
    tokens = {"input_ids": np.full((3, 5), 7), "attention_mask": np.ones((3, 5), np.int64)}

    with pytest.raises(ParamsError, match=r"unexpected classifier.bias, classifier.weight"):
        encoder(TOKENS, name=f"hf:{tmp_path}")
    made = encoder(TOKENS, name=f"hf:{tmp_path}", weights_strict=False)

    assert made.inputs(tokens)["features"].shape == (3, 8)


class Output:
    """In the form of a model's output in transformers."""

    def __init__(self, hidden: torch.Tensor) -> None:
        self.last_hidden_state = hidden


class Tokens(nn.Module):
    """In the form of a language model without a pooler."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Output:
        return Output(input_ids[..., None].float() * torch.tensor([1.0, 10.0]))


def test_of_tokens_without_a_pooler_the_mean_over_those_of_the_mask_is_taken() -> None:
    made = encoder(TOKENS, name="tests.models.encoders.test_architectures:Tokens")
    tokens = {"input_ids": np.array([[2, 4, 9, 9, 9]]), "attention_mask": np.array([[1, 1, 0, 0, 0]])}

    assert made.inputs(tokens)["features"].tolist() == [[3.0, 30.0]]
