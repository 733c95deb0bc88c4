"""The published augmentations, against recorded ones of the official pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from thalweg.models.cotta.image_views import Draw, blurred, coloured, images, moved, view


@pytest.fixture(scope="module")
def ops(shared: Path) -> Any:
    return np.load(shared / "golden" / "cotta_aug_ops.npz", allow_pickle=False)


def drawn(ops: Any, number: int) -> Draw:
    order = [str(name) for name in ops[f"d{number}.jitter_order"]]
    return Draw(
        list(zip(order, ops[f"d{number}.jitter_factor"].tolist())),
        float(ops[f"d{number}.affine_angle_deg"]),
        tuple(ops[f"d{number}.affine_translate_px"].tolist()),
        float(ops[f"d{number}.affine_scale"]),
        float(ops[f"d{number}.blur_sigma"]),
        bool(ops[f"d{number}.flipped"]),
    )


@pytest.mark.parametrize("number", range(4))
def test_recorded_views_are_reproduced(ops: Any, number: int) -> None:
    x, draw = torch.from_numpy(ops["x"]), drawn(ops, number)

    colours = coloured(x, draw.colours)
    padded = torch.nn.functional.pad(colours, (16,) * 4, mode="replicate")
    affine = moved(padded, draw.angle, draw.shift, draw.scale)
    soft = blurred(affine, draw.sigma)[..., 16:48, 16:48]
    whole = view(x, draw, torch.from_numpy(ops[f"d{number}.noise"]))

    middle = slice(8, 56)
    np.testing.assert_allclose(colours, ops[f"d{number}.after_jitter"], atol=2e-6)
    wanted = ops[f"d{number}.after_affine_padded"][..., middle, middle]
    np.testing.assert_allclose(affine[..., middle, middle], wanted, atol=5e-6)
    np.testing.assert_allclose(soft, ops[f"d{number}.after_blur_crop"], atol=5e-6)
    np.testing.assert_allclose(whole, ops[f"d{number}.out"], atol=5e-6)


@pytest.mark.slow(2)
def test_views_are_spread_as_those_of_the_official_pipeline(shared: Path) -> None:
    stats = np.load(shared / "golden" / "cotta_aug_stats.npz", allow_pickle=False)
    count, generator = 1500, torch.Generator().manual_seed(0)

    found = torch.cat(list(images(torch.from_numpy(stats["x"])[None], count, generator))).double().numpy()

    error = stats["pixel_std"] * np.sqrt(1 / int(stats["n"]) + 1 / count)
    assert (np.abs(found.mean(axis=0) - stats["pixel_mean"]) < 6 * error + 1e-4).mean() > 0.999
    np.testing.assert_allclose(found.std(axis=0), stats["pixel_std"], rtol=0.25, atol=0.01)
    quantiles = np.quantile(found.mean(axis=(2, 3)), stats["quantile_levels"], axis=0)
    np.testing.assert_allclose(quantiles, stats["channel_mean_quantiles"], atol=0.03)


def test_grey_pictures_are_varied_too_and_stay_in_range() -> None:
    x = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(1))

    found = list(images(x, 4, torch.Generator().manual_seed(2)))

    assert all(one.shape == x.shape and one.min() >= 0 and one.max() <= 1 for one in found)
    assert not torch.equal(found[0], found[1])
