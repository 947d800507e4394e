"""Annealed quantities of a run."""

from pyrocount.config import Config
from pyrocount.inference import anneal
from pyrocount.inference.options import ObjectiveOptions
from pyrocount.models.options import RelaxationOptions

# Temperature and KL weight at the start of training; Pyro scales only by positive numbers.
FIRST_TEMPERATURE, FIRST_KL_WEIGHT = 1.0, 1e-4


def annealed(config: Config, progress: float) -> dict[str, float]:
    """Returns the weight of the KL divergence and the temperature at a progress of training from 0 to 1."""
    objective, relaxation = config[ObjectiveOptions], config[RelaxationOptions]
    exponential = relaxation.temperature_schedule == "exponential"
    over = objective.anneal if relaxation.temperature_anneal is None else relaxation.temperature_anneal
    return {
        "kl_weight": anneal(FIRST_KL_WEIGHT, objective.beta, progress, objective.anneal),
        "temperature": anneal(FIRST_TEMPERATURE, relaxation.temperature, progress, over, exponential),
    }
