"""Groups of the options of training."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pyrocount.options import FRACTION, NONNEGATIVE_NUMBER, POSITIVE_NUMBER, POSITIVE_WHOLE_NUMBER, USUAL, UsedWith


@dataclass(frozen=True)
class ObjectiveOptions:
    """Options of the objective that training minimises."""

    beta: Annotated[
        float,
        "weight of the KL divergence, reached after --anneal of training; in sparse coding, of the sum of the codes",
        POSITIVE_NUMBER,
    ] = 1.0
    anneal: Annotated[float, "part of training over which temperature and weight of the KL are annealed", FRACTION] = (
        0.5
    )


@dataclass(frozen=True)
class TrainingOptions:
    """Options of the training loop."""

    epochs: Annotated[
        int,
        "passes over the training data; by default 500 for recordings with linear networks, else 300",
        POSITIVE_WHOLE_NUMBER,
    ] = USUAL
    batch_size: Annotated[
        int,
        "observations in a minibatch; by default 64 for recordings with linear networks, else 128",
        POSITIVE_WHOLE_NUMBER,
    ] = USUAL
    optimizer: Annotated[Literal["adam", "adamax", "adamw"], "optimiser"] = "adam"
    weight_decay: Annotated[
        float,
        "decoupled weight decay of the weights, not the biases, of encoder and decoder: a step shrinks them by --lr "
        "times this; by default 5 for recordings with linear networks, .01 for adamw, else none",
        NONNEGATIVE_NUMBER,
        UsedWith("optimizer", lambda facts: facts["optimizer"] != "adamax", "adam or adamw"),
    ] = USUAL
    lr: Annotated[
        float, "peak learning rate; by default .01 for recordings with linear networks, else .002", POSITIVE_NUMBER
    ] = USUAL
    warmup: Annotated[float, "part of training in which the learning rate rises, before a cosine decay", FRACTION] = (
        0.01
    )
    max_gradient_norm: Annotated[float, "norm to which the gradient is clipped", POSITIVE_NUMBER] = 100.0
