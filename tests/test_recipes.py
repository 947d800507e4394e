"""Recipes of published experiments."""

import math

import pytest

from pyrocount import fit, sweep
from pyrocount.command_line import parse
from pyrocount.config import Config
from pyrocount.models.options import LatentOptions
from pyrocount.recipes import recipe, recipes
from pyrocount.sweeps.grid import grid, tasks_of

NAMES = [each.name for each in recipes()]


def test_the_models_of_a_table_are_there_for_each_of_its_sets():
    families = ("mc-g", "mc-c", "ds-g", "ds-c", "poisson", "gaussian", "laplace", "categorical")
    sets = ("mnist", "fashion-mnist", "cifar10-16", "celeba-64")
    assert {f"negbio-{family}-{data}" for family in families for data in sets} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_of_a_recipe_has_a_use(name):
    found = recipe(name)
    config = Config(**found.options)
    assert all([found.title, found.source, found.differs])
    assert all(config.options[option] == value for option, value in found.options.items())


@pytest.mark.parametrize(
    ("data", "channels", "height"), [("mnist", 1, 28), ("cifar10-16", 3, 16), ("celeba-64", 3, 64)]
)
def test_the_weight_of_the_divergence_is_that_of_the_official_loss(data, channels, height):
    """It is the squared error summed over the width alone, and the mean divergence of a latent."""
    options = recipe(f"negbio-mc-g-{data}").options
    assert options["beta"] == pytest.approx(channels * height / options["latent_dim"])


def test_options_beside_a_recipe_win():
    config = parse(["--recipe=negbio-ds-c-mnist", "--epochs=3", "--latent-dim=8"])
    assert (config.model, config.options["kl"], config.options["epochs"]) == ("negbio", "shared", 3)
    assert config[LatentOptions].latent_dim == 8


def test_the_list(capsys):
    with pytest.raises(SystemExit) as end:
        fit.main(["--recipe", "help"])
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == NAMES


def test_what_a_recipe_switches_can_be_switched_back():
    usual = parse(["--recipe=pvae-lin-lin-mc-van-hateren", "--data-dir=x"])
    assert (usual.options["tiles"], usual.options["bias"]) == (True, False)
    config = parse(["--recipe=pvae-lin-lin-mc-van-hateren", "--data-dir=x", "--no-tiles", "--bias"])
    assert (config.options["tiles"], config.options["bias"]) == (False, True)


def test_options_that_lose_their_use_are_left_out():
    config = parse(["--recipe=negbio-ds-c-mnist", "--estimator=stein"])
    assert config.options["estimator"] == "stein"
    assert {"temperature", "indicator"}.isdisjoint(config.options)
    other = parse(["--recipe=negbio-ds-g-mnist", "--model=gaussian"])
    assert (other.model, other.options["estimator"], other.options["beta"]) == ("gaussian", "pathwise", 28 / 256)


def test_a_grid_wins_over_a_recipe():
    usual, chosen = recipe("negbio-ds-c-mnist").options, grid(["beta=.5,1", "estimator=stein,arrival"])
    tasks = tasks_of(chosen, 1, {"epochs": 3}, "runs", usual)
    found = [(task.options["beta"], "temperature" in task.options, task.options["epochs"]) for task in tasks]
    assert found == [(0.5, False, 3), (0.5, True, 3), (1.0, False, 3), (1.0, True, 3)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe=nothing"], "--recipe: got 'nothing', expected the name of a recipe"),
        (["--recipe=negbio-mc-g-mnist", "--resume", "--name=x"], "expected no recipe with --resume"),
    ],
)
def test_bad_input(arguments, message, capsys):
    assert fit.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_sweep_of_a_recipe_lacks_its_data_alone(capsys, tmp_path):
    """The set is not there, which each fit says; the options have come that far."""
    arguments = ["--recipe=negbio-poisson-mnist", f"--data-dir={tmp_path}", f"--out={tmp_path}/runs", "--jobs=1"]
    assert sweep.main(arguments) == 1
    assert "failed: poisson-seed=0: data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("pvae-lin-lin-mc-mnist", -6, -4), ("pvae-conv-conv-poisson-mnist", -6, -2), ("ipvae-van-hateren", -6, -4)],
)
def test_first_log_rates_are_those_of_the_publications(name, low, high):
    options = recipe(name).options
    middle, spread = math.log(options["initial_rate"]), options["initial_spread"]
    assert (middle - spread, middle + spread) == pytest.approx((low, high), abs=1e-3)


def test_the_estimators_and_networks_of_the_poisson_vae_are_there_for_each_set():
    for data in ("van-hateren", "cifar10-patches", "mnist"):
        for networks in ("lin-lin", "conv-lin"):
            for row in ("ex", "mc", "cubic", "st", "gaussian", "laplace", "categorical"):
                assert f"pvae-{networks}-{row}-{data}" in NAMES
    hard = Config(**recipe("pvae-lin-lin-hard-van-hateren").options).options
    assert (hard["estimator"], hard["hard_after"], hard["indicator"]) == ("arrival", 0.5, "sigmoid")


def test_the_publications_numbers_of_patches_are_whole_tiles():
    """101 images give 80 for training and 21 to hold out, of 1344 tiles each."""
    options = recipe("pvae-lin-lin-mc-van-hateren").options
    held_out = round(101 * options["test_fraction"])
    assert (options["patches"] / (101 - held_out), options["test_patches"] / held_out) == (1344, 1344)
