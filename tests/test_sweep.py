"""Sweeps: tasks of a grid or a file, and the engines, each with real fits."""

import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from pyrocount import sweep
from pyrocount.errors import InputError
from pyrocount.run import Run
from pyrocount.sweeps import Place, grid, local, read_file, run_task, state, tasks_of
from pyrocount.sweeps.search import ranges
from pyrocount.sweeps.study import open_study

FAST = ["--model=poisson", "--epochs=4", "--latent-dim=3", "--encoder=lin", "--decoder=lin"]
SEARCH = ["--grid", "lr=log:1e-4:1e-1", "estimator=stein,straight-through"]
GRID = ["--grid", "estimator=stein,exact", "--seeds=2"]
NAMES = [f"poisson-estimator={name}-seed={seed}" for name in ("stein", "exact") for seed in (0, 1)]


@pytest.fixture
def command(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = sweep.main(["--out=runs", *map(str, arguments)])
        captured = capfd.readouterr()
        return code, captured.out, captured.err.splitlines()

    return run


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """The runs of the grid, one after the other in this process."""
    out = tmp_path_factory.mktemp("serial")
    place = Place(str(out))
    fixed = {"model": "poisson", "epochs": 4, "latent_dim": 3, "encoder": "lin", "decoder": "lin"}
    tasks = tasks_of(grid(["estimator=stein,exact"]), 2, fixed, str(out))
    assert [task.name for task in tasks] == NAMES
    assert [run_task(task, place).problem for task in tasks] == [None] * 4
    return out


def results(folder):
    return {name: (Path(folder) / name / "summary.json").read_text() for name in NAMES}


def test_all_combinations_and_seeds():
    combinations = grid(["latent-dim=4,8", "beta=.5,1", "learn-scale=true"])
    assert len(combinations) == 4
    assert combinations[1] == {"latent_dim": 4, "beta": 1.0, "learn_scale": True}
    tasks = tasks_of(combinations, 3, {"model": "negbio", "seed": 5}, "runs")
    assert len({task.name for task in tasks}) == 12
    assert [task.config.seed for task in tasks[:3]] == [5, 6, 7]
    assert tasks[0].name == "negbio-latent_dim=4-beta=0.5-learn_scale=True-seed=5"


def test_names_are_plain_and_distinct():
    tasks = tasks_of([{"data": f"/folder/{'x' * 300}{number}.npy"} for number in range(2)], 1, {}, "runs")
    assert tasks[0].name != tasks[1].name
    assert all(re.fullmatch(r"[\w=.+-]{1,140}", task.name) for task in tasks)


@pytest.mark.parametrize(
    ("suffix", "content", "expected"),
    [
        (".json", '[{"beta": 0.5}, {"latent-dim": 4}]', [{"beta": 0.5}, {"latent_dim": 4}]),
        (".json", '{"beta": [0.5, 1], "model": "poisson"}', [{"beta": b, "model": "poisson"} for b in (0.5, 1)]),
        (".yaml", "beta: [.5, 1]\nmodel: poisson\n", [{"beta": b, "model": "poisson"} for b in (0.5, 1)]),
    ],
)
def test_combinations_of_a_file(tmp_path, suffix, content, expected):
    path = tmp_path / f"sweep{suffix}"
    path.write_text(content)
    assert read_file(path) == expected


@pytest.mark.parametrize(("suffix", "content"), [(".json", "{"), (".json", "3"), (".json", "[]"), (".yaml", "a: [")])
def test_bad_files(tmp_path, suffix, content):
    path = tmp_path / f"sweep{suffix}"
    path.write_text(content)
    with pytest.raises(InputError, match="--file: got"):
        read_file(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--grid nothing=1", "--grid: got 'nothing=1', expected OPTION=VALUE,VALUE"),
        ("--grid beta", "--grid: got 'beta'"),
        ("--grid beta=x", "--grid: got beta=x, expected a number"),
        ("--grid beta=1 beta=2", "--grid: got beta twice"),
        ("--grid beta=1 --beta 2", "--grid: got beta, which is fixed too"),
        ("--grid seed=1,2", "--grid: got seed, which the sweep sets"),
        ("--grid beta=1,1.0", "--grid: got the combination negbio-beta=1.0-seed=0 twice"),
        ("--grid beta=-1", "--beta: got -1.0, expected"),
        ("--grid estimator=stein --temperature .5", "--temperature: got 0.5"),
        ("--seeds 0", "--seeds: got 0, expected a positive whole number"),
        ("--jobs 0", "--jobs: got 0, expected a positive whole number"),
        ("--cpus 2", "--cpus: got 2.0, expected --engine ray with it"),
        ("--engine ray --gpus -1", "--cpus: got 1 and --gpus -1"),
        ("--evaluate nothing", "--suite: got 'nothing'"),
        ("--metric nothing", "--metric: got nothing, expected one of nelbo,"),
        ("--metric sparsity.mean_rate", "--metric: got sparsity.mean_rate, expected --evaluate sparsity with it"),
        ("--search 3", "--grid: got nothing, expected ranges of options"),
        ("--search 0 --grid beta=.5:1", "--search: got 0, expected a positive whole number"),
        ("--search 3 --grid beta=.5:1 --seeds 2", "--seeds: got 2, expected 1 with --search"),
        ("--search 3 --grid beta=.5:1 --metric nll", "--metric: got nll, expected one that is followed"),
        ("--search 3 --grid beta=1:.5", "--grid: got 'beta=1:.5', expected bounds that rise"),
        ("--search 3 --grid beta=log:0:1", "expected bounds that rise, from above 0"),
        ("--search 3 --grid beta=0:1", "--beta: got 0.0, expected"),
        ("--search 3 --grid beta=1:2:3", "expected OPTION=LOW:HIGH"),
        ("--search 3 --grid beta=.5:1 --beta 1", "--grid: got beta, which is fixed too"),
        ("--search 3 --grid epochs=2:3", "--grid: got epochs, which fits of a search share"),
        ("--out memory://runs", "--out: got memory://runs, expected a folder of this machine, but for a grid"),
        ("--engine ray --out nothing://runs", "--out: got nothing://runs (Protocol not known: nothing), expected"),
        ("--search 3 --file sweep.json", "--file: got sweep.json, expected no --grid and no --search beside it"),
        ("--file missing.json", "--file: got missing.json, which cannot be read"),
        ("--name x", "error: unrecognized arguments: --name x"),
    ],
)
def test_bad_input_ends_in_one_line_before_anything_is_fitted(command, line, message):
    code, out, err = command(*line.split())
    assert (code, out, len(err)) == (2, "", 1)
    assert message in err[0]
    assert not Path("runs").exists()


