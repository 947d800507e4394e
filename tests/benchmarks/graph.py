"""A whole training step in a CUDA graph."""

from typing import Any

import torch
from torch import Tensor

from pyrocount.backends import build
from pyrocount.backends.amortized_training import make_elbo
from pyrocount.config import Config

WARM_UP = 3


class CapturedStep:
    """Training step of a model on one batch (N, \\*shape), captured once: forward, backward and the optimiser.

    Args:
        x: batch on a CUDA device.
        network: kind of encoder and decoder.
        options: further options of the model.
    """

    def __init__(self, x: Tensor, network: str = "lin", **options: Any) -> None:
        config = Config(encoder=network, decoder=network, **options)
        torch.manual_seed(0)
        self.x = x
        self.vae = build(config, x.shape[1:]).model.to(x.device)
        self.elbo = make_elbo(config, self.vae)
        self.parameters = [*self.vae.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-4, fused=True, capturable=True)
        # What is allocated at a first step must be there before the capture.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.eager()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(self.graph):
            self.loss = self.eager()

    def eager(self) -> Tensor:
        """Takes a step kernel by kernel; returns the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss: Tensor = self.elbo(self.x) / len(self.x)
        loss.backward()
        self.optimizer.step()
        return loss

    def replay(self) -> Tensor:
        """Takes a step by the graph; returns the loss, which the next replay overwrites."""
        self.graph.replay()
        return self.loss
