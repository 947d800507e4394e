"""Sweeps: tasks of a grid or a file, and the engines, each with real fits."""

import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from pyrocount import sweep
from pyrocount.errors import InputError
from pyrocount.sweeps import Place, grid, local, read_file, run_task, state, tasks_of

FAST = ["--model=poisson", "--epochs=2", "--latent-dim=3", "--encoder=lin", "--decoder=lin"]
GRID = ["--grid", "estimator=stein,exact", "--seeds=2"]
NAMES = [f"poisson-estimator={name}-seed={seed}" for name in ("stein", "exact") for seed in (0, 1)]


@pytest.fixture
def command(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = sweep.main([*map(str, arguments), "--out=runs"])
        captured = capfd.readouterr()
        return code, captured.out, captured.err.splitlines()

    return run


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """The runs of the grid, one after the other in this process."""
    out = tmp_path_factory.mktemp("serial")
    place = Place(str(out))
    fixed = {"model": "poisson", "epochs": 2, "latent_dim": 3, "encoder": "lin", "decoder": "lin"}
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
        ("--file missing.json", "--file: got missing.json, which cannot be read"),
        ("--name x", "error: unrecognized arguments: --name x"),
    ],
)
def test_bad_input_ends_in_one_line_before_anything_is_fitted(command, line, message):
    code, out, err = command(*line.split())
    assert (code, out, len(err)) == (2, "", 1)
    assert message in err[0]
    assert not Path("runs").exists()


def test_a_local_sweep_is_resumed_and_compared(command, serial, monkeypatch):
    """One fit is there, one has begun, and two are new; one more fails, and the others go on."""
    fitted = []
    monkeypatch.setattr("pyrocount.sweeps.task.fit", lambda config: fitted.append(config))
    Path("runs").mkdir()
    os.symlink(serial / NAMES[0], Path("runs") / NAMES[0])
    place = Place("runs")
    code, out, err = command(*FAST, *GRID, "--jobs=2", "--evaluate=sparsity", "--grid", "lr=.001,1e9")
    assert code == 1
    assert not fitted
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
    assert place


def test_a_local_sweep_has_the_results_of_a_loop(command, serial):
    code, _, err = command(*FAST, *GRID, "--jobs=2")
    assert code == 0, err
    assert results("runs") == results(serial)
    (Path("runs") / NAMES[0] / "summary.json").unlink()
    assert "3 finished, 1 to resume, 0 new" in command(*FAST, *GRID, "--jobs=1")[2][0]
    assert results("runs") == results(serial)
    code, _, err = command(*FAST, *GRID, "--epochs=3")
    assert code == 2
    assert "--out: got" in err[0]
    assert "which holds another run" in err[0]


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
        for _ in range(600):
            for holder in tmp_path.glob("runs/*/.holder"):
                number = re.search(r"process (\d+)", holder.read_text())
                if number and (holder.parent / "checkpoint.pt").is_file():
                    os.kill(int(number[1]), signal.SIGKILL)
                    killed.append(holder.parent.name)
                    return
            time.sleep(0.02)

    thread = threading.Thread(target=kill)
    thread.start()
    code, _, err = command(*FAST, *GRID, "--engine=ray", f"--address={cluster.address}")
    thread.join()
    assert code == 0, err
    assert killed
    assert results("runs") == results(serial)


def test_ray_that_is_not_there(command, monkeypatch):
    code, _, err = command(*FAST, "--engine=ray", "--address=127.0.0.1:1")
    assert code == 2
    assert "--address: got 127.0.0.1:1" in err[-1]
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    code, _, err = command(*FAST, "--engine=ray")
    assert code == 2
    assert 'pip install "pyrocount[ray]"' in err[-1]


def test_json_of_a_sweep(command):
    Path("sweep.json").write_text(json.dumps({"latent_dim": [2], "epochs": [1]}))
    code, _, err = command("--file=sweep.json", "--model=poisson", "--jobs=1")
    assert code == 0, err
    assert (Path("runs") / "poisson-latent_dim=2-epochs=1-seed=0" / "summary.json").is_file()
