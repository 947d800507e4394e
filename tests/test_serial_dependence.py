"""What the input before leaves in the state of iterative inference."""

from itertools import permutations

import numpy as np
import pytest
import torch

from pyrocount.backends import as_backend
from pyrocount.data import load_dataset
from pyrocount.data.dataset import from_array
from pyrocount.errors import InputError
from pyrocount.metrics.serial_dependence import carried_over, label_attraction, shuffled_orders
from pyrocount.models import make_vae
from pyrocount.suites import SUITES

from cases import within
from contexts import context_of

pytest.importorskip("jax")
from pyrocount.backends.iterative_model import make_iterative, with_parameters

suite = SUITES["serial-dependence"]
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("part", [0.0, 0.3, -0.2])
def test_the_part_that_is_left_is_found(part):
    previous = RNG.normal(size=(4000, 3)) + 5
    # What every previous input does alike, and noise, are no dependence.
    changes = part * (previous - 5) + np.array([1.0, -2.0, 0.5]) + RNG.normal(size=(4000, 3))
    assert within(carried_over(changes, previous), part)


def test_orders_are_shuffled_about_zero():
    changes, previous = RNG.normal(size=(5, 3)) + 1, RNG.normal(size=(5, 3))
    every = [carried_over(changes, previous[list(order)]).mean() for order in permutations(range(5))]
    assert np.mean(every) == pytest.approx(0, abs=1e-12)
    drawn = shuffled_orders(changes, previous, RNG, repeats=4000)
    assert within(drawn, 0.0)
    assert set(drawn.round(9).tolist()) <= set(np.round(every, 9).tolist())


def test_the_attraction_is_over_all_orders():
    labels, previous, current = 3, np.array([0, 1, 2, 0, 1]), np.array([1, 0, 0, 0, 2])
    changes = RNG.normal(size=(5, labels))
    for row, found in enumerate(label_attraction(changes, previous, current)):
        if previous[row] == current[row]:
            assert np.isnan(found)
            continue
        # Whatever input of another label comes before in an order.
        others = [changes[row, label] for label in previous if label != current[row]]
        assert found == pytest.approx(changes[row, previous[row]] - np.mean(others))


def test_what_all_previous_inputs_do_is_no_attraction():
    """Evidence that rises for a label, and by the current label, whatever came before."""
    previous, current = RNG.choice(4, 4000, p=[0.5, 0.3, 0.1, 0.1]), RNG.integers(0, 4, 4000)
    changes = RNG.normal(size=(4, 4))[current] + np.array([3.0, 0.0, -1.0, 0.5]) + RNG.normal(size=(4000, 4))
    different = previous != current
    assert within(label_attraction(changes, previous, current)[different], 0.0)
    drawn = changes + 0.4 * np.eye(4)[previous]
    found = label_attraction(drawn, previous, current)[different]
    # An attraction shows less its own part among the expected.
    assert 0.1 < found.mean() < 0.4


def responsive(leak):
    """An untrained model of digits whose latents are strongly driven."""
    torch.manual_seed(0)
    iterative = make_iterative("iterative-poisson", (1, 8, 8), latent_dim=12, leak=leak, step_size=0.3)
    (name,) = [name for name in iterative.parameters if name.startswith("decoder") and name.endswith("weight")]
    return with_parameters(iterative, {name: 15 * iterative.parameters[name]})


def test_a_course_carries_the_state_over():
    iterative = responsive(None)
    backend = as_backend(iterative, steps=4)
    frames = RNG.normal(size=(2, 5, 1, 8, 8)).astype(np.float32)
    course = backend.course(frames, steps=4, seed=3)
    assert course.code.shape == course.rate.shape == course.z.shape == (8, 5, 12)
    log_rate = np.asarray(iterative.parameters["prior.log_rate"])
    np.testing.assert_allclose(np.log(course.rate), course.code + log_rate, rtol=1e-4, atol=1e-5)
    alone = backend.course(frames[:1], steps=4, seed=3)
    np.testing.assert_allclose(course.code[:4], alone.code, rtol=1e-4, atol=1e-5)
    # From the state of the first frame a step moves less than its limit.
    step = np.abs(course.code[4] - course.code[3]).max()
    assert step < np.abs(course.code[4]).max()
    with pytest.raises(InputError, match="RUN: got a model that infers without steps"):
        as_backend(make_vae("poisson", (1, 8, 8), latent_dim=3)).course(frames, steps=2)


@pytest.mark.parametrize("leak", [None, 1.0])
def test_online_inference_remembers_and_a_leak_forgets(leak, monkeypatch):
    for name, value in {"STEPS": 20, "DECODED": (1, 20), "SEQUENCES": 80, "PROBED": 160}.items():
        monkeypatch.setitem(suite.__globals__, name, value)
    backend = as_backend(responsive(leak), steps=20)
    result = suite(context_of(backend, load_dataset("digits", seed=0)))
    assert not result.remarks
    metrics = result.metrics
    end = metrics["carried_over_after_20_steps"]
    assert metrics["carried_over_after_1_step"].low > 0
    if leak is None:
        assert end.low > metrics["carried_over_by_chance"]
        assert metrics["label_attraction"].low > 0
    else:
        assert end.low < metrics["carried_over_by_chance"]
        assert end.mean < 0.5 * metrics["carried_over_after_1_step"].mean
    assert set(result.figures) == {"serial_dependence"}
    assert [row[0] for row in result.tables[0].rows] == [1, 20]


def test_what_has_no_sequence_is_a_remark():
    x = RNG.normal(size=(12, 1, 8, 8)).astype(np.float32)
    vae = as_backend(make_vae("poisson", (1, 8, 8), latent_dim=3).eval())
    (remark,) = suite(context_of(vae, from_array(x, scaling="none"))).remarks
    assert remark.startswith("serial dependence: RUN: got a model that infers without steps")
    windows = from_array(x, scaling="none", exposure=np.ones(12, np.float32))
    (remark,) = suite(context_of(as_backend(responsive(None)), windows)).remarks
    assert "with lengths of windows" in remark
