import copy
import pickle
import re
import warnings
from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import pyrocount
from pyrocount import CountVAE
from pyrocount.config import all_options
from pyrocount.data.options import FileOptions, PatchOptions
from pyrocount.errors import InputError
from pyrocount.models import VAE

# Fits of few epochs are worse than the mean of the data, as the warning says.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
# Two groups of rows, told apart by the first three features.
GROUP = RNG.integers(0, 2, 120)
X = RNG.normal(size=(120, 6)) + 4 * np.outer(GROUP, [1, 1, 1, 0, 0, 0])
SMALL = {"latent_dim": 4, "epochs": 3, "random_state": 0}


@parametrize_with_checks(
    [CountVAE(latent_dim=4, epochs=2), CountVAE("gaussian", latent_dim=3, epochs=1, scaling="unit")],
)
def test_what_scikit_learn_asks_of_estimators(estimator, check, monkeypatch):
    # Checks of array libraries, which are skipped, look for this.
    monkeypatch.delenv("SCIPY_ARRAY_API", raising=False)
    check(estimator)


def test_before_a_classifier():
    options = SMALL | {"epochs": 30, "lr": 1e-2}
    probe = make_pipeline(CountVAE("poisson", **options), LogisticRegression())
    assert probe.fit(X[:80], GROUP[:80]).score(X[80:], GROUP[80:]) > 0.9


def test_in_a_search():
    search = GridSearchCV(CountVAE(**SMALL), {"model": ["poisson", "gaussian"], "latent_dim": np.array([1, 3])}, cv=2)
    search.fit(X)
    assert len(search.cv_results_["params"]) == 4
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.transform(X).shape == (120, search.best_params_["latent_dim"])


@pytest.mark.parametrize(
    "model",
    ["poisson", "negbio", "gaussian", "laplace", "categorical", "lca", "iterative-poisson", "predictive-coding"],
)
def test_every_model(model):
    extra = {"encoder": "mlp"} if "-" not in model and model != "lca" else {"test_steps": 20} if "-" in model else {}
    vae = CountVAE(model, **SMALL, **extra).fit(X)
    codes = vae.transform(X)
    assert codes.shape == (120, 4)
    assert codes.dtype == X.dtype
    assert vae.transform(X.astype(np.float32)).dtype == np.float32
    np.testing.assert_array_equal(vae.transform(X), codes)
    assert vae.inverse_transform(codes).shape == X.shape
    assert np.isfinite(vae.score(X))
    if model != "lca":
        assert vae.sample(7).shape == (7, 6)
    again = pickle.loads(pickle.dumps(vae))
    np.testing.assert_array_equal(again.transform(X), codes)
    assert again.get_feature_names_out().tolist() == [f"countvae{number}" for number in range(4)]


@pytest.mark.parametrize(
    "options", [{"estimator": "gumbel"}, {"estimator": "gumbel", "kl": "mc"}, {"estimator": "score"}]
)
def test_negative_binomial_rates_do_not_run_away(options):
    """The density of all counts, at a count that is capped, would reward rates without end."""
    x = load_digits().data
    score = CountVAE("negbio", decoder="lin", latent_dim=24, epochs=6, random_state=0, **options).fit(x).score(x)
    # The mean image has -69.6.
    assert score > -72


@pytest.mark.parametrize(
    ("options", "remark"),
    [
        ({}, None),
        ({"beta": 100.0}, "the posterior ignores the data .* nats.; train longer .epochs., or with a smaller beta"),
        ({"epochs": 1}, "the fit is worse than the mean rates alone, by .* nats; .* .encoder lin decoder lin. or a"),
        ({"model": "iterative-poisson", "epochs": 2, "train_steps": 4, "likelihood": "gaussian"}, "the fit is worse"),
        ({"model": "lca", "epochs": 1, "likelihood": "gaussian"}, None),
    ],
)
def test_bad_fits_are_warned_of(options, remark, recwarn):
    """The options of the command appear as parameters."""
    warnings.simplefilter("always")
    counts = RNG.poisson(np.exp(1 + np.outer(GROUP, [1, 1, 1, 0, 0, -1])))
    CountVAE(**{"model": "poisson", "likelihood": "poisson"} | SMALL | {"epochs": 400} | options).fit(counts)
    messages = [str(warning.message) for warning in recwarn.list]
    assert all((item.category, item.filename) == (ConvergenceWarning, __file__) for item in recwarn.list)
    assert any(re.search(remark, message) for message in messages) if remark else not messages