def test_a_local_sweep_is_resumed_and_compared(command):
    """Half of the fits fail, and the others go on; nothing is done twice."""
    code, out, err = command(*FAST, *GRID, "--jobs=2", "--evaluate=sparsity", "--grid", "lr=.001,1e9")
    assert code == 1
    assert err[0].startswith("8 fits in ")
    failures = [line for line in err if line.startswith("pyrocount.sweep: failed: ")]
    assert {line.split()[2].split("-lr=")[1].split("-")[0] for line in failures} == {"1000000000.0"}
    assert all("not finite at step" in line for line in failures)
    assert "poisson estimator=exact" in out
    assert (Path("runs") / "comparison" / "comparison.csv").is_file()
    done = [path.parent for path in Path("runs").glob("*/evaluation.json")]
    assert len(done) == 4
    before = {path: path.stat().st_mtime_ns for path in Path("runs").glob("*/summary.json")}
    code, again, err = command(*FAST, *GRID, "--jobs=2", "--evaluate=sparsity", "--grid", "lr=.001")
    assert code == 0
    assert "4 finished, 0 to resume, 0 new" in err[0]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "poisson estimator=exact" in again
    metric = "--metric=sparsity.zero_fraction"
    code, again, _ = command(*FAST, *GRID, "--jobs=2", "--evaluate=sparsity", "--grid", "lr=.001", metric)
    assert code == 0
    assert re.search(r"^digits +runs +sparsity.zero_fraction \(99 %\)", again, re.MULTILINE)
    assert re.search(r"^sparsity +lifetime_sparsity", again, re.MULTILINE)
    assert "sparsity.zero\\_fraction" in (Path("runs") / "comparison" / "comparison.tex").read_text()


