"""The report of a recording: channels, latents, trials; which of them are off; and metrics of single channels."""

import json
import re

import numpy as np
import pytest

from pyrocount.compare import main as compare
from pyrocount.evaluate import main
from pyrocount.metrics.channels import by_label, residual_dispersion, selectivity

RNG = np.random.default_rng(1)
TRIALS, CHANNELS, ODD_CHANNEL, ODD_TRIAL = 240, 20, 7, 100
TARGETS = np.array(["east", "north", "south", "west"])


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Tuned Poisson counts, but for a channel that follows nothing and a trial in which the channels are shuffled."""
    rng = np.random.default_rng(0)
    target = rng.integers(4, size=TRIALS)
    preferred = rng.permutation(np.arange(CHANNELS) % 4)
    rates = np.exp(1.5 + 1.2 * (target[:, None] == preferred))
    x = rng.poisson(rates)
    x[:, ODD_CHANNEL] = rng.poisson(rng.gamma(0.3, 20.0, TRIALS))
    x[ODD_TRIAL] = rng.permutation(x[ODD_TRIAL]) * 2
    marks = np.zeros(TRIALS, int)
    marks[60:120] = 1
    folder = tmp_path_factory.mktemp("recording")
    np.save(folder / "split.npy", marks)
    names = [f"unit {channel}" for channel in range(CHANNELS)]
    np.savez(folder / "recording.npz", x=x, labels=TARGETS[target], channels=names)
    return folder, preferred


def test_a_stranger_finds_what_is_off(command, tmp_path, recording):
    folder, preferred = recording
    line = f"--data {folder / 'recording.npz'} --split {folder / 'split.npy'} --model poisson --likelihood poisson"
    code, _, err = command(f"{line} --latent-dim 4 --epochs 150 --name r", draw=True)
    assert code == 0
    assert not [text for text in err if text.startswith("warning")]
    run = tmp_path / "runs" / "r"
    assert main([str(run), "--samples", "50", "--checked", "30"]) == 0
    suites = json.loads((run / "evaluation.json").read_text())["suites"]
    assert "generation" not in suites
    found = suites["recording"]
    channels, latents, trials = (table["rows"] for table in found["tables"])
    assert channels[0][0] == f"unit {ODD_CHANNEL}"
    assert channels[0][-1] > 3
    given = {name: label for name, label, *_ in channels}
    right = [given[f"unit {channel}"] == TARGETS[preferred[channel]] for channel in range(CHANNELS)]
    assert sum(right) >= CHANNELS - 2
    assert trials[0][0] == str(ODD_TRIAL)
    assert len(latents) == 4
    assert max(row[3] for row in latents) > 0.5
    metrics = found["metrics"]
    assert metrics["bits_per_spike_of_hidden_channels"] > 0
    assert suites["representation"]["metrics"]["label_accuracy"] > 0.8
    report = (run / "report.html").read_text()
    for text in (
        "The worst trials",
        "unit 7",
        "Recorded counts, and counts predicted",
        "Tuning of latents and channels",
    ):
        assert text in report
    words = re.sub('base64,[^"]+', "", report)
    for text in ("FID", "fid", "5000 labels", "knn"):
        assert text not in words
    for name in ("raster", "tuning", "channel_fits", "loadings"):
        assert (run / "figures" / f"{name}.png").is_file()


def test_channels_by_name(command, tmp_path, recording, capsys):
    folder, _ = recording
    line = f"--data {folder / 'recording.npz'} --model poisson --likelihood poisson --latent-dim 3 --epochs 20 --name r"
    command(line)
    run = tmp_path / "runs" / "r"
    assert main([str(run), "--suite", "co-smoothing", "--held-out", "unit 3, unit 5"]) == 0
    (table,) = json.loads((run / "evaluation.json").read_text())["suites"]["co-smoothing"]["tables"]
    assert table["title"].startswith("Co-smoothing: 2 of 20 channels held out, 1 splits")
    capsys.readouterr()
    assert main([str(run), "--suite", "co-smoothing", "--held-out", "unit 3,unit x"]) == 0
    assert "--held-out: got unit x, expected some of the channels unit 0, unit 1" in capsys.readouterr().err


def test_sequences(command, tmp_path):
    """Trials of bins whose rates follow their condition and time, as a velocity does: the benchmark's metrics."""
    rng = np.random.default_rng(0)
    condition = np.arange(60) % 3
    phase = 2 * np.pi * (np.arange(8)[None, :, None] / 8 + condition[:, None, None] / 3 + np.arange(12) / 12)
    x = rng.poisson(np.exp(1.5 + np.cos(phase)))
    angle = phase[:, :, 0]
    velocity = np.stack([np.cos(angle), np.sin(angle)], -1)
    np.savez(tmp_path / "bins.npz", x=x, labels=condition, velocity=velocity)
    line = f"--data {tmp_path / 'bins.npz'} --model poisson --likelihood poisson --latent-dim 4 --epochs 40 --name r"
    assert command(line)[0] == 0
    run = tmp_path / "runs" / "r"
    assert main([str(run), "--suite", "co-smoothing"]) == 0
    metrics = json.loads((run / "evaluation.json").read_text())["suites"]["co-smoothing"]["metrics"]
    assert metrics["psth_r2"] > 0.5
    assert metrics["co_bps"] > 0.1
    assert metrics["fp_bps"] > 0.1
    assert metrics["velocity_r2"] > 0.5


