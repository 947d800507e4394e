"""Group of the options that describe the data."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pyrocount.options import POSITIVE_NUMBER, USUAL, Accepted, UsedWith, listed

from .dataset import NAMED
from .vision import SETS


@dataclass(frozen=True)
class DataOptions:
    """Options of the data of a run."""

    data: Annotated[
        str,
        f"{', '.join(NAMED)} (digits are scikit-learn's handwritten digits, patches are patches of natural images, the "
        "others are sets of torchvision), or a .npy or .npz file with an array N x features or N x channels x height x "
        "width",
    ] = "digits"
    data_dir: Annotated[
        str | None,
        "folder in which torchvision keeps its sets, 'data' by default; for patches, a folder of images or an array "
        "file of images, scikit-learn's photographs by default",
        UsedWith("data", lambda facts: facts["data"] in ("patches", *SETS), listed(["patches", *SETS])),
    ] = None
    download: Annotated[
        bool,
        "download a set of torchvision that is missing",
        UsedWith("data", lambda facts: facts["data"] in SETS, listed([*SETS])),
    ] = False
    scaling: Annotated[
        Literal["standard", "unit", "symmetric", "none"],
        "standard: subtract the mean of the training set and divide by its standard deviation, one number each; unit "
        "and symmetric: range to [0, 1] and [-1, 1]; by default none for counts, unit for Bernoulli, else symmetric "
        "for colour sets, unit for other sets of torchvision, standard for the rest",
    ] = USUAL
    whiten: Annotated[
        bool,
        "whiten the images for patches, before their contrast is normalised",
        UsedWith("data", lambda facts: facts["data"] == "patches", "patches"),
    ] = True
    flip: Annotated[bool, "mirror images from left to right at random in training"] = False
    exposure: Annotated[
        float | None,
        "length of the windows in which counts were taken; by default an array 'exposure' in the .npz file, or 1",
        POSITIVE_NUMBER,
        UsedWith("likelihood", lambda facts: facts["observes_counts"], "poisson or negbio"),
    ] = None
    test_fraction: Annotated[
        float,
        "fraction of the data that is held out for testing, where there is no official split",
        Accepted(lambda value: 0 < value < 1, "a number between 0 and 1"),
        UsedWith("data", lambda facts: facts["data"] not in ("patches", *SETS), "digits or a file"),
    ] = 0.2
