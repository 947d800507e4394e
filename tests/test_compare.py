import csv
import json

import numpy as np
import pytest
from scipy import stats

from pyrocount.compare import main
from pyrocount.config import Config
from pyrocount.figures import relations
from pyrocount.sweeps.comparison import compare, read_runs
from pyrocount.sweeps.tables import curves, table

# Test NELBOs of three configurations over four seeds.
NELBO = {
    "stein": [200.0, 204.0, 201.0, 199.0],
    "arrival": [201.0, 205.5, 201.8, 200.4],
    "straight-through": [230.0, 229.0, 233.0, 231.0],
}


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    for estimator, values in NELBO.items():
        for seed, nelbo in enumerate(values):
            config = Config(model="poisson", estimator=estimator, seed=seed, out=str(folder))
            write(folder / f"{estimator}-{seed}", config, {"nelbo": nelbo, "r2": 1 - nelbo / 300, "kl": 7.0})
    return folder


def write(run, config, metrics):
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps(config.options))
    if metrics:
        (run / "summary.json").write_text(json.dumps(metrics))


@pytest.fixture
def command(tmp_path, capsys):
    def run(*arguments):
        code = main([*map(str, arguments), "--out", str(tmp_path / "comparison")])
        captured = capsys.readouterr()
        return code, captured.out, captured.err.splitlines()

    return run


def test_means_intervals_and_paired_tests(runs):
    rows = compare(read_runs([runs]))
    assert [row.label for row in rows] == [f"poisson estimator={name}" for name in NELBO]
    assert {row.seeds for row in rows} == {4}
    for row, values in zip(rows, NELBO.values(), strict=True):
        interval = stats.t.interval(0.99, 3, np.mean(values), stats.sem(values))
        assert row.mean["nelbo"] - row.margin["nelbo"] == pytest.approx(interval[0])
        assert row.mean["nelbo"] + row.margin["nelbo"] == pytest.approx(interval[1])
        assert row.drop == pytest.approx(100 * (np.mean(values) - 201) / 201)
        assert row.margin["kl"] == 0
    best, *others = NELBO.values()
    p = stats.false_discovery_control([stats.ttest_rel(values, best).pvalue for values in others])
    assert [row.p for row in rows[1:]] == pytest.approx(p.tolist())
    assert np.isnan(rows[0].p)
    # Pairs tell apart what the intervals do not.
    assert rows[1].p < 0.05
    assert rows[1].mean["nelbo"] - rows[1].margin["nelbo"] < rows[0].mean["nelbo"]


def test_more_is_better_for_r2(runs):
    rows = compare(read_runs([runs]), "r2")
    assert [row.label for row in rows] == [f"poisson estimator={name}" for name in NELBO]
    assert rows[2].drop > rows[1].drop > rows[0].drop == 0


def test_single_runs_have_no_interval_and_no_test(runs):
    rows = compare(read_runs([runs / "stein-0", runs / "arrival-1"]))
    assert [row.seeds for row in rows] == [1, 1]
    assert np.isnan([row.margin["nelbo"] for row in rows] + [row.p for row in rows]).all()
    assert "nan" not in table(rows, "nelbo")


def test_equal_runs_do_not_differ(tmp_path):
    for estimator in ("stein", "arrival"):
        for seed in range(2):
            config = Config(estimator=estimator, seed=seed)
            write(tmp_path / f"{estimator}{seed}", config, {"nelbo": 5.0 + seed})
    assert compare(read_runs([tmp_path]))[1].p == 1


def test_data_sets_and_scalings_are_compared_apart(tmp_path):
    for name, changes in {"a": {}, "b": {"data": "mnist"}, "c": {"scaling": "unit"}}.items():
        write(tmp_path / name, Config(**changes), {"nelbo": float(len(name))})
    rows = compare(read_runs([tmp_path]))
    assert {row.data for row in rows} == {"digits scaling=standard", "mnist scaling=unit", "digits scaling=unit"}
    assert [row.drop for row in rows] == [0, 0, 0]


