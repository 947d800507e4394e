"""Data with which some metrics are undefined: each command, suite, table and figure goes on without them."""

import numpy as np
import pytest

from pyrocount import compare, evaluate, fit

RNG = np.random.default_rng(0)
DATA = {
    "no spikes": np.zeros((40, 6)),
    "constant": np.full((40, 6), 3.0),
    "a silent and a constant channel": np.column_stack([RNG.poisson(2.0, (40, 3)), np.zeros(40), np.ones(40)]),
    "one channel": RNG.poisson(2.0, (40, 1)),
    "one test observation": RNG.poisson(2.0, (40, 4)),
}
MODELS = {
    "poisson": "--encoder lin --decoder lin",
    "iterative-poisson": "--train-steps 2 --test-steps 3",
}


# Compiling the iterative model takes most of its time.
@pytest.mark.parametrize(("data", "model"), [*((data, "poisson") for data in DATA), ("no spikes", "iterative-poisson")])
def test_degenerate_data(data, model, tmp_path, capsys):
    file = tmp_path / "counts.npz"
    np.savez(file, x=DATA[data].astype(np.float32), labels=np.arange(40) % 2)
    fraction = "0.025" if data == "one test observation" else "0.2"
    line = f"--model {model} --data {file} --likelihood poisson --epochs 1 --latent-dim 3 {MODELS[model]}"
    line += f" --test-fraction {fraction} --name run --out {tmp_path}"
    assert fit.main(line.split()) == 0
    run = str(tmp_path / "run")
    assert evaluate.main([run, "--samples", "10", "--checked", "5"]) == 0
    assert "stopped" not in capsys.readouterr().err
    assert compare.main([run, "--out", str(tmp_path / "comparison")]) == 0
