"""Finds the rules of few nodes in ``pyrocount/numerics/quadrature.py``: run it as a script to print them.

The nodes and weights of a rule minimise the largest error of the divergence and its three derivatives over a sample of
parameters: a generalised Gaussian quadrature, found by nonlinear least squares whose weights follow the errors.

Reference:
    Bremer, Gimbutas and Rokhlin, A Nonlinear Optimization Procedure for Generalized Gaussian Quadratures, SIAM Journal
    on Scientific Computing 2010.
"""

import numpy as np
from scipy.optimize import least_squares

from pyrocount.numerics.quadrature import GAUSSIAN, SINGLE

# Nodes of a fine double exponential rule, whose error is negligible.
STEP = 0.03
X = np.arange(-3.6, 10, STEP)
FINE_T, FINE_WEIGHTS = np.exp(X - np.exp(-X)), STEP * (1 + np.exp(-X))


def parameters(number, reach, rng):
    """Draws means below 100 and total_counts that differ by less, of up to this reach, each of shape (number,)."""
    parts = []
    while sum(map(len, parts)) < number:
        m, r, s = (10 ** rng.uniform(low, high, 8 * number) for low, high in ((-3, 2), (-2, 4), (-2, 3)))
        s = np.where(rng.random(len(s)) < 0.5, s, r * np.exp(rng.normal(0, 0.7, len(r))))
        own = 1 / (np.minimum(r, s) * scale_of(m, r, s))
        parts.append(np.stack([m, r, s], 1)[(own < reach) & (own > reach / 30) & (abs(r - s) < 100)])
    return np.concatenate(parts)[:number].T


def scale_of(m, r, s):
    slope = 1 + m + m / r
    return 1 / (slope + np.minimum(r + s, SINGLE.largest * slope))


def integrands(m, r, s, t):
    """Returns g(t) of the divergence and of its derivatives in m, r and s, of shape (4 N, number of t)."""
    scale = scale_of(m, r, s)
    t = scale[:, None] * t
    m, r, s = (each[:, None] for each in (m, r, s))
    mass = -np.expm1(-t)
    ratio = m / r * mass
    log_ratio = np.log1p(ratio)
    rest = np.exp(-r * log_ratio)
    bracket = -np.expm1(-r * log_ratio) / mass - m * np.exp(-m * t)
    of_r, of_s, shifted = np.exp(-r * t), np.exp(-s * t), rest / (1 + ratio)
    difference = of_s - of_r
    for_m = difference * (shifted - np.exp(-m * t) * (1 - m * t))
    for_r = difference * (rest * log_ratio / mass - shifted * m / r) + t * of_r * bracket
    return np.concatenate([difference * bracket, for_m, for_r, -t * of_s * bracket])


def largest_errors(t, weights, reach, number=3000, seed=1):
    """Returns the largest errors of the divergence and its derivatives over other parameters, in float64."""
    sample = parameters(number, reach, np.random.default_rng(seed))
    errors = integrands(*sample, np.array(t)) @ weights - integrands(*sample, FINE_T) @ FINE_WEIGHTS
    return np.abs(errors).reshape(4, number).max(1)


def find(nodes, reach, number=2500, seed=0, rounds=6):
    """Returns the t and the weights of a rule."""
    sample = parameters(number, reach, np.random.default_rng(seed))
    exact = integrands(*sample, FINE_T) @ FINE_WEIGHTS
    importance, log_t = np.ones(len(exact)), np.linspace(-0.3, np.log(reach) + 1.75, nodes)
    best = np.inf, None, None

    def residual(log_t):
        values, target = integrands(*sample, np.exp(log_t)) * importance[:, None], exact * importance
        return (values @ np.linalg.lstsq(values, target, rcond=None)[0] - target) * 1e4

    for _ in range(rounds):
        log_t = np.sort(least_squares(residual, log_t, max_nfev=40).x)
        values = integrands(*sample, np.exp(log_t))
        weights = np.linalg.lstsq(values * importance[:, None], exact * importance, rcond=None)[0]
        errors = abs(values @ weights - exact)
        best = min(best, (errors.max(), np.exp(log_t), weights), key=lambda each: each[0])
        importance *= (1e-7 + errors) ** 0.25
        importance /= importance.mean()
    return best[1:]


if __name__ == "__main__":
    for largest, nodes in GAUSSIAN.items():
        rule = find(len(nodes), largest)
        print(f"reach {largest:.0f}, largest errors", largest_errors(*rule, largest))
        print(*(f"({t:.8g}, {weight:.8g})," for t, weight in zip(*rule, strict=True)))
