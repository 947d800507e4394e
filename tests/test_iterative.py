"""Iterative models: training through their inference, exchange with Pyro, devices."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pyrocount.backends.conversion import encoded_potentials, from_pyro, to_pyro
from pyrocount.backends.iterative_evaluation import convergence_step, evaluate_iterative
from pyrocount.backends.iterative_model import make_iterative, with_parameters
from pyrocount.errors import InputError
from pyrocount.inference.jax_training import OPTIMIZERS, optimizer_step, train
from pyrocount.inference.unrolled import unrolled_loss
from pyrocount.models import MODELS, make_decoder, make_vae
from pyrocount.models.jax_networks import jax_decoder, torch_decoder
from pyrocount.models.networks import LayerOptions, ResidualBlock
from pyrocount.numpyro.relaxations import ArrivalTimes, SteinChen, StraightThrough

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 6)).astype(np.float32)


def small(kind="iterative-poisson", **options):
    torch.manual_seed(0)
    model = make_iterative(
        kind, (6,), latent_dim=4, layers=LayerOptions(bias=False), initial_rate=1.0, step_size=0.2, **options
    )
    weight = 0.5 * jax.random.normal(jax.random.key(0), (6, 4))
    return with_parameters(model, {"decoder.0.weight": weight})


@pytest.mark.parametrize("argument", ["latent_dim", "step_size", "initial_rate"])
def test_numbers_that_must_be_positive(argument):
    with pytest.raises(InputError, match=f"{argument}: got 0, expected a positive number"):
        make_iterative("iterative-poisson", (6,), **({"latent_dim": 4} | {argument: 0}))


@pytest.mark.parametrize(
    ("kind", "shape", "layers", "output"),
    [
        ("lin", (1, 8, 8), LayerOptions(), "identity"),
        ("lin", (9,), LayerOptions(bias=False), "identity"),
        ("mlp", (1, 8, 8), LayerOptions(weight_norm=True), "tanh"),
        ("conv", (3, 9, 14), LayerOptions(blocks=2), "sigmoid"),
        ("conv", (1, 28, 28), LayerOptions(weight_norm=True, blocks=1), "identity"),
    ],
)
def test_decoders_are_the_same_in_both_backends(kind, shape, layers, output):
    module = make_decoder(kind, 6, shape, layers, output)
    for part in module.modules():
        if isinstance(part, ResidualBlock):
            torch.nn.init.constant_(part.gain, 0.7)
    function, parameters = jax_decoder(module)
    z = torch.randn(4, 6)
    wanted = module(z).detach().numpy()
    assert wanted.std() > 0.01
    np.testing.assert_allclose(function(parameters, jnp.asarray(z.numpy())), wanted, atol=2e-6)
    np.testing.assert_allclose(torch_decoder(function, parameters)(z).detach().numpy(), wanted, atol=2e-6)
    assert function.is_linear == (kind == "lin")


def test_a_layer_without_a_twin():
    with pytest.raises(InputError, match="decoder: got a decoder with a ReLU layer"):
        jax_decoder(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU()))


# What takes longer to run than to compile.
optimised = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 3})


def gradient_and_truth(model, relaxation, names, n=400_000, width=0.1):
    """Derivatives of the unrolled loss in a few directions, and central differences of its expectation, with errors."""
    x = jnp.broadcast_to(X[0], (n, 6))
    start = {name: model.parameters[name] for name in names}

    def losses(parameters, key, relaxation):
        problem = with_parameters(model, parameters).problem(x, relaxation=relaxation)
        return unrolled_loss(key, problem, x, steps=3, beta=1.5)

    expected = optimised(partial(losses, relaxation=SteinChen()))
    slopes = optimised(
        lambda tangent: jax.jvp(lambda at: losses(at, jax.random.key(1), relaxation), (start,), (tangent,))[1]
    )
    for number, name in enumerate(names):
        direction = jnp.asarray(np.random.default_rng(number).choice([-1.0, 1.0], start[name].shape), jnp.float32)
        tangent = {other: direction if other == name else jnp.zeros_like(start[other]) for other in names}
        # One key for both sides: what noise they share cancels.
        ahead, behind = (
            np.asarray(expected({other: start[other] + size * tangent[other] for other in names}, jax.random.key(0)))
            for size in (width, -width)
        )
        slope, value = (ahead - behind) / (2 * width), np.asarray(slopes(tangent))
        yield name, value.mean(), slope.mean(), (value.std() + slope.std()) / n**0.5


NAMES = ("prior.log_rate", "decoder.0.weight", "step.log_size")


@pytest.mark.parametrize("drive", ["sampled", "exact"])
def test_the_gradient_of_the_unrolled_loss_is_that_of_its_expectation(drive):
    for name, gradient, truth, error in gradient_and_truth(small(drive=drive), SteinChen(), NAMES):
        # What is left, of higher derivatives, is small beside the fourfold error of the identity.
        assert abs(gradient - truth) < 5 * error + 0.03 * abs(truth), name


def test_the_identity_is_biased_in_the_same_test():
    found = list(gradient_and_truth(small(), StraightThrough(), NAMES))
    assert any(abs(gradient - truth) > 5 * error + 0.03 * abs(truth) for _, gradient, truth, error in found)


def test_the_official_weight_of_the_divergence_is_larger_where_rates_rise():
    model = small(drive="exact")
    problem = model.problem(jnp.asarray(X), relaxation=SteinChen())
    record = []

    def keep(state, snapshot, *data):
        return state.potentials, snapshot.potentials, snapshot.kl, snapshot.nll

    key_start, key_steps = jax.random.split(jax.random.key(0))
    _, record = problem.run(jax.random.split(key_steps, 5), problem.start(key_start), keep, jnp.asarray(X))
    old, new, kl, nll = record
    ratio = jnp.exp(new - old)
    deviance = 1 - ratio + ratio * jnp.log(ratio)
    np.testing.assert_allclose(kl, (jnp.exp(old) * deviance).sum(-1), rtol=1e-3, atol=1e-5)
    for step_kl, rate in (("prior", old), ("posterior", new)):
        loss = unrolled_loss(jax.random.key(0), problem, jnp.asarray(X), steps=5, beta=2.0, step_kl=step_kl)
        wanted = (nll + 2 * (jnp.exp(rate) * deviance).sum(-1)).mean(0)
        np.testing.assert_allclose(loss, wanted, rtol=1e-4)
    with pytest.raises(InputError, match="step_kl: got 'both'"):
        unrolled_loss(jax.random.key(0), problem, jnp.asarray(X), steps=5, step_kl="both")


@pytest.mark.parametrize("kind", [name for name, spec in MODELS.items() if spec.inference == "iterative"])
def test_every_model_learns(kind):
    model = small(kind)
    fixed = "likelihood.log_scale"
    parameters = {name: value for name, value in model.parameters.items() if name != fixed}
    optimizer = OPTIMIZERS["adam"]()
    state = optimizer.init(parameters)

    def loss(parameters, key):
        problem = with_parameters(model, parameters).problem(jnp.asarray(X), relaxation=ArrivalTimes(0.3))
        return unrolled_loss(key, problem, jnp.asarray(X), steps=6, beta=0.1).mean()

    step = jax.jit(partial(optimizer_step, loss, optimizer))
    losses = []
    for number in range(150):
        done = step(parameters, state, 0.02, 10.0, jax.random.key(number))
        parameters, state = done.parameters, done.optimizer_state
        losses.append(float(done.loss))
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])
    assert all(not jnp.array_equal(parameters[name], model.parameters[name]) for name in parameters)


def test_several_models_train_at_once():
    model = small()
    names = ("prior.log_rate", "decoder.0.weight")
    parameters = {name: model.parameters[name] for name in names}
    optimizer = OPTIMIZERS["adamax"]()

    def loss(parameters, key, beta):
        problem = with_parameters(model, parameters).problem(jnp.asarray(X), relaxation=SteinChen())
        return unrolled_loss(key, problem, jnp.asarray(X), steps=4, beta=beta).mean()

    step = partial(optimizer_step, loss, optimizer)
    keys, betas = jax.random.split(jax.random.key(0), 3), jnp.array([0.5, 1.0, 4.0])
    state = optimizer.init(parameters)
    together = jax.jit(jax.vmap(step, (None, None, None, None, 0, 0)))(parameters, state, 0.1, 10.0, keys, betas)
    for number in range(3):
        alone = jax.jit(step)(parameters, state, 0.1, 10.0, keys[number], betas[number])
        for name in names:
            np.testing.assert_allclose(together.parameters[name][number], alone.parameters[name], rtol=1e-4, atol=1e-5)
    assert len(set(together.loss.tolist())) == 3


def test_a_step_that_is_not_finite_changes_nothing():
    optimizer = OPTIMIZERS["adam"]()
    parameters = {"a": jnp.ones(2)}
    done = optimizer_step(lambda p: jnp.log(-p["a"].sum()), optimizer, parameters, optimizer.init(parameters), 0.1, 1.0)
    assert not jnp.isfinite(done.loss)
    np.testing.assert_array_equal(done.parameters["a"], 1.0)


@pytest.mark.parametrize("decoder", ["lin", "mlp", "conv"])
@pytest.mark.parametrize("family", ["poisson", "negbio", "gaussian"])
def test_what_a_pyro_vae_has_learned_serves_iterative_inference_and_back(family, decoder):
    torch.manual_seed(1)
    likelihood = {"poisson": "gaussian", "negbio": "bernoulli", "gaussian": "negbio"}[family]
    options = {"activation": "relu"} if family == "gaussian" else {}
    vae = make_vae(
        family, (1, 8, 8), latent_dim=5, decoder=decoder, likelihood=likelihood, shared_dispersion=True, **options
    ).eval()
    iterative = from_pyro(vae)
    z = torch.poisson(torch.full((7, 5), 2.0))
    distribution = vae.likelihood(vae.decode(z))
    ours = iterative.model.observation_distribution(iterative.parameters, jnp.asarray(z.numpy()))
    np.testing.assert_allclose(ours.mean, distribution.mean.detach().numpy(), rtol=1e-4, atol=1e-5)
    x = torch.bernoulli(torch.full((7, 1, 8, 8), 0.4))
    np.testing.assert_allclose(
        ours.log_prob(jnp.asarray(x.numpy())), distribution.log_prob(x).detach().numpy(), rtol=2e-4, atol=2e-4
    )
    potentials = encoded_potentials(vae, x)
    result = iterative.infer(x, steps=3, potentials=potentials)
    assert np.isfinite(result.trajectory.free_energy).all()
    back = to_pyro(iterative, encoder="lin")
    np.testing.assert_allclose(back.decode(z).detach().numpy(), vae.decode(z).detach().numpy(), rtol=1e-4, atol=1e-5)
    prior, wanted = back.latent.prior(), vae.latent.prior()
    np.testing.assert_allclose(prior.mean.detach(), wanted.mean.detach(), rtol=1e-5)
    np.testing.assert_allclose(prior.variance.detach(), wanted.variance.detach(), rtol=1e-5)
    back.train()
    back.model(x)
    back.guide(x)


def test_families_without_a_twin():
    vae = make_vae("laplace", (6,), latent_dim=4)
    for convert in (from_pyro, partial(encoded_potentials, x=torch.zeros(2, 6))):
        with pytest.raises(InputError, match="vae: got a VAE with a LaplaceLatent"):
            convert(vae)
    with pytest.raises(InputError, match="iterative: got a model of predictive-coding"):
        to_pyro(small("predictive-coding"))


def test_zeros_are_those_that_the_decoder_sees():
    """Of rectified Gaussian latents; the latents themselves are never 0."""
    evaluation = evaluate_iterative(small("iterative-gaussian", activation="relu"), X, steps=5)
    curves = evaluation.curves
    assert curves.zero_fraction[-1] == pytest.approx(evaluation.metrics["zero_fraction"], abs=1e-6)
    assert 0.1 < curves.zero_fraction[-1] < 0.9


def test_figures_and_curves():
    model = small()
    evaluation = evaluate_iterative(model, X, steps=30, batch_size=5)
    curves = evaluation.curves
    metrics = evaluation.metrics
    assert curves.r2.shape == curves.r2_median.shape == curves.zero_fraction.shape == curves.free_energy.shape == (30,)
    assert curves.r2[-1] == pytest.approx(metrics["r2"], abs=1e-5)
    assert curves.zero_fraction[-1] == pytest.approx(metrics["zero_fraction"], abs=1e-6)
    assert (evaluation.counts == evaluation.counts.round()).all()
    assert metrics["nelbo"] == pytest.approx(metrics["nll"] + metrics["kl"], rel=1e-6)
    assert metrics["distance"] == pytest.approx(np.hypot(1 - metrics["r2"], 1 - metrics["zero_fraction"]))
    errors = np.square(X[: len(evaluation.reconstructions)] - evaluation.reconstructions).mean(1)
    assert metrics["mse"] == pytest.approx(errors.mean(), rel=1e-5)
    assert metrics["diverged"] == pytest.approx((errors > 2 * X.var(1)).mean())
    constant = np.zeros_like(X)
    assert evaluate_iterative(model, constant, steps=3).metrics["diverged"] == 0


def test_what_runs_away_is_counted():
    wild = with_parameters(small(), {"decoder.0.weight": 40 * jnp.ones((6, 4))})
    metrics = evaluate_iterative(wild, X, steps=5).metrics
    assert metrics["diverged"] > 0.2
    assert metrics["r2"] < -1
    assert metrics["r2"] < metrics["r2_median"]


def test_convergence_step():
    assert convergence_step(np.array([0.1, 0.6, 0.795, 0.78, 0.8])) == 3
    assert convergence_step(np.array([0.1, np.nan])) == 2


def test_frames_that_move():
    frames = np.stack([X, X, -X])
    path = small().follow(frames, steps=4).trajectory
    assert path.z.shape == (12, 12, 4)
    with pytest.raises(InputError, match="frames: got an array of shape"):
        small().follow(frames[:0], steps=4)
    with pytest.raises(InputError, match=r"x: got shape \(12, 5\), expected \(N, 6\)"):
        small().infer(X[:, :5], steps=4)


def infer_and_train(file):
    """Keeps what an inference, spread over all devices of this process, and a short training give."""
    model = small(drive="exact")
    result = model.infer(X, steps=20)
    assert len(result.state.z.sharding.device_set) == len(jax.devices())

    def loss(parameters, key, now, x):
        problem = with_parameters(model, parameters).problem(x, relaxation=SteinChen())
        return unrolled_loss(key, problem, x, steps=4)

    start = {name: model.parameters[name] for name in NAMES}
    parameters, _ = train(
        loss,
        start,
        "adam",
        [X],
        epochs=3,
        batch_size=8,
        peak=0.1,
        max_gradient_norm=10.0,
        seed=0,
        anneal=lambda progress: {},
        monitor=lambda parameters: {"mean_rate": 0.0},
        save=lambda state: None,
    )
    np.savez(file, path=result.trajectory.free_energy, z=result.trajectory.z, **parameters)
    return len(jax.devices())


def test_the_same_numbers_on_one_and_on_four_devices(tmp_path):
    root = Path(__file__).parents[1]
    code = "from test_iterative import infer_and_train; assert infer_and_train('four.npz') == 4"
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"
    paths = os.pathsep.join([str(root), str(root / "tests")])
    environment = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": paths}
    four = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    assert infer_and_train(tmp_path / "one.npz") == 1
    _, errors = four.communicate()
    assert four.returncode == 0, errors
    one, four = (np.load(tmp_path / f"{name}.npz") for name in ("one", "four"))
    np.testing.assert_array_equal(one["z"], four["z"])
    for name in one.files:
        np.testing.assert_allclose(four[name], one[name], rtol=1e-4, atol=1e-5, err_msg=name)
