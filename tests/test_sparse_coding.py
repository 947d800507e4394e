from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso

from pyrocount.backends import build
from pyrocount.config import Config
from pyrocount.inference import SPARSE_CODERS, fista, ista, lca

N, D, K, SPARSITY = 6, 12, 20, 0.3
coders = pytest.mark.parametrize("coder", SPARSE_CODERS.values(), ids=SPARSE_CODERS)


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)
    dictionary = torch.nn.functional.normalize(torch.randn(D, K, generator=generator, dtype=torch.float64), dim=0)
    codes = torch.rand(N, K, generator=generator, dtype=torch.float64) * (torch.rand(N, K, generator=generator) < 0.2)
    return 3 * codes @ dictionary.T + 0.1 * torch.randn(N, D, generator=generator, dtype=torch.float64), dictionary


def objective(x, dictionary, codes):
    return 0.5 * (x - codes @ dictionary.T).square().sum() + SPARSITY * codes.sum()


@coders
def test_codes_are_those_of_scikit_learn(problem, coder):
    x, dictionary = problem
    # Its objective is over the number of values.
    lasso = Lasso(alpha=SPARSITY / D, positive=True, fit_intercept=False, tol=1e-12, max_iter=100_000)
    expected = np.stack([lasso.fit(dictionary.numpy(), row).coef_.copy() for row in x.numpy()])
    codes = coder(x, dictionary, SPARSITY, 5000)
    np.testing.assert_allclose(codes, expected, atol=1e-5)
    assert ((codes == 0) == torch.tensor(expected == 0)).all()
    assert 0.2 < (codes == 0).double().mean() < 1


@coders
def test_no_gradient_and_no_negative_code(problem, coder):
    x, dictionary = problem
    codes = coder(x.requires_grad_(), dictionary.requires_grad_(), SPARSITY)
    assert not codes.requires_grad
    assert (codes >= 0).all()
    assert (coder(x, dictionary, 1e3) == 0).all()


def test_ista_never_rises_and_momentum_is_faster(problem):
    x, dictionary = problem
    values = [objective(x, dictionary, ista(x, dictionary, SPARSITY, steps)).item() for steps in range(1, 60)]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(values))
    best = objective(x, dictionary, fista(x, dictionary, SPARSITY, 5000)).item()
    assert objective(x, dictionary, fista(x, dictionary, SPARSITY, 60)).item() - best < 0.5 * (values[-1] - best)


def test_more_sparsity_gives_fewer_and_smaller_codes(problem):
    x, dictionary = problem
    few, many = lca(x, dictionary, 0.6, 2000), lca(x, dictionary, 0.1, 2000)
    assert (few > 0).sum() < (many > 0).sum()
    assert few.sum() < many.sum()


@coders
def test_the_loss_that_learns_the_dictionary_is_the_objective_of_the_codes(coder):
    """Codes inferred for the loss are its minimum: any other scale of them is worse."""
    name = next(key for key, value in SPARSE_CODERS.items() if value is coder)
    torch.manual_seed(0)
    config = Config(model=name, latent_dim=K, beta=0.4, scale=0.5, inference_steps=3000)
    vae = build(config, (D,)).model
    weight = vae.decoder[0].weight
    torch.testing.assert_close(weight.norm(dim=0), torch.ones(K))
    x = torch.randn(N, D)
    z = vae.posterior(x).v
    assert 0 < (z > 0).float().mean() < 1

    def loss(codes):
        nll = -vae.likelihood(vae.decode(codes)).log_prob(x).sum()
        return (nll + config.options["beta"] * vae.latent.divergence(vae.latent.posterior(codes)).sum()).item()

    assert loss(z) < min(loss(z * 0.99), loss(z * 1.01), loss(z + 0.01 * torch.rand_like(z)))
    vae.decode(z).square().sum().backward()
    assert vae.decoder[0].parametrizations.weight.original.grad.abs().sum() > 0


@coders
def test_coherent_dictionaries_do_not_oscillate(coder):
    """Columns that all point one way have a strong common mode."""
    generator = torch.Generator().manual_seed(0)
    dictionary = torch.nn.functional.normalize(torch.rand(64, 256, generator=generator, dtype=torch.float64), dim=0)
    x = torch.rand(5, 64, generator=generator, dtype=torch.float64)
    assert torch.linalg.eigvalsh(dictionary @ dictionary.T)[-1] > 100
    best = objective(x, dictionary, fista(x, dictionary, SPARSITY, 20_000))
    found = objective(x, dictionary, coder(x, dictionary, SPARSITY, 20_000))
    assert found < 1.01 * best
