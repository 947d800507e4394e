import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from pyrocount import figures

RNG = np.random.default_rng(0)


def drawn_images(figure):
    return [image.get_array() for axis in figure.axes for image in axis.images]


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_reconstructions_pair_data_with_model(channels):
    x = RNG.random((7, channels, 5, 4)).astype(np.float32)
    figure = figures.reconstructions(x, 1 - x, columns=4, rows=2)
    images = drawn_images(figure)
    assert len(images) == 14
    if channels != 3:
        grey = x.mean(1)
        for row in range(2):
            for column in range(4 if row == 0 else 3):
                data = images[row * 8 + column] if row == 0 else images[8 + column]
                np.testing.assert_allclose(data, grey[4 * row + column], atol=1e-6)
        np.testing.assert_allclose(images[4], 1 - grey[0], atol=1e-6)


def test_tables_are_drawn_as_curves():
    x = RNG.random((5, 9)).astype(np.float32)
    figure = figures.reconstructions(x, x + 1)
    lines = [axis.lines for axis in figure.axes if axis.lines]
    assert len(lines) == 5
    np.testing.assert_array_equal(lines[2][1].get_ydata(), x[2] + 1)
    assert sum(len(axis.lines) for axis in figures.samples(x).axes) == 5


def test_samples_and_dictionary_draw_every_item():
    items = RNG.normal(size=(13, 1, 4, 4)).astype(np.float32)
    items[3] = 0
    assert len(drawn_images(figures.samples(items, limits=(0, 1)))) == 13
    atoms = drawn_images(figures.dictionary(items))
    assert len(atoms) == 13
    assert all(np.abs(atom).max() == pytest.approx(1) for number, atom in enumerate(atoms) if number != 3)
    assert not atoms[3].any()


def test_training_curves_draw_the_history():
    names = ("epoch", "elbo", "test_nelbo", "test_kl", "mean_rate", "kl_weight", "temperature", "learning_rate")
    history = [dict.fromkeys(names, float(epoch)) for epoch in range(1, 6)]
    figure = figures.training_curves(history)
    assert len(figure.axes) == 4
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [-1, -2, -3, -4, -5])
    assert isinstance(figures.training_curves(history[:1]), Figure)


def test_histograms_compare_with_both_laws():
    counts = np.stack([RNG.negative_binomial(2, 0.4, 4000), RNG.poisson(0.5, 4000), np.zeros(4000)], 1).astype(
        np.float32
    )
    figure = figures.count_histograms(counts, [0, 2])
    overdispersed, silent = figure.axes[:2]
    heights = [bar.get_height() for bar in overdispersed.patches]
    assert sum(heights) == pytest.approx(1)
    assert heights[0] == pytest.approx(np.mean(counts[:, 0] == 0))
    assert len(overdispersed.lines) == 2
    assert len(silent.lines) == 1
    assert "latent 0: mean 3." in overdispersed.get_title()


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 4, 4), (6,)], ids=str)
def test_figures_are_saved(tmp_path, shape):
    items = RNG.random((3, *shape)).astype(np.float32)
    for figure in (figures.reconstructions(items, items), figures.samples(items), figures.dictionary(items)):
        figure.savefig(tmp_path / "figure.png")
        assert imread(tmp_path / "figure.png").std() > 0.01
