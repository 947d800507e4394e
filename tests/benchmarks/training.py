"""Speed of a Poisson VAE's training steps by estimator, and of the training loop, as a table of ratios.

Run it as ``python tests/benchmarks/training.py``. It uses a CUDA device if there is one.
"""

from functools import partial

import pyro
import torch
from measure import Trainer, compare, table

from pyrocount.config import Config
from pyrocount.errors import InputError
from pyrocount.inference import train

LATENTS, SIDE, BATCH, STEPS = 512, 16, 200, 200  # small: 8, 4, 4, 3
VALUES = SIDE**2
# Speeds that are aimed at, as ratios to the speed of a step with the exact gradient, and to one of Stein-Chen.
AIMS = {"stein": "0.77x", "arrival": "0.25x"}
UNBIASED_AIMS = {"lin": "0.71x", "conv": "0.63x"}
PRECISION_AIM = "1.67x"


class Estimated(Trainer):
    """Poisson VAE that trains with one estimator."""

    def __init__(self, estimator: str, x: torch.Tensor, network: str = "lin", precision: str = "float32") -> None:
        options = {"estimator": estimator, "encoder": network, "decoder": network, "precision": precision}
        super().__init__(Config(model="poisson", latent_dim=LATENTS, **options), x[:BATCH])
        self.all = x

    def steps(self) -> None:
        for _ in range(STEPS):
            self.step()

    def loop(self) -> None:
        """Takes as many steps as ``steps`` in the training loop, with all that the loop does between them."""
        train(
            self.elbo,
            self.vae,
            self.optimizer,
            [self.all],
            epochs=1,
            batch_size=BATCH,
            max_gradient_norm=1e9,
            anneal=lambda progress: {},
            monitor=lambda: {"mean_rate": 0.0},
            save=lambda state: None,
        )


def main() -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(2)
    pyro.enable_validation(False)
    pyro.settings.set(module_local_params=True)
    x = torch.randn(STEPS * BATCH, VALUES, device=device)
    estimators = ("exact", "stein", "arrival", "straight-through", "gumbel", "score")
    trainers = {name: Estimated(name, x) for name in estimators}
    line = partial(compare, device=device, repeats=30)
    rows = [
        line(f"step, {name} / exact", trainers[name].step, trainers["exact"].step, AIMS.get(name, ""))
        for name in estimators[1:]
    ]
    images = x.unflatten(1, (1, SIDE, SIDE))
    for network, data in (("lin", x), ("conv", images)):
        unbiased, stein = (Estimated(name, data, network) for name in ("unbiased", "stein"))
        rows.append(line(f"step, {network}, unbiased / stein", unbiased.step, stein.step, UNBIASED_AIMS[network]))
    try:
        bf16 = Estimated("stein", images, "conv", "bf16")
    except InputError as error:
        print(error)
    else:
        rows.append(
            line("step, conv, bf16 / float32", bf16.step, Estimated("stein", images, "conv").step, PRECISION_AIM)
        )
    loop = trainers["exact"]
    rows.append(compare("training loop / its steps, exact", loop.loop, loop.steps, "0.91x", device, repeats=5))
    print(f"Poisson VAE, linear unless said, {LATENTS} latents, {VALUES} values, batch {BATCH}, on {device.type}")
    print(table(rows))


if __name__ == "__main__":
    main()
