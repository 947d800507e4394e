"""Groups of the options that describe the data."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pyrocount.options import POSITIVE_NUMBER, POSITIVE_WHOLE_NUMBER, USUAL, Accepted, UsedWith, listed

from .vision import SETS

# Names of the data sets that need no file.
NAMED = ("digits", "patches", *SETS)
FROM_A_FILE = UsedWith("data", lambda facts: facts["data"] not in NAMED, "a file")
OF_PATCHES = UsedWith("data", lambda facts: facts["data"] == "patches", "patches")
# Fraction of the data that is held out, unless another one is given.
TEST_FRACTION = 0.2


@dataclass(frozen=True)
class FileOptions:
    """Options of data that are read from a file: what its arrays or columns mean, and how bins become observations."""

    array: Annotated[
        str | None,
        "name of the array of observations in an .npz or .mat file; by default x, or the only array",
        FROM_A_FILE,
    ] = None
    labels: Annotated[
        str | None,
        "name of the array or column with the label of each observation: numbers or text; by default labels, if there "
        "is one",
        FROM_A_FILE,
    ] = None
    channels: Annotated[
        str | None,
        "name of the array with the names of the channels, or of a column of the units in NWB; by default channels, if "
        "there is one, or the header of a table",
        FROM_A_FILE,
    ] = None
    trials: Annotated[
        str | None,
        "name of the array or column with the trial of each observation, by default trials, if there is one; for spike "
        "times of pynapple, the .npz file of an IntervalSet of trials",
        FROM_A_FILE,
    ] = None
    groups: Annotated[
        str | None,
        "name of the array or column with the group of each observation, such as its session: groups are held out as a "
        "whole",
        FROM_A_FILE,
    ] = None
    velocity: Annotated[
        str | None,
        "name of the array or column with the velocity at each observation (observations x components or trials x time "
        "x components), which is decoded from predicted rates; by default velocity, if there is one",
        FROM_A_FILE,
    ] = None
    bin: Annotated[
        float | None,
        "length in seconds of the bins in which spike times are counted; by default a trial is one observation, the "
        "exposure of which is its duration",
        POSITIVE_NUMBER,
        FROM_A_FILE,
    ] = None
    time: Annotated[
        Literal["flatten", "sum"],
        "observations of an array trials x time x channels: each bin, or the sum over the bins of a trial",
        FROM_A_FILE,
    ] = "flatten"
    missing: Annotated[
        Literal["refuse", "mask"],
        "missing counts (NaN): an error, or left out of the likelihood",
        UsedWith("likelihood", lambda facts: facts["observes_counts"], "poisson or negbio"),
    ] = "refuse"


@dataclass(frozen=True)
class DataOptions:
    """Options of the data of a run."""

    data: Annotated[
        str,
        f"{', '.join(NAMED)} (digits are scikit-learn's handwritten digits, patches are patches of natural images, the "
        "others are sets of torchvision); or a file: .npy, .npz, .mat, .csv or .tsv with observations x features, "
        "observations x channels x height x width or trials x time x channels, SciPy's sparse .npz, spike times in "
        ".nwb or pynapple's .npz; or a folder of .npy files, one after the other, or of a zarr array (.zarr)",
    ] = "digits"
    data_dir: Annotated[
        str | None,
        "folder in which torchvision keeps its sets, 'data' by default; for patches, a folder of images (van Hateren's "
        ".iml too), torchvision's folder of CIFAR-10, or an array file of images, with a split of its own where it has "
        "arrays x_train and x_test; scikit-learn's two photographs by default",
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
        OF_PATCHES,
    ] = True
    flip: Annotated[bool, "mirror images from left to right at random in training"] = False
    exposure: Annotated[
        float | None,
        "length of the windows in which counts were taken; by default an array 'exposure' in the file, or 1",
        POSITIVE_NUMBER,
        UsedWith("likelihood", lambda facts: facts["observes_counts"], "poisson or negbio"),
    ] = None
    test_fraction: Annotated[
        float,
        "fraction of the data that is held out for testing, where there is no official split: of the observations, or "
        "for patches of the images, or of the width of each with --split part; by default 0.2",
        Accepted(lambda value: 0 < value < 1, "a number between 0 and 1"),
        UsedWith("data", lambda facts: facts["data"] not in SETS, "digits, patches or a file"),
    ] = USUAL
    split: Annotated[
        str,
        "observations that are held out: random ones (whole trials and groups, where these are known), random blocks "
        "of consecutive ones (block), or those that a .npy or .csv file marks by 1 or test; for patches, those of "
        "whole images (image), or of the right part of every image (part); by default random, or image, but part of a "
        "single image and of scikit-learn's photographs",
        UsedWith("data", lambda facts: facts["data"] not in ("digits", *SETS), "patches or a file"),
    ] = USUAL


@dataclass(frozen=True)
class PatchOptions:
    """Options of the choice of patches of images."""

    patches: Annotated[
        int | None,
        "number of patches for training, shared equally by the images; by default 40000, or all tiles",
        POSITIVE_WHOLE_NUMBER,
        OF_PATCHES,
    ] = None
    test_patches: Annotated[
        int | None,
        "number of held-out patches; by default 8000, or all tiles",
        POSITIVE_WHOLE_NUMBER,
        OF_PATCHES,
    ] = None
    tiles: Annotated[
        bool,
        "cut images into tiles that do not overlap, in place of patches at random positions",
        OF_PATCHES,
    ] = False
