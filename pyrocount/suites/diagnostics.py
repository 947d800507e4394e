"""Suite of the checks of the posterior latents."""

import math

import numpy as np

from pyrocount import figures
from pyrocount.backends import derived_seed, to_arviz
from pyrocount.diagnostics import (
    aggregate_distance,
    chance_distance,
    check,
    match_latents,
    predictive_checks,
    randomised_pit,
    ranks,
    rootogram,
    uniformity_distance,
)
from pyrocount.metrics.importance import effective_sample_size, pareto_k

from .base import EvaluationContext, Result, Table, mean_over

# Number of samples of an observation where they are not for importance weights.
DRAWS = 100
# Number of observations whose samples are kept for ArviZ.
SAVED = 100
# Largest size of the replicates of the data.
REPLICATED = 100_000_000
LIMIT_K, SURPRISING = 0.7, 0.05
PRIOR_DRAWS = 20_000


def diagnostics(context: EvaluationContext) -> Result:
    """Checks importance weights, predictions, calibration, prior against aggregate posterior, and dead latents."""
    result = Result()
    if context.model.has_density:
        _weights(context, result)
    else:
        result.remarks.append("the posterior is a point: importance weights and calibration have no meaning")
    _predictions(context, result)
    if context.model.has_density:
        _calibration(context, result)
    _latents(context, result)
    _restarts(context, result)
    with result.attempt("posterior"):
        chains = {"this run": context.model} | context.restarts
        result.posterior = to_arviz(
            chains,
            *context.test(SAVED),
            samples=DRAWS,
            seed=context.seed,
            observations=context.names(SAVED),
            channels=context.data.channels,
        )
    return result


def _weights(context: EvaluationContext, result: Result) -> None:
    with result.attempt("k-hat"):
        k, effective = pareto_k(context.log_weights), effective_sample_size(context.log_weights)
        above = float(np.mean(~(k <= LIMIT_K)))
        result.metrics |= {
            "k_hat_median": float(np.nanmedian(k)),
            "k_hat_above_0.7": above,
            "effective_samples": mean_over(effective),
            "samples": context.samples,
        }
        result.figures["importance"] = figures.importance(k, effective, context.samples)
        result.checks += [
            check("k_hat", above),
            check("effective", float(np.median(effective)) / context.samples),
        ]


def _predictions(context: EvaluationContext, result: Result) -> None:
    model = context.model
    number = min(context.checked, max(20, REPLICATED // (DRAWS * math.prod(context.data.shape))))
    x, exposure = context.test(number)
    seed = derived_seed(context.seed, 1)
    drawn = model.draws(x, exposure, samples=DRAWS, seed=seed, replicate=True, progress=context.progress)
    assert drawn.replicates is not None
    compared = predictive_checks(x, drawn.replicates, counts=model.observes_counts)
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
    # Draws of a point are all equal, and no weighting takes out the influence of the datum on it.
    if model.has_density:
        pit = randomised_pit(x, drawn.replicates, drawn.pointwise_log_likelihood, seed=context.seed)[~np.isnan(x)]
        distance = float(uniformity_distance(pit.reshape(-1, 1))[0])
        result.metrics["pit_distance"] = distance
        result.figures["pit"] = figures.uniformity({"randomised PIT of the data": pit})
        result.checks.append(check("pit", max(distance - chance, 0.0)))
    prior = model.prior_latents(PRIOR_DRAWS, seed=derived_seed(context.seed, 2))
    aggregate = float(aggregate_distance(drawn.z, prior).mean())
    result.metrics |= {"aggregate_distance": aggregate, "chance_distance": chance}
    result.checks.append(check("aggregate", max(aggregate - chance, 0.0)))
    pairs = {}
    if model.observes_counts:
        pairs["data"] = rootogram(x, drawn.replicates)
    if model.has_counts:
        pairs["latents: posterior (bars), prior (line)"] = rootogram(drawn.z, prior)
    if pairs:
        result.figures["rootogram"] = figures.rootograms(pairs)


def _calibration(context: EvaluationContext, result: Result) -> None:
    model, number = context.model, context.checked
    windows = context.windows(number)
    z, _, data = model.prior_draws(number, windows, seed=derived_seed(context.seed, 4))
    seed = derived_seed(context.seed, 5)
    drawn = model.draws(data, windows, samples=DRAWS, seed=seed, progress=context.progress)
    place = ranks(z, drawn.z, seed=context.seed)
    jitter = np.random.default_rng((context.seed, 2)).random(place.shape)
    uniform = (place + jitter) / (DRAWS + 1)
    distance, chance = float(uniformity_distance(uniform).mean()), chance_distance(number)
    result.metrics |= {"sbc_distance": distance, "sbc_chance": chance, "sbc_simulations": number}
    result.figures["calibration"] = figures.uniformity({"rank of the true latent": uniform})
    result.checks.append(check("calibration", max(distance - chance, 0.0)))


def _latents(context: EvaluationContext, result: Result) -> None:
    model = context.model
    evaluation = context.evaluation
    dead = 1 - evaluation.metrics["active_latents"] / model.latent_dim
    result.metrics["dead_latents"] = dead
    result.checks.append(check("dead", dead))
    _collapse(context, result)
    relaxed = model.relaxed(*context.test(context.checked), seed=context.seed)
    if relaxed is not None:
        gap = mean_over(evaluation.per_observation["nll"][: len(relaxed["nll"])] - relaxed["nll"])
        result.metrics["hard_soft_gap"] = gap
        result.checks.append(check("hard_soft", max(gap.mean, 0.0) / max(evaluation.metrics["kl"], 1e-12)))


def _collapse(context: EvaluationContext, result: Result) -> None:
    """Looks for latents that carry a constant, a posterior that ignores the data, a fit worse than the marginal one."""
    if not context.model.has_density:
        return
    signs = context.model.collapse(context.data, context.evaluation, context.rows)
    number, worse = len(signs.constant), mean_over(signs.lost)
    result.metrics |= {"constant_latents": number, "information": signs.information, "over_marginal": worse}
    result.checks += [
        check("constant", number),
        check("information", signs.information),
        check("marginal", worse.mean),
    ]


def _restarts(context: EvaluationContext, result: Result) -> None:
    if not context.restarts:
        return
    own, cosines = context.model.dictionary(), {}
    for name, other in context.restarts.items():
        _, matched = match_latents(own, other.dictionary(), symmetric=other.is_symmetric)
        cosines[name] = np.abs(matched) if other.is_symmetric else matched
    rows = [(name, float(np.median(values)), float(np.mean(values > 0.9))) for name, values in cosines.items()]
    result.tables.append(Table("Restarts, latents matched", ("restart", "median cosine", "above 0.9"), rows))
    result.figures["restarts"] = figures.restarts(cosines)
    result.checks.append(check("restarts", float(np.median(np.concatenate(list(cosines.values()))))))