def test_codes_are_those_of_the_model():
    vae = CountVAE("poisson", **SMALL).fit(X)
    assert isinstance(vae.model_, VAE)
    units = torch.tensor((X - X.mean()) / X.std(), dtype=torch.float32)
    with torch.no_grad():
        codes = vae.model_.code(units).numpy()
        nelbo = vae.model_.likelihood(vae.model_.decode(vae.model_.latent.prior().mean.expand(1, -1))).mean
    np.testing.assert_allclose(vae.transform(X), codes, atol=1e-5)
    # The codes of the prior are 0.
    np.testing.assert_allclose(
        vae.inverse_transform(np.zeros((1, 4))), nelbo.numpy() * X.std() + X.mean(), rtol=1e-4, atol=1e-5
    )


def test_reconstructions_come_back_in_the_units_of_the_data():
    vae = CountVAE("gaussian", latent_dim=6, epochs=200, lr=1e-2, random_state=0).fit(100 + 10 * X)
    error = vae.inverse_transform(vae.transform(100 + 10 * X)) - (100 + 10 * X)
    assert np.square(error).mean() < 0.5 * (10 * X).var()


def test_seeds():
    first, second, third = (CountVAE(**SMALL | {"random_state": seed}).fit(X).transform(X) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, third)
    vae = CountVAE(**SMALL).fit(X)
    np.testing.assert_array_equal(vae.sample(3), vae.sample(3))
    assert not np.array_equal(vae.sample(3), vae.sample(3, random_state=5))


def test_the_random_state_and_pyro_stay_as_they_were():
    state = torch.get_rng_state()
    CountVAE(**SMALL).fit(X)
    assert torch.equal(torch.get_rng_state(), state)


def test_counts_and_images():
    counts = RNG.poisson(2.0, (40, 36))
    vae = CountVAE("poisson", likelihood="poisson", encoder="conv", decoder="conv", image_shape=(1, 6, 6), **SMALL)
    drawn = vae.fit(counts).sample(5)
    assert drawn.shape == (5, 36)
    assert (drawn == drawn.round()).all()
    assert vae.model_.shape == (1, 6, 6)


def test_a_run_folder_comes_and_goes(tmp_path, command):
    vae = CountVAE("poisson", **SMALL).fit(X)
    path = vae.save(tmp_path / "kept")
    other = CountVAE.load(path)
    np.testing.assert_array_equal(other.transform(X), vae.transform(X))
    assert clone(other).fit(X).latent_dim == 4
    assert pyrocount.load(path).config.model == "poisson"
    assert len(pyrocount.load(path).history) == 3
    with pytest.raises(InputError, match=r"name: got kept, which .* already holds"):
        vae.save(tmp_path / "kept")

    assert command("--model poisson --epochs 1 --latent-dim 5 --name run")[0] == 0
    fitted = CountVAE.load(tmp_path / "runs" / "run")
    assert fitted.image_shape == (1, 8, 8)
    data = pyrocount.load(tmp_path / "runs" / "run").data()
    x = data.original(data.test_units()).reshape(len(data.test), -1)
    with torch.no_grad():
        expected = pyrocount.load(tmp_path / "runs" / "run").model.code(torch.tensor(data.test_units())).numpy()
    np.testing.assert_allclose(fitted.transform(x), expected, atol=1e-4)
    with pytest.raises(InputError, match=r"path: got .*nothing"):
        CountVAE.load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("options", "data", "problem"),
    [
        ({"latent_dim": 0}, X, "latent_dim: got 0, expected"),
        ({"model": "bernoulli"}, X, "model: got 'bernoulli', expected one of"),
        ({"lr": -1.0}, X, "lr: got -1.0, expected"),
        ({"likelihood": "poisson"}, X, "data: got array, whose values are not all nonnegative whole"),
        ({"image_shape": (1, 2, 2)}, X, r"image_shape: got \(1, 2, 2\), expected .* with 6 pixels"),
        ({"scaling": "log"}, X, "scaling: got 'log', expected one of"),
        ({}, np.ones((9, 3)), "data: got array, whose training values are all 1"),
    ],
)
def test_bad_parameters(options, data, problem):
    with pytest.raises(InputError, match=problem):
        CountVAE(**SMALL | options).fit(data)


def test_every_option_of_the_command_line_is_a_parameter():
    elsewhere = {"data", "data_dir", "download", "whiten", "exposure", "test_fraction", "seed", "name", "out", "resume"}
    elsewhere |= {"split", *(field.name for group in (FileOptions, PatchOptions) for field in fields(group))}
    assert set(all_options()) - set(CountVAE().get_params()) == elsewhere
    for name, value in CountVAE().get_params().items():
        if name in all_options():
            # None stands for the usual value of an option that not every model uses.
            assert value in (all_options()[name].default, None)
    assert CountVAE().get_params()["epochs"] == all_options()["epochs"].default
    assert CountVAE().get_params()["temperature"] is None