def test_a_local_sweep_has_the_results_of_a_loop(command, serial):
    code, _, err = command(*FAST, *GRID, "--jobs=2")
    assert code == 0, err
    assert results("runs") == results(serial)
    (Path("runs") / NAMES[0] / "summary.json").unlink()
    assert "3 finished, 1 to resume, 0 new" in command(*FAST, *GRID, "--jobs=1")[2][0]
    assert results("runs") == results(serial)
    code, _, err = command(*FAST, *GRID, "--epochs=5")
    assert code == 2
    assert "--out: got" in err[0]
    assert "which holds another run" in err[0]


def test_a_search_stops_the_worse_fits_and_goes_on_where_it_ended(command, monkeypatch):
    """An interrupted fit is the first to be taken up again; the best of all is named at the end."""
    optuna = pytest.importorskip("optuna")
    code, out, err = command(*FAST, *SEARCH, "--search=6", "--jobs=2", "--out=found")
    assert code == 0, err
    assert "6 of 6 fits left" in err[0]
    ended, stopped = (int(re.search(rf"(\d+) {kind}", out)[1]) for kind in ("fits to the end", "stopped early"))
    assert (ended + stopped, stopped > 0) == (6, True)
    study = open_study("found", 4, "nelbo", 0)
    finished = [path.parent.name for path in Path("found").glob("trial=*/summary.json")]
    assert len(finished) == ended
    assert f"best nelbo {study.best_value:.5g}: --lr {study.best_params['lr']}" in out
    assert study.best_value == min(Run(Path("found") / name).metrics["nelbo"] for name in finished)
    for trial in study.trials:
        assert 1e-4 <= trial.params["lr"] <= 0.1
        assert set(trial.intermediate_values) == set(range(1, 1 + len(trial.intermediate_values)))
        assert trial.state == (
            optuna.trial.TrialState.COMPLETE if len(trial.intermediate_values) == 4 else optuna.trial.TrialState.PRUNED
        )
    # A fit that was begun and never ended, as after a loss of power.
    left = study.ask({"lr": optuna.distributions.FloatDistribution(1e-4, 0.1, log=True)} | _categories(optuna))
    code, out, err = command(*FAST, *SEARCH, "--search=8", "--jobs=1", "--out=found")
    assert code == 0, err
    assert "2 of 8 fits left" in err[0]
    assert open_study("found", 4, "nelbo", 0).trials[left.number].state.is_finished()
    assert "0 of 8 fits left" in command(*FAST, *SEARCH, "--search=8", "--out=found")[2][0]
    code, _, err = command(*FAST, *SEARCH, "--search=8", "--out=found", "--beta=.5")
    assert code == 2
    assert "which holds a search with other options" in err[-1]
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, err = command(*FAST, *SEARCH, "--search=8", "--out=found")
    assert code == 2
    assert 'pip install "pyrocount[search]"' in err[-1]


def _categories(optuna):
    return {"estimator": optuna.distributions.CategoricalDistribution(("stein", "straight-through"))}


def test_ranges():
    found = ranges(
        ["lr=log:1e-4:1e-1", "latent-dim=4:32", "beta=.5:2", "estimator=stein,exact", "learn-scale=true,false"]
    )
    kinds = [type(each.distribution()).__name__ for each in found]
    assert kinds == ["FloatDistribution", "IntDistribution", "FloatDistribution", *["CategoricalDistribution"] * 2]
    assert [each.ends for each in found][1:] == [(4, 32), (0.5, 2.0), ("stein", "exact"), (True, False)]
    assert [each.log for each in found] == [True, False, False, False, False]