def test_sources_of_patches_and_files_of_one_name_are_kept_apart(tmp_path):
    for number, changes in enumerate(
        [{"data": "patches", "data_dir": "one"}, {"data": "patches", "data_dir": "two"}]
        + [{"data": f"{folder}/x.npz"} for folder in "ab"]
    ):
        write(tmp_path / str(number), Config(**changes, seed=number), {"nelbo": 1.0 + number})
    rows = compare(read_runs([tmp_path, tmp_path / "0"]))
    assert [row.seeds for row in rows] == [1, 1, 1, 1]
    assert len({row.data for row in rows}) == 4


def test_the_command_prints_and_saves(runs, command, tmp_path):
    write(runs / "unfinished", Config(), None)
    code, out, err = command(runs)
    assert code == 0
    assert err == [f"pyrocount.compare: {runs / 'unfinished'} is not finished and left out"]
    lines = out.splitlines()
    assert lines[0].split()[:4] == ["digits", "runs", "nelbo", "(99"]
    assert lines[3].split()[:3] == ["poisson", "estimator=straight-through", "4"]
    folder = tmp_path / "comparison"
    assert lines[-1] == str(folder)
    with (folder / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["nelbo"]) for row in rows] == [np.mean(values) for values in NELBO.values()]
    assert (folder / "figures" / "comparison.png").stat().st_size > 5000
    assert command(runs / "stein-0", runs / "stein-1")[1].splitlines()[-1] == str(folder) + "-2"


@pytest.fixture
def betas(tmp_path):
    """Runs of two models at three weights of the divergence, two seeds each."""
    for model in ("poisson", "gaussian"):
        for beta in (0.5, 1.0, 2.0):
            for seed in range(2):
                found = {"nelbo": 50 + beta, "kl": 9 / beta + seed, "mse": 0.1 * beta, "r2": 1 - 0.1 * beta}
                if model == "poisson":
                    found |= {"zero_fraction": 0.5 + beta / 10}
                config = Config(model=model, beta=beta, seed=seed)
                write(tmp_path / "betas" / f"{model}-{beta}-{seed}", config, found)
    return tmp_path / "betas"


def test_what_is_drawn_over_beta(betas, command, tmp_path):
    rows = compare(read_runs([betas]))
    found = curves(rows, "beta")
    assert set(found) == {"poisson estimator=stein", "gaussian estimator=pathwise"}
    points = found["poisson estimator=stein"]
    assert [point["beta"][0] for point in points] == [0.5, 1, 2]
    assert [point["kl"][0] for point in points] == [18.5, 9.5, 5]
    # Of two values that differ by 1, half of the 99 % interval is 63.66 times half of their difference.
    assert points[0]["kl"][1] == pytest.approx(63.66 / 2, rel=1e-3)
    assert curves(rows, "latent_dim") == {}
    assert command(betas, "--plot", "mse,r2", "--plot", "latent_dim,kl")[0] == 0
    drawn = {path.stem for path in (tmp_path / "comparison" / "figures").iterdir()}
    assert drawn == {"comparison", "beta", "rate_distortion", "r2_over_mse", "kl_over_latent_dim"}