def test_the_choice_of_the_number_of_latents(command, tmp_path, recording, capsys):
    folder, _ = recording
    for latents in (1, 3):
        line = f"--data {folder / 'recording.npz'} --model poisson --likelihood poisson --latent-dim {latents}"
        command(f"{line} --epochs 20 --name k{latents}")
    out = tmp_path / "comparison"
    assert compare([str(tmp_path / "runs"), "--metric", "bits_per_spike", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "bits_per_spike (99 %)" in lines[0]
    assert lines[1].startswith("poisson latent_dim=3")
    assert (out / "figures" / "latents.png").is_file()


def test_means_by_label_and_what_labels_explain():
    values, labels = np.array([[1.0, 5.0], [3.0, 5.0], [8.0, 5.0], [8.0, 5.0]]), np.array([4, 4, 9, 9])
    known, means = by_label(values, labels)
    assert known.tolist() == [4, 9]
    np.testing.assert_allclose(means, [[2, 5], [8, 5]])
    # Variance of the means 9, within 0.5 on average.
    np.testing.assert_allclose(selectivity(values, labels), [9 / 9.5, 0])
    _, rates = by_label(values, labels, np.array([1.0, 1.0, 2.0, 2.0]))
    np.testing.assert_allclose(rates, [[2, 5], [4, 2.5]])


def test_poisson_counts_have_a_dispersion_of_1():
    mean = RNG.uniform(1, 5, (5000, 3))
    found = residual_dispersion(RNG.poisson(mean).astype(float), mean)
    # The statistic of a count has a variance of 2 + 1 / mean, at most 3.
    np.testing.assert_allclose(found, 1, atol=5 * np.sqrt(3 / 5000))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (
            (40, 5),
            "",
            "table: whole numbers, but noise that is not of counts; spikes want --likelihood poisson",
        ),
        (
            (5, 40),
            "--likelihood poisson",
            "table: 5 observations of 40 features; if the rows of the array are",
        ),
    ],
)
def test_what_looks_wrong_is_told(command, tmp_path, shape, options, message):
    np.save(tmp_path / "table.npy", RNG.poisson(3.0, shape))
    code, _, err = command(f"--data {tmp_path / 'table.npy'} {options} --epochs 1")
    assert code == 0
    assert [text for text in err if text.startswith(f"warning: {message}")]
    np.save(tmp_path / "table.npy", RNG.random(shape))
    assert not [text for text in command(f"--data {tmp_path / 'table.npy'} --epochs 1")[2] if "warning: table" in text]
