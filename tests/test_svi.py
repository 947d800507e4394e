import copy
import math

import pytest
import torch
from pyro.infer import TraceMeanField_ELBO

from pyrocount import ArrivalTimes, SteinChen
from pyrocount.inference import NonFiniteLossError, anneal, cosine, train
from pyrocount.models import make_vae

DATA = torch.rand(50, 12, generator=torch.Generator().manual_seed(0))


def run(epochs=4, checkpoint=None, stop_after=None, relaxation=ArrivalTimes(0.1), **changes):
    """Trains a small VAE; returns it, its history and all checkpoints."""
    torch.manual_seed(5)
    vae = make_vae("negbio", (12,), latent_dim=4)
    vae.latent.relaxation = relaxation
    checkpoints = []

    def save(state):
        checkpoints.append(copy.deepcopy(state))
        if len(state["history"]) == stop_after:
            raise KeyboardInterrupt

    def schedule(progress):
        vae.kl_weight = anneal(1e-4, 1.0, progress)
        return {"kl_weight": vae.kl_weight}

    options = {
        "epochs": epochs,
        "batch_size": 16,
        "max_gradient_norm": 10.0,
        "anneal": schedule,
        "monitor": lambda: {"mean_rate": vae.encode(DATA).mean.mean().item()},
    } | changes
    elbo = TraceMeanField_ELBO()(vae.model, vae.guide)
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-2)
    history = []
    try:
        history = train(elbo, vae, optimizer, [DATA], save=save, checkpoint=checkpoint, **options)
    except KeyboardInterrupt:
        assert stop_after is not None
    return vae, history, checkpoints


@pytest.mark.parametrize("relaxation", [ArrivalTimes(0.1), SteinChen()], ids=repr)
def test_resuming_gives_the_numbers_of_an_uninterrupted_run(relaxation):
    whole, history, _ = run(relaxation=relaxation)
    for stop_after in (0, 1, 3):
        _, _, checkpoints = run(stop_after=stop_after, relaxation=relaxation)
        torch.rand(7)
        resumed, resumed_history, _ = run(checkpoint=checkpoints[-1], relaxation=relaxation)
        for name, value in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[name], value), name
        for row, other in zip(history, resumed_history, strict=True):
            assert row | {"step_ms": 0} == other | {"step_ms": 0}


def test_resuming_without_the_random_state_would_differ():
    whole, _, checkpoints = run()
    changed = checkpoints[1] | {"random_state": torch.Generator().manual_seed(123).get_state()}
    resumed, _, _ = run(checkpoint=changed)
    assert not torch.equal(resumed.latent.logits, whole.latent.logits)


def test_progress_starts_at_0_and_the_loss_is_a_mean_over_observations():
    seen, losses = [], []
    weight = torch.nn.Parameter(torch.zeros(()))
    module = torch.nn.ParameterList([weight])

    def elbo(batch):
        losses.append(weight.item())
        return (weight + 1) * len(batch)

    def progress(x):
        seen.append(x)
        return {}

    sgd = torch.optim.SGD(module.parameters(), lr=1.0)
    (row,) = train(
        elbo, module, sgd, [DATA], epochs=1, batch_size=16, max_gradient_norm=10.0, anneal=progress,
        monitor=lambda: {"mean_rate": 0.0}, save=lambda state: None,
    )  # fmt: skip
    assert seen == [0.0, 0.25, 0.5, 0.75]
    # A gradient of 1 a step, in the last of two observations as in the others of sixteen.
    assert -weight.item() == pytest.approx(sum(cosine(step / 4) for step in range(4)))
    expected = sum((loss + 1) * size for loss, size in zip(losses, (16, 16, 16, 2), strict=True)) / 50
    assert row["elbo"] == pytest.approx(-expected)


def test_history_has_a_row_an_epoch_and_the_objective_improves():
    _, history, checkpoints = run(epochs=30)
    assert [row["epoch"] for row in history] == list(range(1, 31))
    assert [row["step"] for row in history] == [4 * epoch for epoch in range(1, 31)]
    assert history[-1]["elbo"] > history[0]["elbo"] + 1
    assert history[-1]["kl_weight"] == 1
    assert len(checkpoints) == 31
    assert all(row["step_ms"] > 0 and row["mean_rate"] > 0 for row in history)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_stops_before_it_harms_the_weights(what):
    weight = torch.nn.Parameter(torch.ones(()))
    module = torch.nn.ParameterList([weight])
    calls, saved = [], []

    def elbo(batch):
        calls.append(len(batch))
        if len(calls) < 7:
            return weight * len(batch)
        # The derivative of a square root at 0 is infinite where its value is finite.
        return weight * math.nan if what == "loss" else (weight - weight.detach()).sqrt()

    with pytest.raises(NonFiniteLossError, match=r"step 7 \(epoch 2\): ") as caught:
        train(
            elbo, module, torch.optim.SGD(module.parameters(), lr=0.1), [DATA], epochs=5, batch_size=10,
            max_gradient_norm=1.0, anneal=lambda progress: {}, monitor=lambda: {"mean_rate": 0.0}, save=saved.append,
        )  # fmt: skip
    assert (caught.value.step, caught.value.epoch) == (7, 2)
    assert sum(calls[:5]) == len(DATA)
    assert weight.isfinite()
    assert len(saved[-1]["history"]) == 1


def test_gradients_are_clipped():
    """With plain SGD a step is at most the learning rate times the norm that is allowed."""
    weight = torch.nn.Parameter(torch.zeros(()))
    module = torch.nn.ParameterList([weight])
    history = train(
        lambda batch: -1e6 * weight * len(batch), module, torch.optim.SGD(module.parameters(), lr=1.0), [DATA],
        epochs=1, batch_size=50, max_gradient_norm=0.5, anneal=lambda progress: {}, monitor=lambda: {"mean_rate": 0.0},
        save=lambda state: None,
    )  # fmt: skip
    assert weight.item() == pytest.approx(0.5 * cosine(0.0))
    assert history[0]["gradient_norm"] == pytest.approx(1e6)


def test_progress_is_shown(capsys):
    run(epochs=2)
    shown = capsys.readouterr().err
    assert "elbo=" in shown
    assert "rate=" in shown
    assert "ms" in shown


def test_schedules():
    assert [anneal(1.0, 0.1, p) for p in (0, 0.25, 0.5, 1)] == pytest.approx([1, 0.55, 0.1, 0.1])
    assert [cosine(p, warmup=0.1, floor=0) for p in (0, 0.05, 0.1, 0.55, 1)] == pytest.approx([0, 0.5, 1, 0.5, 0])
    assert [cosine(p, warmup=1.0, floor=0) for p in (0, 0.5, 1)] == pytest.approx([0, 0.5, 1])
    assert anneal(1.0, 0.1, 0.0, over=0.0) == 0.1
