"""Suite of the inputs that excite latents most."""

import numpy as np

from pyrocount import figures
from pyrocount.backends import exciting_inputs
from pyrocount.backends.evaluation import Array
from pyrocount.metrics.sensitivity import cosines

from .base import EvaluationContext, Result, Table, mean_over

# Numbers of latents, the most informative, and of held-out observations for each.
LATENTS, BEST = 12, 3
# Largest number of training observations for the mean, the distances from it and the range of values.
TRAINED = 5000
# Least count of an input: the encoder takes roots of counts, whose slope is infinite at 0.
LEAST = 0.01


def exciting_inputs_suite(context: EvaluationContext) -> Result:
    """Finds inputs that excite the most informative latents, by gradient ascent through the encoder and held out.

    The ascent starts at the mean of the training data and goes as far as half of these data are from it. Excitation is
    that of the posterior mean, in standard deviations over the held-out observations.
    """
    result, model = Result(), context.model
    latents = np.argsort(-context.evaluation.latent_kl)[:LATENTS]
    x, _ = context.test()
    responses = context.evaluation.posterior_mean[:, latents].astype(np.float64)
    middle, spread = responses.mean(0), np.maximum(responses.std(0), 1e-12)
    best = np.argsort(-responses, axis=0)[:BEST]
    train, exposure = context.training(TRAINED)
    mean: Array = np.asarray(np.nanmean(train, 0, dtype=np.float64), x.dtype)
    atoms = model.dictionary()[latents]
    shown = np.where(np.isnan(x), mean, x)[best]
    values: dict[str, Array] = {"best held out": np.take_along_axis(responses, best, 0)[0]}
    rows: dict[str, Array] = {}
    with result.attempt("gradient ascent"):
        distances = np.sqrt(np.nansum(np.square(train - mean), tuple(range(1, x.ndim)), dtype=np.float64))
        rows["exciting"], values["exciting"] = exciting_inputs(
            model.encoder_model(),
            latents.tolist(),
            mean,
            radius=float(np.median(distances)),
            limits=(max(float(np.nanmin(train)), LEAST if model.observes_counts else -np.inf), float(np.nanmax(train))),
            exposure=None if exposure is None else float(exposure.mean()),
        )
    columns = []
    for name, response in values.items():
        deviations = (response - middle) / spread
        inputs = rows["exciting"] if name == "exciting" else shown.mean(0)
        similar = cosines(inputs - mean, atoms)
        columns.append((deviations, similar))
        key = name.replace(" ", "_")
        result.metrics |= {f"{key}_deviations": mean_over(deviations), f"{key}_with_decoder": mean_over(similar)}
    header = [f"{name}: {what}" for name in values for what in ("deviations", "cosine with the decoder")]
    table = np.array(columns).reshape(-1, len(latents)).T
    lines = [(str(latent), *line) for latent, line in zip(latents, table.tolist(), strict=True)]
    result.tables.append(Table("Excitation of the most informative latents", ("latent", *header), lines))
    if context.is_images:
        rows |= {f"held out {place + 1}": shown[place] for place in range(len(best))}
    else:
        # Curves of data and of changes are comparable where all are changes.
        rows = {kind: part - mean for kind, part in rows.items()} | {"best held out": shown.mean(0) - mean}
    rows["decoder"] = atoms
    signed = ["decoder"] if context.is_images else list(rows)
    names = [f"latent {latent}" for latent in latents]
    result.figures["exciting_inputs"] = figures.by_latent(rows, names, signed=signed)
    return result
