"""Whether the posterior latents can be trusted."""

import math

import numpy as np

from pyrocount import figures
from pyrocount.adapters import derived_seed
from pyrocount.diagnostics import (
    aggregate_distance,
    chance_distance,
    check,
    match_latents,
    predictive_checks,
    randomised_pit,
    ranks,
    rootogram,
    to_arviz,
    uniformity_distance,
)
from pyrocount.metrics.importance import effective_sample_size, pareto_k

from .base import Result, Subject, Table, mean_over

# Samples of an observation for what is not importance weights.
DRAWS = 100
# Observations whose samples are kept for ArviZ.
SAVED = 100
# Numbers that replicates of the data may have in all.
REPLICATED = 100_000_000
LIMIT_K, SURPRISING = 0.7, 0.05
PRIOR_DRAWS = 20_000


def diagnostics(subject: Subject) -> Result:
    """Importance weights, predictive checks, calibration, prior against aggregate posterior, dead latents."""
    result = Result()
    if subject.adapter.has_density:
        _weights(subject, result)
    else:
        result.remarks.append("the posterior is a point: importance weights and calibration have no meaning")
    _predictions(subject, result)
    if subject.adapter.has_density:
        _calibration(subject, result)
    _latents(subject, result)
    _restarts(subject, result)
    with result.attempt("posterior"):
        chains = {"this run": subject.adapter} | subject.restarts
        result.posterior = to_arviz(chains, *subject.test(SAVED), samples=DRAWS, seed=subject.seed)
    return result


def _weights(subject: Subject, result: Result) -> None:
    with result.attempt("k-hat"):
        k, effective = pareto_k(subject.log_weights), effective_sample_size(subject.log_weights)
        above = float(np.mean(~(k <= LIMIT_K)))
        result.figures |= {
            "k_hat_median": float(np.nanmedian(k)),
            "k_hat_above_0.7": above,
            "effective_samples": mean_over(effective),
            "samples": subject.samples,
        }
        result.pictures["importance"] = figures.importance(k, effective, subject.samples)
        result.checks += [
            check("k_hat", above),
            check("effective", float(np.median(effective)) / subject.samples),
        ]


def _predictions(subject: Subject, result: Result) -> None:
    adapter = subject.adapter
    number = min(subject.checked, max(20, REPLICATED // (DRAWS * math.prod(subject.data.shape))))
    x, exposure = subject.test(number)
    seed = derived_seed(subject.seed, 1)
    drawn = adapter.draws(x, exposure, samples=DRAWS, seed=seed, replicate=True, progress=subject.progress)
    assert drawn.replicates is not None
    compared = predictive_checks(x, drawn.replicates, counts=adapter.observes_counts)
    header = ("statistic", "data", "model", "95 % of the draws", "p")
    result.tables.append(
        Table(
            "Data drawn from the posterior beside the data",
            header,
            [
                (one.name, one.observed, one.predicted, f"{one.low:.4g} to {one.high:.4g}", one.p_value)
                for one in compared
            ],
        )
    )
    errors = [one.error for one in compared if one.p_value < SURPRISING and not np.isnan(one.error)]
    result.checks.append(check("predictive", max(errors, default=0.0)))
    chance = chance_distance(len(x))
    # Draws of a point are all one, and no weighting takes out what the datum has done to it.
    if adapter.has_density:
        pit = randomised_pit(x, drawn.replicates, drawn.each_log_likelihood, seed=subject.seed)
        distance = float(uniformity_distance(pit.reshape(-1, 1))[0])
        result.figures["pit_distance"] = distance
        result.pictures["pit"] = figures.uniformity({"randomised PIT of the data": pit})
        result.checks.append(check("pit", max(distance - chance, 0.0)))
    prior = adapter.prior_latents(PRIOR_DRAWS, seed=derived_seed(subject.seed, 2))
    aggregate = float(aggregate_distance(drawn.z, prior).mean())
    result.figures |= {"aggregate_distance": aggregate, "chance_distance": chance}
    result.checks.append(check("aggregate", max(aggregate - chance, 0.0)))
    pairs = {}
    if adapter.observes_counts:
        pairs["data"] = rootogram(x, drawn.replicates)
    if adapter.has_counts:
        pairs["latents: posterior (bars), prior (line)"] = rootogram(drawn.z, prior)
    if pairs:
        result.pictures["rootogram"] = figures.rootograms(pairs)


def _calibration(subject: Subject, result: Result) -> None:
    adapter, number = subject.adapter, subject.checked
    windows = subject.windows(number)
    z, _, data = adapter.prior_draws(number, windows, seed=derived_seed(subject.seed, 4))
    seed = derived_seed(subject.seed, 5)
    drawn = adapter.draws(data, windows, samples=DRAWS, seed=seed, progress=subject.progress)
    place = ranks(z, drawn.z, seed=subject.seed)
    jitter = np.random.default_rng((subject.seed, 2)).random(place.shape)
    uniform = (place + jitter) / (DRAWS + 1)
    distance, chance = float(uniformity_distance(uniform).mean()), chance_distance(number)
    result.figures |= {"sbc_distance": distance, "sbc_chance": chance, "sbc_simulations": number}
    result.pictures["calibration"] = figures.uniformity({"rank of the true latent": uniform})
    result.checks.append(check("calibration", max(distance - chance, 0.0)))


def _latents(subject: Subject, result: Result) -> None:
    adapter = subject.adapter
    evaluation = subject.evaluation
    dead = 1 - evaluation.figures["active_latents"] / adapter.latent_dim
    result.figures["dead_latents"] = dead
    result.checks.append(check("dead", dead))
    relaxed = adapter.relaxed_nll(*subject.test(subject.checked), seed=subject.seed)
    if relaxed is not None:
        gap = mean_over(evaluation.each["nll"][: len(relaxed)] - relaxed)
        result.figures["hard_soft_gap"] = gap
        result.checks.append(check("hard_soft", max(gap.mean, 0.0) / max(evaluation.figures["kl"], 1e-12)))


def _restarts(subject: Subject, result: Result) -> None:
    if not subject.restarts:
        return
    own, cosines = subject.adapter.dictionary(), {}
    for name, other in subject.restarts.items():
        _, matched = match_latents(own, other.dictionary(), symmetric=other.is_symmetric)
        cosines[name] = np.abs(matched) if other.is_symmetric else matched
    rows = [(name, float(np.median(values)), float(np.mean(values > 0.9))) for name, values in cosines.items()]
    result.tables.append(Table("Restarts, latents matched", ("restart", "median cosine", "above 0.9"), rows))
    result.pictures["restarts"] = figures.restarts(cosines)
    result.checks.append(check("restarts", float(np.median(np.concatenate(list(cosines.values()))))))
