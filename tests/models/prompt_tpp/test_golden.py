"""Temporal point processes against closed forms and against recorded runs of the official implementations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from thalweg.models.prompt_tpp import attentive, nhp, prompt_pool
from thalweg.models.prompt_tpp.attentive import AttentiveShape, Prefix
from thalweg.models.prompt_tpp.nhp import CellState
from thalweg.models.prompt_tpp.process import EPSILON, forecast, integral, interval, nodes

GRID = 20


@pytest.fixture(scope="module")
def core(shared: Path) -> Any:
    return np.load(shared / "golden" / "prompttpp_core.npz", allow_pickle=False)


@pytest.fixture(scope="module")
def analytic(shared: Path) -> Any:
    return np.load(shared / "golden" / "prompttpp_analytic.npz", allow_pickle=False)


def tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.array(array))


def close(got: Tensor, wanted: Any, rtol: float = 1e-9, atol: float = 1e-11) -> None:
    np.testing.assert_allclose(got.detach().numpy(), wanted, rtol=rtol, atol=atol)


# Closed forms


def hawkes(golden: Any, name: str) -> tuple[Callable[[int], Callable[[Tensor], Tensor]], Tensor, Tensor]:
    """The intensity after the n-th event (0: none yet), times and types."""
    mu, alpha, beta, t = (tensor(golden[f"{name}.{part}"]) for part in ("mu", "alpha", "beta", "t"))
    k = tensor(golden[f"{name}.k"])

    def after(events: int) -> Callable[[Tensor], Tensor]:
        last = t[events - 1] if events else torch.zeros((), dtype=t.dtype)

        def intensity(ages: Tensor) -> Tensor:
            rates = mu.expand(*ages.shape, len(mu)).clone()
            for past in range(events):
                since = last + ages - t[past]
                rates = rates + alpha[:, k[past]] * torch.exp(-beta[:, k[past]] * since[..., None])
            return rates

        return intensity

    return after, t, k


PROCESSES = ["poisson", "hawkes1", "hawkes3", "hawkes3_stress"]


@pytest.mark.parametrize("name", PROCESSES)
def test_the_likelihood_of_closed_forms(analytic: Any, name: str) -> None:
    after, t, k = hawkes(analytic, name)
    events, compensators, coarse = [], [], []
    for event in range(1, len(t)):
        gap, kind = (t[event] - t[event - 1])[None], k[event][None]
        fine = interval(after(event), gap, kind, 20_001, epsilon=0.0)
        events.append(fine.event[0])
        compensators.append(fine.compensator[0])
        coarse.append(interval(after(event), gap, kind, GRID, epsilon=0.0).compensator[0])

    close(torch.stack(events), analytic[f"{name}.event_ll"][1:], rtol=1e-9)
    close(torch.stack(compensators), analytic[f"{name}.compensator_interval"][1:], rtol=1e-6, atol=1e-12)
    close(torch.stack(coarse), analytic[f"{name}.trapezoid20_interval"], rtol=1e-9, atol=1e-15)
    total = torch.stack(events).sum() - torch.stack(compensators).sum()
    assert float(total) == pytest.approx(float(analytic[f"{name}.loglik_given_first_event"]), rel=1e-6)


@pytest.mark.parametrize("name", PROCESSES)
def test_what_comes_next_in_closed_forms(analytic: Any, name: str) -> None:
    after, t, _ = hawkes(analytic, name)
    mean = float(analytic[f"{name}.next_dt_mean"])

    found = forecast(after(len(t)), torch.tensor([40 * mean], dtype=torch.float64), 2000)

    assert float(found.gap[0]) == pytest.approx(mean, rel=1e-5)
    assert float(found.quantile(0.5)[0]) == pytest.approx(float(analytic[f"{name}.next_dt_median"]), rel=1e-5)
    close(found.types[0], analytic[f"{name}.next_type_prob"], rtol=1e-5)
    for cap in (1, 5):
        capped = forecast(after(len(t)), torch.tensor([float(cap)], dtype=torch.float64), 2000)
        assert float(capped.gap[0]) == pytest.approx(float(analytic[f"{name}.next_dt_mean_capped{cap}"]), rel=1e-5)


@pytest.mark.parametrize("name", PROCESSES)
def test_sixty_nodes_are_enough_for_a_forecast(analytic: Any, name: str) -> None:
    after, t, _ = hawkes(analytic, name)
    mean = float(analytic[f"{name}.next_dt_mean"])

    found = forecast(after(len(t)), torch.tensor([20 * mean], dtype=torch.float64), 60)

    assert float(found.gap[0]) == pytest.approx(mean, rel=0.02)
    close(found.types[0], analytic[f"{name}.next_type_prob"], rtol=0.02)


def test_time_embeddings(core: Any) -> None:
    close(attentive.embed_times(tensor(core["timeemb.t"]), 16), core["timeemb.out"], atol=1e-9)


# Whole padded sequences, position by position


def positions(core: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Any]:
    """Every history of the batch that is followed by an event: times, types, lengths, gaps, next types, where it is."""
    t, dt, k, mask = (core[f"batch.{name}"] for name in ("t", "dt", "k", "mask"))
    where = [(row, at) for row in range(len(t)) for at in range(t.shape[1] - 1) if mask[row, at + 1]]
    rows, ats = np.array(where).T
    times, types = tensor(t[rows]), tensor(np.where(mask[rows], k[rows], 0))
    gaps, following = tensor(dt[rows, ats + 1]), tensor(k[rows, ats + 1])
    return times, types, tensor(ats + 1), gaps, following, (rows, ats)


def hold_against(core: Any, name: str, intensity: Callable[[Tensor], Tensor]) -> None:
    _, _, _, gaps, following, where = positions(core)
    grid = intensity(nodes(gaps, GRID))
    got = interval(intensity, gaps, following, GRID)

    close(grid[:, -1], core[f"{name}.lambda_at_event"][where])
    close(grid, core[f"{name}.lambda_grid"][where])
    close(got.event, core[f"{name}.event_ll"][where])
    close(got.compensator, core[f"{name}.nonevent_trapezoid"][where])
    if f"{name}.loss_trapezoid" in core:
        assert float((got.compensator - got.event).sum()) == pytest.approx(float(core[f"{name}.loss_trapezoid"]))


def test_nhp(core: Any) -> None:
    weights = {
        "emb": tensor(core["nhp.emb"]),
        "cell.weight": tensor(core["nhp.W_cell"]),
        "cell.bias": tensor(core["nhp.b_cell"]),
        "head.weight": tensor(core["nhp.W_int"]),
        "head.bias": tensor(core["nhp.b_int"]),
        "log_beta": tensor(core["nhp.log_beta"]),
    }
    t, dt, k = (tensor(core[f"batch.{name}"]) for name in ("t", "dt", "k"))
    state = CellState.zero(3, 8, dt)
    states = []
    for at in range(t.shape[1]):
        state = nhp.advance(weights, state, dt[:, at], k[:, at])
        states.append(state)
    mask = core["batch.mask"]
    close(torch.stack([torch.cat(one, dim=1) for one in states], dim=1)[mask], core["nhp.right_state"][mask])
    rows, ats = positions(core)[-1]
    after = CellState(*(torch.stack([one[part] for one in states], dim=1)[rows, ats] for part in range(4)))

    hold_against(core, "nhp", lambda ages: nhp.rates(weights, after.hidden(ages)))


def attentive_weights(core: Any, name: str) -> dict[str, Tensor]:
    weights = {"emb": tensor(core[f"{name}.w.layer_type_emb.weight"])}
    for key in core:
        if key.startswith(f"{name}.w.heads.") and "linears" in key:
            head, layer, _, _, which, kind = key.removeprefix(f"{name}.w.heads.").split(".")
            weights[f"{'qkv'[int(which)]}.{head}.{layer}.{kind}"] = tensor(core[key])
    weights["head.weight"] = tensor(core[f"{name}.w.inten_linear.weight"])
    weights["head.bias"] = tensor(core[f"{name}.w.inten_linear.bias"])
    sharpness = f"{name}.w.softplus.log_beta"
    weights["log_beta"] = tensor(core[sharpness]) if sharpness in core else torch.zeros(6, dtype=torch.float64)
    return weights


@pytest.mark.parametrize(("name", "heads"), [("attnhp_h1", 1), ("attnhp_h2indep", 2)])
def test_attentive(core: Any, name: str, heads: int) -> None:
    weights = attentive_weights(core, "attnhp_h1" if heads == 1 else "attnhp_h2chained")
    shape = AttentiveShape(width=8, time_width=6, layers=2, heads=heads)
    times, types, lengths, gaps, _, where = positions(core)
    encoded = attentive.encode(shape, weights, times, types, lengths, {})

    hold_against(core, name, lambda ages: nhp.rates(weights, attentive.hidden(shape, weights, encoded, ages)))
    if heads == 1:
        at_event = attentive.hidden(shape, weights, encoded, gaps[:, None])[:, 0]
        close(at_event, core["attnhp_h1.hidden_at_event"][where])


# Prompts


@pytest.mark.parametrize("name", ["pool_small", "pool_default"])
def test_each_history_gets_its_own_prompts(core: Any, name: str) -> None:
    keys, queries, prompts = (tensor(core[f"{name}.{part}"]) for part in ("keys", "query", "prompts"))
    wanted = core[f"{name}.instance.idx"]

    chosen = prompt_pool.choose(keys, queries, wanted.shape[1])

    np.testing.assert_array_equal(chosen.places.numpy(), wanted)
    close(chosen.similarity, np.take_along_axis(core[f"{name}.similarity"], wanted, axis=1))
    assert float(chosen.similarity.sum() / len(queries)) == pytest.approx(float(core[f"{name}.instance.sim_sum_mean"]))
    rows = prompt_pool.rows(prompts, chosen.places, tensor(core[f"{name}.est_time_emb"])[:, 0])
    close(rows, core[f"{name}.instance.prompted_tail"])
    for row in range(len(queries)):
        alone = prompt_pool.choose(keys, queries[row : row + 1], wanted.shape[1])
        assert torch.equal(alone.places[0], chosen.places[row])
        assert torch.equal(alone.similarity[0], chosen.similarity[row])


def test_prefix_attention_sees_all_prompts_and_no_later_event(core: Any) -> None:
    x = tensor(core["prefix.x"])
    weights = {
        f"{name}.0.0.{kind}": tensor(core[f"prefix.{short}{name}"])
        for name in "qkv"
        for kind, short in (("weight", "W"), ("bias", "b"))
    }
    query, time = x.mean(dim=1), tensor(core["prefix.est_time_emb"])[:, 0]
    sums, rows = [], []
    for pool in "kv":
        chosen = prompt_pool.choose(tensor(core[f"prefix.keys_{pool}"]), query, 2)
        np.testing.assert_array_equal(chosen.places.numpy(), core[f"prefix.idx_{pool}"])
        sums.append(chosen.similarity.sum() / len(x))
        rows.append(prompt_pool.rows(tensor(core[f"prefix.prompts_{pool}"]), chosen.places, time))
    assert float(sum(sums)) == pytest.approx(float(core["prefix.key_similarity_total"]))

    found = attentive.attend_events(weights, 0, 0, x, Prefix(*rows), causal=True)
    everything = attentive.attend_events(weights, 0, 0, x, Prefix(*rows), causal=False)

    close(found, core["prefix.out_causal_correct"])
    close(everything, core["prefix.out_nomask"])
    assert not np.allclose(found.numpy(), core["prefix.out_causal_as_published"])


@pytest.mark.parametrize("size", ["short", "long"])
@pytest.mark.parametrize("prompted", [True, False])
def test_the_prompted_model(core: Any, size: str, prompted: bool) -> None:
    name = "correct_fixed" if prompted else "noprompt"
    weights = attentive_weights(core, "full")
    shape = AttentiveShape(width=32, time_width=16, layers=2, heads=1)
    t, dt, k = (tensor(core[f"full.{size}.{part}"]) for part in ("t", "dt", "k"))
    events = len(t) - 1
    expected = attentive.embed_times(tensor(core[f"full.{size}.est_time"])[None], 16)
    prefixes = {}
    for layer in range(2):
        rows = []
        for pool in "kv":
            prompts = tensor(core[f"full.w.heads.0.{layer}.self_attn.prompt_pool_{pool}.type_prompt"])
            places = tensor(core[f"full.{size}.idx_{pool}{layer}"])[None]
            rows.append(prompt_pool.rows(prompts, places, expected).expand(events, -1, -1))
        prefixes[0, layer] = Prefix(*rows)
    lengths = torch.arange(1, events + 1)
    times, types = t[None].expand(events, -1), k[None].expand(events, -1)
    encoded = attentive.encode(shape, weights, times, types, lengths, prefixes if prompted else {})

    def intensity(ages: Tensor) -> Tensor:
        return nhp.rates(weights, attentive.hidden(shape, weights, encoded, ages))

    grid = intensity(nodes(dt[1:], GRID))
    close(grid[:, -1], core[f"full.{size}.{name}.lambda_at_event"])
    close(grid.sum(dim=2), core[f"full.{size}.{name}.lambda_grid_total"])
    if prompted:
        event = (grid[:, -1].gather(1, k[1:, None])[:, 0] + EPSILON).log()
        close(event, core[f"full.{size}.{name}.event_ll"])
        close(integral(grid.sum(dim=2), dt[1:]), core[f"full.{size}.{name}.nonevent_trapezoid"])
        at_event = attentive.hidden(shape, weights, encoded, dt[1:, None])[:, 0]
        close(at_event, core[f"full.{size}.{name}.hidden_at_event"])


def test_a_later_event_changes_no_earlier_intensity_and_padding_none_at_all(core: Any) -> None:
    weights = attentive_weights(core, "full")
    shape = AttentiveShape(width=32, time_width=16, layers=2, heads=1)
    t, k = tensor(core["full.long.t"]), tensor(core["full.long.k"])
    ages, lengths = torch.linspace(0, 1, 7, dtype=torch.float64)[None], torch.tensor([20])
    found = []
    for later in (k, (k + 1) % 6):
        types = torch.cat([k[:20], later[20:]])[None]
        encoded = attentive.encode(shape, weights, t[None], types, lengths, {})
        found.append(attentive.hidden(shape, weights, encoded, ages))
    short = attentive.encode(shape, weights, t[None, :20], k[None, :20], lengths, {})

    assert torch.equal(found[0], found[1])
    close(attentive.hidden(shape, weights, short, ages), found[0].numpy())