def test_runs_with_windows_ask_for_them(tmp_path, command):
    x = RNG.poisson(2.0, (60, 5))
    np.savez(tmp_path / "spikes.npz", x=x, exposure=np.full(60, 2.0))
    data = f"--data {tmp_path / 'spikes.npz'} --likelihood poisson"
    assert command(f"--model poisson --epochs 1 --latent-dim 2 --name run {data}")[0] == 0
    vae = CountVAE.load(tmp_path / "runs" / "run")
    assert vae.transform(x, np.full(60, 2.0)).shape == (60, 2)
    with pytest.raises(InputError, match="exposure: got None, expected the lengths of the windows, as in fit"):
        vae.transform(x)


def test_bad_codes_and_numbers():
    counts = CountVAE("poisson", likelihood="poisson", **SMALL).fit(RNG.poisson(1.0, (30, 6)))
    with pytest.raises(InputError, match="X: got values that are not all nonnegative whole numbers"):
        counts.transform(-np.ones((2, 6)))
    vae = CountVAE(**SMALL).fit(X)
    with pytest.raises(InputError, match=r"X: got shape \(2, 3\), expected \(N, 4\)"):
        vae.inverse_transform(np.zeros((2, 3)))
    with pytest.raises(InputError, match="n_samples: got 0"):
        vae.sample(0)


def test_counts_in_windows_of_different_lengths(tmp_path):
    """Sparse counts and a DataFrame give the codes of the array; a window twice as long has twice the counts."""
    pandas = pytest.importorskip("pandas")
    exposure = np.where(np.arange(120) % 2, 1.0, 2.0)
    rates = np.exp(1 + 0.8 * np.outer(GROUP - 0.5, [1, 1, 1, -1, -1, -1]))
    counts = np.random.default_rng(1).poisson(rates * exposure[:, None]).astype(float)
    options = SMALL | {"epochs": 60, "likelihood": "poisson", "batch_size": 32}
    vae = CountVAE("poisson", **options).fit(counts, exposure=exposure)
    codes = vae.transform(counts, exposure)
    assert LogisticRegression().fit(codes[:80], GROUP[:80]).score(codes[80:], GROUP[80:]) > 0.8
    for other in (csr_array(counts), pandas.DataFrame(counts)):
        again = CountVAE("poisson", **options).fit(other, exposure=exposure)
        np.testing.assert_array_equal(again.transform(other, exposure), codes)
    blind = CountVAE("poisson", **options).fit(counts)
    assert vae.score(counts, exposure=exposure) > blind.score(counts)
    loaded = CountVAE.load(vae.save(tmp_path / "run"))
    np.testing.assert_array_equal(loaded.transform(counts, exposure), codes)
    for bad, message in [
        (exposure[:3], r"exposure: got shape \(3,\), expected 120 positive numbers, one a row of X"),
        (-exposure, "exposure: got shape .* expected 120 positive numbers"),
        (None, "exposure: got None, expected the lengths of the windows, as in fit"),
    ]:
        with pytest.raises(InputError, match=message):
            vae.transform(counts, bad)
    with pytest.raises(InputError, match="exposure: got lengths with likelihood gaussian, expected poisson or negbio"):
        CountVAE("poisson", **SMALL).fit(counts, exposure=exposure)


def test_what_is_checked_before_saving_is_checked_after(tmp_path):
    """All that an estimator knows comes back from a run folder and from a pickle."""
    pandas = pytest.importorskip("pandas")
    counts = pandas.DataFrame(np.random.default_rng(0).poisson(2.0, (60, 5)), columns=list("abcde"))
    lengths = np.linspace(0.5, 1.5, 60)
    fitted = CountVAE("poisson", likelihood="poisson", latent_dim=3, epochs=1, random_state=0)
    fitted.fit(counts, exposure=lengths)
    others = [CountVAE.load(fitted.save(tmp_path / "run")), pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted)]
    for other in others:
        known, wanted = (
            {name: value for name, value in vars(one).items() if name.startswith("_") or name.endswith("_")}
            for one in (other, fitted)
        )
        assert known.keys() == wanted.keys()
        for name in known.keys() - {"model_", "_backend"}:
            np.testing.assert_equal(known[name], wanted[name])
        np.testing.assert_array_equal(other.transform(counts, lengths), fitted.transform(counts, lengths))
        for data, windows, problem in [
            (counts[list("abcd")], lengths, "feature names"),
            (counts[list("edcba")], lengths, "feature names"),
            (counts, None, "exposure: got None, expected the lengths of the windows"),
            (counts - 1, lengths, "X: got values that are not all"),
        ]:
            with pytest.raises(ValueError, match=problem):
                other.transform(data, windows)