def test_relations_show_means_intervals_and_the_option():
    rate = [{"beta": (beta, np.nan), "kl": (9 / beta, 1.0), "mse": (beta, np.nan)} for beta in (0.5, 1.0, 2.0)]
    pairs = [("kl", "mse"), ("beta", "zero_fraction"), ("beta", "kl")]
    figure = relations({"one": rate, "two": rate[:2]}, pairs, ["beta"], "beta")
    first, empty, last = figure.axes
    np.testing.assert_allclose(first.lines[-1].get_xydata(), [[18, 0.5], [9, 1]])
    assert [text.get_text() for text in first.texts] == ["0.5", "1", "2", "0.5", "1"]
    assert first.get_xlim() == pytest.approx((4.5 - 13.5 / 4, 18 + 13.5 / 4))
    # What no run has is left out.
    assert not empty.lines
    assert (last.get_xscale(), [label.get_text() for label in last.get_xticklabels()]) == ("log", ["0.5", "1", "2"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "two"]


def test_bad_input_ends_in_one_line(runs, command, tmp_path):
    write(runs / "unfinished", Config(), None)
    (tmp_path / "empty").mkdir()
    write(tmp_path / "again" / "stein-0", Config(model="poisson", estimator="stein"), {"nelbo": 1.0})
    write(tmp_path / "bare" / "run", Config(), {"nelbo": None})
    write(tmp_path / "odd" / "run", Config(), {"nelbo": 1.0})
    (tmp_path / "odd" / "run" / "config.json").write_text("{}}")
    write(tmp_path / "words" / "run", Config(), {"nelbo": "good"})
    for arguments, message in [
        ([], "the following arguments are required: RUN"),
        ([runs / "stein-0", "--metric", "beauty"], "got beauty, which stein-0 lacks, expected one of kl, nelbo, r2"),
        ([tmp_path / "none"], "RUN: got"),
        ([tmp_path / "empty"], "expected a run folder, or a folder of run folders"),
        ([runs / "unfinished"], "which is not finished, expected a run with a summary.json"),
        (
            [runs / "stein-0", tmp_path / "again"],
            "stein-0 and stein-0, of one configuration and seed, expected one run",
        ),
        ([runs / "stein-0", "--plot", "kl"], "--plot: got 'kl', expected two names with a comma between"),
        ([runs / "stein-0", "--plot", "kl,beta,r2"], "--plot: got 'kl,beta,r2', expected two names"),
        ([runs / "stein-0", "--plot", "kl,beta"], "--plot: got beta, expected one of kl, nelbo, r2"),
        (
            [runs / "stein-0", "--plot", "beauty,kl"],
            "--plot: got beauty, expected one of beta, kl, latent_dim, nelbo, r2",
        ),
        ([tmp_path / "bare"], "--metric: got nelbo, which run lacks"),
        ([tmp_path / "odd"], "whose config.json cannot be read"),
        ([tmp_path / "words"], "whose summary.json holds more than numbers"),
    ]:
        code, out, err = command(*arguments)
        assert (code, out, len(err)) == (2, "", 1), arguments
        assert message in err[0]
    assert not (tmp_path / "comparison").exists()


def test_metrics_of_suites_are_compared(runs, command, tmp_path):
    """Those of an evaluation have the name of their suite; a mean with an interval counts by its mean."""
    for number, run in enumerate(sorted(runs.iterdir())):
        interval = {"mean": 0.5 + 0.01 * number, "low": 0.4, "high": 0.7}
        suites = {"representation": {"metrics": {"knn_1_shot": interval, "shattering": None}, "checks": []}}
        (run / "evaluation.json").write_text(json.dumps({"version": 2, "suites": suites}))
    code, out, _ = command(runs, "--metric", "representation.knn_1_shot")
    assert code == 0
    lines = out.splitlines()
    # More is better; the last runs by name are those of straight-through gradients.
    assert [line.split("=")[1].split()[0] for line in lines[1:4]] == ["straight-through", "stein", "arrival"]
    assert "representation.knn_1_shot (99 %)" in lines[0]
    assert lines[5].split() == ["representation", "knn_1_shot", "shattering"]
    with (tmp_path / "comparison" / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["representation.knn_1_shot"]) == pytest.approx(0.595)
    assert rows[0]["representation.shattering"] == "nan"
    latex = (tmp_path / "comparison" / "comparison.tex").read_text()
    assert latex.count(r"\\") == 4
    assert r"representation.knn\_1\_shot & nelbo & r2" in latex
    assert r"$0.595 \pm 0.038$" in latex
