"""Suite of the sensitivity of data to the latents, by stimulation and silencing."""

import numpy as np
from scipy import stats

from pyrocount import figures
from pyrocount.backends import derived_seed
from pyrocount.metrics import squared_errors
from pyrocount.metrics.sensitivity import carriers, rank_correlation, root_mean_square
from pyrocount.process.progress import progress_bar

from .base import EvaluationContext, Result, Table, mean_over

# Numbers of draws of the prior for the size of a stimulation, and of latents in the table and in the figure.
PRIOR_DRAWS, LATENTS = 2000, 12


def sensitivity(context: EvaluationContext) -> Result:
    """Measures what one more spike of a latent changes, and what is lost where a latent is silenced.

    Latents are exact posterior samples of the checked observations. Stimulation adds one spike; to latents that are not
    counts, one standard deviation of the prior. Silencing sets a latent to 0, before its activation where it has one.
    """
    result, model = Result(), context.model
    x, exposure = context.test(context.checked)
    z = model.draws(x, exposure, samples=1, seed=derived_seed(context.seed, 8), progress=context.progress).z[0]
    means, nll = model.decoded(z, x, exposure)
    errors = squared_errors(x, means)
    unit = np.ones(model.latent_dim)
    if not model.has_counts:
        unit = model.prior_latents(PRIOR_DRAWS, seed=context.seed).std(0)
    number = len(x), model.latent_dim
    change, rise, rise_mse = np.empty(number), np.empty(number), np.empty(number)
    added, silenced = (np.empty((model.latent_dim, *x.shape[1:]), means.dtype) for _ in range(2))
    for latent in progress_bar(range(model.latent_dim), shown=context.progress, leave=False, unit="latent"):
        with_spike, without = z.copy(), z.copy()
        with_spike[:, latent] += unit[latent]
        without[:, latent] = 0
        difference = model.decoded(with_spike, x, exposure)[0] - means
        change[:, latent], added[latent] = root_mean_square(difference), difference.mean(0)
        other, other_nll = model.decoded(without, x, exposure)
        rise[:, latent], rise_mse[:, latent] = other_nll - nll, squared_errors(x, other) - errors
        silenced[latent] = (other - means).mean(0)

    rises, changes = rise.mean(0), change.mean(0)
    result.metrics |= {
        "silencing_nll": mean_over(rise.mean(1)),
        "silencing_mse": mean_over(rise_mse.mean(1)),
        "silencing_carriers": carriers(rises),
        "stimulation_change": mean_over(change.mean(1)),
        "stimulation_carriers": carriers(changes),
        "silencing_with_stimulation": rank_correlation(rises, changes),
        "silencing_with_information": rank_correlation(rises, context.evaluation.latent_kl),
        "latents": model.latent_dim,
    }
    largest = np.argsort(-rises)[:LATENTS]
    rows = [
        (str(latent), float(rises[latent]), float(rise_mse[:, latent].mean()), float(changes[latent]))
        for latent in largest
    ]
    header = ("latent", "rise of the NLL, silenced (nats)", "rise of the MSE", "RMS change, stimulated")
    result.tables.append(Table("Latents, by what is lost without them", header, rows))
    margins = stats.t.ppf(0.975, len(rise) - 1) * rise.std(0, ddof=1) / np.sqrt(len(rise))
    name = "one spike added" if model.has_counts else "one prior deviation added"
    result.figures["sensitivity"] = figures.sensitivity(rises, changes, margins, name)
    kinds = {"one spike" if model.has_counts else "added": added[largest], "silenced": silenced[largest]}
    names = [f"latent {latent}" for latent in largest]
    result.figures["perturbations"] = figures.by_latent(kinds, names, signed=list(kinds))
    return result
