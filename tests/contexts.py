"""Contexts of the suites for models and data that tests make."""

from pyrocount.suites import EvaluationContext


def context_of(model, data, *, checked=500, train_observations=2000, seed=0):
    """A context that takes all held-out observations."""
    return EvaluationContext(
        model=model,
        beta=1.0,
        data=data,
        observations=len(data.test),
        train_observations=min(train_observations, len(data.train)),
        samples=100,
        checked=checked,
        images=(),
        inception_weights=None,
        held_out=0.25,
        seed=seed,
    )