def test_a_fit_that_takes_its_process_down_is_left_out(tmp_path, monkeypatch):
    """Others that ran at the time begin anew from their checkpoints."""
    tasks = tasks_of([{"latent_dim": size} for size in (2, 3, 4)], 1, {"model": "poisson", "epochs": 1}, str(tmp_path))
    place = Place(str(tmp_path))
    monkeypatch.setattr(local, "_marked", _dying)
    outcomes = []
    local.run_locally(tasks, place, 1, outcomes.append)
    found = {outcome.name: outcome.problem for outcome in outcomes}
    assert found.keys() == {task.name for task in tasks}
    assert found.pop(tasks[1].name) == "its process died, perhaps for lack of memory"
    assert set(found.values()) == {None}
    assert [state(task, place) for task in tasks] == ["finished", "new", "finished"]
    assert not list(tmp_path.glob("logs/*.running"))


def _dying(task, place):
    if task.options["latent_dim"] == 3:
        local._mark(task, place).parent.mkdir(exist_ok=True)
        local._mark(task, place).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return local.run_task(task, place)


@pytest.fixture
def cluster(monkeypatch):
    """A cluster of two nodes on this machine, each with one processor."""
    ray = pytest.importorskip("ray")
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # Ray would take the machine's address in a network for 127.0.0.1.
    monkeypatch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)
    started = cluster_utils.Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False},
    )
    started.add_node(num_cpus=1, node_ip_address="127.0.0.1")
    yield started
    ray.shutdown()
    started.shutdown()


# Ray forks to start its programs; JAX, which other tests imported, warns of any fork.
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_sweep_on_a_cluster_of_ray_survives_a_killed_worker(command, serial, cluster, tmp_path):
    killed = []

    def kill():
        """Kills the process that writes the first run, as soon as it has a checkpoint."""
        for _ in range(20_000):
            for holder in tmp_path.glob("runs/*/.holder"):
                number = re.search(r"process (\d+)", holder.read_text())
                if number and (holder.parent / "checkpoint.pt").is_file():
                    os.kill(int(number[1]), signal.SIGKILL)
                    killed.append(holder.parent.name)
                    return
            time.sleep(0.002)

    thread = threading.Thread(target=kill)
    thread.start()
    code, _, err = command(*FAST, *GRID, "--engine=ray", f"--address={cluster.address}")
    thread.join()
    assert code == 0, err
    assert killed
    assert results("runs") == results(serial)
    code, out, err = command(
        *FAST, *SEARCH, "--search=3", "--engine=ray", f"--address={cluster.address}", "--out=found"
    )
    assert code == 0, err
    assert sum(map(int, re.findall(r"(\d+) (?:fits to the end|stopped early)", out))) == 3
    # In a remote folder, of which the workers know by its address alone.
    url = f"file://{tmp_path}/store"
    remote = [*FAST, "--grid", "estimator=stein,exact", "--engine=ray", f"--address={cluster.address}", f"--out={url}"]
    code, out, err = command(*remote)
    assert code == 0, err
    assert f"{url}/comparison" in out
    stored = tmp_path / "store"
    for name in (NAMES[0], NAMES[2]):
        assert (stored / name / "summary.json").read_text() == (serial / name / "summary.json").read_text()
        assert (stored / "logs" / f"{name}.txt").is_file()
    assert (stored / "comparison" / "figures" / "comparison.png").is_file()
    (stored / NAMES[0] / "summary.json").unlink()
    assert "1 finished, 1 to resume, 0 new" in command(*remote)[2][0]
    assert (stored / NAMES[0] / "summary.json").read_text() == (serial / NAMES[0] / "summary.json").read_text()
    assert not list(stored.rglob("*.part"))


def test_ray_that_is_not_there(command, monkeypatch):
    code, _, err = command(*FAST, "--engine=ray", "--address=127.0.0.1:1")
    assert code == 2
    assert "--address: got 127.0.0.1:1" in err[-1]
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = command(*FAST, "--engine=ray")
    assert code == 2
    assert 'pip install "pyrocount[ray]"' in err[-1]


def test_json_of_a_sweep(command):
    Path("sweep.json").write_text(json.dumps({"latent_dim": [2], "epochs": [1]}))
    code, _, err = command("--file=sweep.json", "--model=poisson", "--jobs=1")
    assert code == 0, err
    assert (Path("runs") / "poisson-latent_dim=2-epochs=1-seed=0" / "summary.json").is_file()
