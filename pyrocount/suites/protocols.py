"""Evaluation protocols: the choices in which publications differ, a row each."""

from dataclasses import dataclass
from typing import Literal

from pyrocount.metrics.representation import CLASSIFIERS
from pyrocount.metrics.similarity import Window

# Mark between a suite and the protocol by which it has measured, in names of results.
MARK = "@"


@dataclass(frozen=True)
class Protocol:
    """Choices of an evaluation in which publications differ.

    Attributes:
        name: name on the command line.
        suites: suites that the publication has a protocol of; None for all.
        probes: classifiers that are given 200, 1000 and 5000 labels.
        few_shot: classifiers that are given a few labels of each class.
        fixed_halves: whether labels are given of the first half of the held-out observations, in their order, and the
            second half is tested; by default every repeat halves them at random.
        repeats: number of draws of the 200, 1000 and 5000 labels.
        all_labels: whether a logistic regression also learns from the labels of all training observations.
        standardised: whether codes are standardised for logistic regression, in probes, few shots and shattering.
        few_shot_labels: observations of which the few labels are: ``"held-out"``, and the others of them are tested,
            or ``"training"``, and all held-out ones are tested.
        few_shot_neighbours: number of neighbours that vote in few shots; None for as many as shots, at most five.
        shattering_labels: number of training labels from which shattering learns, drawn anew in each repeat; None for
            all, without repeats.
        ssim_window: window of the structural similarity.
        fid_images: images with which generated ones are compared, ``"held-out"`` or ``"training"``.
        silent_sparsity: sparsity of latents, and of observations, without any activity; None leaves them out.
    """

    name: str
    suites: tuple[str, ...] | None = None
    probes: tuple[str, ...] = CLASSIFIERS
    few_shot: tuple[str, ...] = CLASSIFIERS
    fixed_halves: bool = False
    repeats: int = 5
    all_labels: bool = False
    standardised: bool = True
    few_shot_labels: Literal["held-out", "training"] = "held-out"
    few_shot_neighbours: int | None = None
    shattering_labels: int | None = None
    ssim_window: Window = "uniform"
    fid_images: Literal["held-out", "training"] = "held-out"
    silent_sparsity: float | None = None

    def result(self, suite: str) -> str:
        """Returns the name of a suite's results in ``evaluation.json``: our own have no mark."""
        return suite if self == DEFAULT else f"{suite}{MARK}{self.name}"


DEFAULT = Protocol("pyrocount")

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        DEFAULT,
        # Vafaii, Galor and Yates, Poisson Variational Autoencoder, NeurIPS 2024, appendix C.1; its code.
        Protocol(
            "pvae",
            suites=("representation", "sparsity"),
            probes=("knn",),
            few_shot=(),
            fixed_halves=True,
            repeats=100,
            standardised=False,
            silent_sparsity=1.0,
        ),
        # Zhang et al., Negative Binomial Variational Autoencoders, arXiv 2508.05423, section 5.4 and appendix B.2; its
        # code.
        Protocol(
            "negbio",
            suites=("reconstruction", "generation", "representation"),
            probes=("logistic",),
            repeats=10,
            all_labels=True,
            standardised=False,
            few_shot_labels="training",
            few_shot_neighbours=3,
            shattering_labels=200,
            ssim_window="gaussian",
            fid_images="training",
        ),
    )
}
