"""Properties that hold for any shapes, dtypes and parameters."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes
from torch.distributions import kl_divergence

from pyrocount import Discrete, RelaxedNegativeBinomial, RelaxedPoisson

from cases import RELAXATIONS

BATCHES = mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3)
SAMPLES = st.lists(st.integers(1, 3), max_size=2)
DTYPES = st.sampled_from([torch.float32, torch.float64])
LOGS = st.floats(-18.0, 18.0)
SCALARS = st.sampled_from([relaxation for relaxation in RELAXATIONS if relaxation.batch_shape == ()])
EXACT = Discrete()
quickly = settings(deadline=None, max_examples=60, derandomize=True, database=None)


def distributions(shapes, dtype, relaxation=EXACT, log_size=0.0, log_mean=0.0):
    first, second = (torch.zeros(shape, dtype=dtype) for shape in shapes)
    size, mean = (first + log_size).exp(), second + log_mean
    probs = torch.sigmoid(mean - size.log()).clamp(max=1 - torch.finfo(dtype).eps / 2)
    return [
        RelaxedPoisson(log_rate=first + mean, relaxation=relaxation),
        RelaxedNegativeBinomial(size, logits=mean - size.log(), relaxation=relaxation),
        RelaxedNegativeBinomial(size, probs=probs, relaxation=relaxation),
    ]


@quickly
@given(BATCHES, SAMPLES, DTYPES, SCALARS)
def test_shapes_and_dtypes(batches, sample_shape, dtype, relaxation):
    for d in distributions(batches.input_shapes, dtype, relaxation, log_mean=-0.5):
        assert d.batch_shape == batches.result_shape
        z = d.sample(sample_shape)
        assert z.shape == (*sample_shape, *batches.result_shape)
        assert z.dtype == dtype
        assert (z >= 0).all()
        assert d.log_prob(z).shape == z.shape
        wide = d.expand((2, *batches.result_shape))
        assert type(wide) is type(d)
        assert kl_divergence(wide, d).shape == wide.batch_shape


@quickly
@given(LOGS, LOGS, DTYPES, st.integers(0, 10**8))
def test_probabilities_are_at_most_1(log_size, log_mean, dtype, count):
    for d in distributions([(), ()], dtype, log_size=log_size, log_mean=log_mean):
        log_prob = d.log_prob(torch.tensor(float(count), dtype=dtype))
        assert log_prob.isfinite()
        assert log_prob <= 0


@quickly
@given(st.tuples(LOGS, LOGS), st.tuples(LOGS, LOGS), DTYPES)
def test_divergences_are_not_negative_and_vanish_between_equals(first, second, dtype):
    pairs = [distributions([(), ()], dtype, log_size=size, log_mean=mean) for size, mean in (first, second)]
    for q in pairs[0]:
        assert kl_divergence(q, q) == 0
        for p in pairs[1]:
            kl = kl_divergence(q, p)
            assert kl.dtype == dtype
            assert not kl.isnan()
            assert kl >= 0


@quickly
@given(st.floats(-18.0, 8.0), st.floats(-18.0, 8.0), DTYPES)
def test_samples_and_gradients_are_finite(log_size, log_mean, dtype):
    for relaxation in RELAXATIONS:
        if not relaxation.has_rsample or relaxation.batch_shape:
            continue
        size = torch.tensor(log_size, dtype=dtype).exp().requires_grad_()
        logits = torch.tensor(log_mean - log_size, dtype=dtype, requires_grad=True)
        rate = torch.tensor(log_mean, dtype=dtype).exp().requires_grad_()
        options = {"relaxation": relaxation, "validate_args": False}
        for d, leaves in [
            (RelaxedPoisson(rate, **options), [rate]),
            (RelaxedNegativeBinomial(size, logits=logits, **options), [size, logits]),
        ]:
            z = d.rsample((5,))
            assert z.isfinite().all()
            assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(z.sum(), leaves))
