"""What a batch norm of an adapting model normalises by, in a step."""

from __future__ import annotations

import pytest

from thalweg.models.cotta.target_norm import TargetNorm
from thalweg.models.parts.torch_setup import Tensor, functional, torch


def made(kind: type[torch.nn.modules.batchnorm._BatchNorm], step_own: float) -> TargetNorm:
    layer = kind(3)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
        layer.bias.copy_(torch.tensor([0.1, 0.0, -0.2]))
    norm = TargetNorm(layer)
    norm.step_own = step_own
    return norm


def inputs(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3)) * 2.0 + 1.0


def published(norm: TargetNorm, x: Tensor) -> Tensor:
    return functional.batch_norm(x, None, None, norm.weight, norm.bias, True, 0.0, norm.eps)


def test_as_published_a_step_normalises_by_its_batch_to_the_bit() -> None:
    norm, x = made(torch.nn.BatchNorm2d, 0.0), inputs(6, 3, 4, 5)

    assert torch.equal(norm(x), published(norm, x))


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_share_of_the_moments_is_the_rows_own(share: float) -> None:
    norm, x = made(torch.nn.BatchNorm2d, share), inputs(6, 3, 4, 5)

    found = norm(x)

    every, own = x.flatten(2).transpose(0, 1).flatten(1), x.flatten(2)  # (C, all), (N, C, inside)
    mean = (1 - share) * every.mean(1) + share * own.mean(2)
    square = (1 - share) * every.square().mean(1) + share * own.square().mean(2)
    deviation = (square - mean**2 + norm.eps).sqrt()
    scaled = (x - mean[:, :, None, None]) / deviation[:, :, None, None]
    expected = scaled * norm.weight.view(1, 3, 1, 1) + norm.bias.view(1, 3, 1, 1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_two_domains_in_one_batch_are_told_apart_by_the_rows_own_moments() -> None:
    """A dark and a bright half: without a share of their own, a layer passes the brightness on."""
    shown = inputs(4, 3, 6, 6)
    x = torch.cat([shown, shown + 10.0])

    def apart(step_own: float) -> float:
        found = made(torch.nn.BatchNorm2d, step_own)(x)
        return float((found[4:] - found[:4]).detach().abs().mean())

    assert apart(0.3) < 0.85 * apart(0.0)
    assert apart(1.0) == pytest.approx(0.0, abs=1e-4)


def test_vectors_have_no_moments_of_their_own_and_go_by_the_batch() -> None:
    norm, x = made(torch.nn.BatchNorm1d, 0.3), inputs(8, 3)

    assert torch.equal(norm(x), published(norm, x))
