"""Co-smoothing: predictions of channels that a code has not seen, by models and by simple codes."""

import json

import numpy as np
import pytest

from pyrocount.evaluate import main
from pyrocount.metrics.co_smoothing import BASELINES, co_smoothing, gain, held_out_channels, predicted_rates
from pyrocount.run import load

RNG = np.random.default_rng(1)
CHANNELS, N = 24, 300


@pytest.fixture(scope="module")
def recording():
    """Counts whose rates two latents modulate, the latents, and a label that they carry."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(N, 2))
    rates = np.exp(rng.normal(1.0, 0.4, CHANNELS) + z @ rng.normal(0, 0.4, (2, CHANNELS)))
    return z, rates, rng.poisson(rates).astype(np.float32), (z[:, 0] > 0).astype(int)


def test_the_channels_that_are_held_out():
    parts = [held_out_channels(40, 0.25, seed) for seed in range(3)]
    assert all(len(set(part)) == 10 and part.max() < 40 for part in parts)
    assert set(parts[0]) != set(parts[1])
    np.testing.assert_array_equal(parts[0], held_out_channels(40, 0.25, 0))
    assert [len(held_out_channels(3, part, 0)) for part in (0.01, 0.99)] == [1, 2]


def test_a_regression_finds_rates_that_are_exponential_in_the_codes(recording):
    z, rates, x, _ = recording
    found = predicted_rates(z[:200], x[:200], z[200:])
    # Three coefficients a channel, each known to 1 / sqrt(spikes of 200 observations).
    np.testing.assert_allclose(np.log(found), np.log(rates[200:]), atol=5 * 3 / np.sqrt(x[:200].sum(0).min()))
    exposure = RNG.uniform(0.5, 2, N)
    counts = RNG.poisson(rates * exposure[:, None]).astype(float)
    windowed = predicted_rates(z[:200], counts[:200], z[200:], train_exposure=exposure[:200])
    np.testing.assert_allclose(np.log(windowed), np.log(rates[200:]), atol=5 * 3 / np.sqrt(counts[:200].sum(0).min()))


def test_gains_by_hand_and_of_codes_without_information(recording):
    z, rates, x, _ = recording
    counts = np.array([[1.0], [3.0]])
    wanted = (np.log(1 / 2) + 3 * np.log(3 / 2)) / (4 * np.log(2))
    assert gain(counts, np.array([[1.0], [3.0]]), np.array([2.0])) == pytest.approx(wanted)
    best = gain(x[200:], rates[200:], x[:200].mean(0))
    known = co_smoothing(z[:200], x[:200], z[200:], x[200:])
    noise = RNG.normal(size=(N, 2))
    unknown = co_smoothing(noise[:200], x[:200], noise[200:], x[200:])
    assert 0.9 * best < known <= best
    assert abs(unknown) < 0.05 * best


@pytest.mark.parametrize("name", BASELINES)
def test_simple_codes_predict_the_rest(recording, name):
    _, rates, x, _ = recording
    codes = BASELINES[name](x[:200, :18], x[200:, :18], 2, 0)
    assert [code.shape for code in codes] == [(200, 2), (100, 2)]
    best = gain(x[200:, 18:], rates[200:, 18:], x[:200, 18:].mean(0))
    assert co_smoothing(codes[0], x[:200, 18:], codes[1], x[200:, 18:]) > 0.4 * best


def test_a_silent_channel(recording):
    z, _, x, _ = recording
    silent = np.zeros_like(x[:, :1])
    rates = predicted_rates(z[:200], np.hstack([x[:200, :1], silent[:200]]), z[200:])
    assert (rates[:, 1] > 0).all()
    assert rates[:, 1].max() < 0.01


def test_latents_that_repeat_each_other():
    """In single precision the regression would warn of a Hessian that is singular to rounding."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(600, 32)).astype(np.float32)
    z[:, 16:] = z[:, :16] * (1 + 1e-6) + 1e-6 * rng.normal(size=(600, 16))
    x = rng.poisson(np.exp(3 * z[:, :3]))
    assert co_smoothing(z[:400], x[:400], z[400:], x[400:], seed=0) > 4


@pytest.mark.parametrize(
    "line",
    [
        "poisson --encoder lin --decoder lin --input-dropout 0.25",
        "iterative-poisson --train-steps 8 --test-steps 8 --leak 1",
    ],
)
def test_the_suite(command, tmp_path, capsys, recording, line):
    _, _, x, labels = recording
    np.savez(tmp_path / "recording.npz", x=x, labels=labels)
    options = f"--data {tmp_path / 'recording.npz'} --likelihood poisson --latent-dim 2 --epochs 30 --lr 0.01 --name r"
    assert command(f"--model {line} {options} --batch-size 16")[0] == 0
    run = tmp_path / "runs" / "r"
    assert main([str(run), "--suite", "co-smoothing", "--held-out", "0.3"]) == 0
    assert "co_smoothing_over_factor_analysis" in capsys.readouterr().out
    (table,) = json.loads((run / "evaluation.json").read_text())["suites"]["co-smoothing"]["tables"]
    assert table["title"].startswith("Co-smoothing: 7 of 24 channels held out, 5 splits, K = 2")
    rows = {name: values for name, *values in table["rows"]}
    assert list(rows) == ["this model", "factor analysis", "Poisson NMF", "this model, its own decoder"]
    own, low, high, accuracy = rows["this model"]
    assert low < own < high
    assert own > 0.7 * rows["factor analysis"][0] > 0
    assert rows["this model, its own decoder"][0] > 0
    assert accuracy > 0.75
    assert "Poisson NMF" in (run / "report.html").read_text()


def test_hidden_channels_do_not_reach_the_code(command, tmp_path, recording):
    """Neither that of an encoder nor that of iterative inference, whose likelihood leaves them out."""
    x = recording[2]
    np.save(tmp_path / "recording.npy", x)
    options = f"--data {tmp_path / 'recording.npy'} --likelihood poisson --latent-dim 2 --epochs 2"
    for model in ("poisson", "iterative-poisson --train-steps 4 --test-steps 8"):
        command(f"--model {model} {options} --name {model.split()[0]}")
        backend = load(tmp_path / "runs" / model.split()[0]).backend
        gaps = x[:20].copy()
        gaps[:, 5:9] = np.nan
        code = backend.code(gaps)
        assert np.isfinite(code).all()
        assert not np.allclose(code, backend.code(x[:20]))
        means = backend.predictions(gaps)
        assert means.shape == (20, CHANNELS)
        assert np.isfinite(means).all()


def test_what_is_refused(command, tmp_path, capsys):
    command("--epochs 1 --name digits")
    run = str(tmp_path / "runs" / "digits")
    assert main([run, "--suite", "co-smoothing", "--held-out", "1"]) == 2
    assert "--held-out: got 1.0, expected a number between 0 and 1, or names of channels" in capsys.readouterr().err
    assert main([run, "--suite", "co-smoothing"]) == 0
    assert (
        "data: got digits, observations of real values of shape (1, 8, 8), expected a recording of"
        in capsys.readouterr().err
    )
