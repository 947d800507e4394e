import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from pyrocount import figures

RNG = np.random.default_rng(0)


def tiles(figure, height, width):
    """The images (height, width, 3) in a mosaic, row by row, without those that are blank."""
    ((image,),) = [axis.images for axis in figure.axes]
    canvas = np.asarray(image.get_array())
    found = [
        canvas[top : top + height, left : left + width]
        for top in range(0, canvas.shape[0], height + 1)
        for left in range(0, canvas.shape[1], width + 1)
    ]
    return [tile for tile in found if not (tile == 1).all()]


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_reconstructions_pair_data_with_model(channels):
    x = RNG.random((7, channels, 5, 4)).astype(np.float32)
    figure = figures.reconstructions(x, 1 - x, columns=4, rows=2)
    images = tiles(figure, 5, 4)
    assert len(images) == 14
    low, high = x.min(), x.max()
    shown = x if channels == 3 else x.mean(1, keepdims=True).repeat(3, 1)
    for start, number in ((0, 4), (8, 3)):
        for index in range(number):
            data = (shown[start // 2 + index].transpose(1, 2, 0) - low) / (high - low)
            model = (1 - shown[start // 2 + index].transpose(1, 2, 0) - low) / (high - low)
            np.testing.assert_allclose(images[start + index], data, atol=1e-5)
            np.testing.assert_allclose(images[start + number + index], np.clip(model, 0, 1), atol=1e-5)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["data", "model"] * 2


def test_tables_are_drawn_as_curves():
    x = RNG.random((5, 9)).astype(np.float32)
    figure = figures.reconstructions(x, x + 1)
    lines = [axis.lines for axis in figure.axes if axis.lines]
    assert len({axis.get_ylim() for axis in figure.axes}) == 1
    assert len(lines) == 5
    np.testing.assert_array_equal(lines[2][1].get_ydata(), x[2] + 1)
    (axis,) = figures.samples(x, columns=2).axes
    curves = [line for line in axis.lines if len(line.get_ydata()) == x.shape[1]]
    # Two in a row, all on one scale, each row below the one before.
    drops = np.array([curve.get_ydata() - item for curve, item in zip(curves, x, strict=True)])
    np.testing.assert_allclose(drops, drops[:, :1].repeat(9, 1), atol=1e-6)
    height = 1.15 * np.ptp(x)
    assert drops[:, 0] == pytest.approx([0, 0, -height, -height, -2 * height], rel=1e-5)
    assert [curve.get_xdata()[0] for curve in curves] == pytest.approx([0, 1.15, 0, 1.15, 0])


def test_samples_and_dictionary_draw_every_item():
    items = RNG.normal(size=(13, 1, 4, 4)).astype(np.float32)
    items[3] = 0
    assert len(tiles(figures.samples(items, limits=(-9, 9)), 4, 4)) == 13
    atoms = tiles(figures.dictionary(items), 4, 4)
    assert len(atoms) == 13
    assert all(np.abs(2 * atom - 1).max() == pytest.approx(1) for number, atom in enumerate(atoms) if number != 3)
    np.testing.assert_allclose(atoms[3], 0.5)


def test_training_curves_draw_the_history():
    names = ("epoch", "elbo", "test_nelbo", "test_kl", "mean_rate", "kl_weight", "temperature", "learning_rate")
    history = [dict.fromkeys(names, float(epoch)) for epoch in range(1, 6)]
    figure = figures.training_curves(history)
    assert len(figure.axes) == 4
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [-1, -2, -3, -4, -5])
    assert isinstance(figures.training_curves(history[:1]), Figure)
    exact = [{name: row[name] for name in names if name != "temperature"} for row in history]
    schedules = [len(figures.training_curves(rows).axes[3].lines) for rows in (history, exact)]
    assert schedules == [3, 2]


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
    mean, variance = counts[:, 0].mean(), counts[:, 0].var()
    assert overdispersed.get_title() == f"latent 0: mean {mean:.2f}, Fano {variance / mean:.2f}"
    assert mean == pytest.approx(3, abs=5 * np.sqrt(7.5 / 4000))


def test_large_counts_are_binned():
    counts = RNG.poisson(3000, (500, 2)).astype(np.float32)
    axis = figures.count_histograms(counts, [0]).axes[0]
    assert len(axis.patches) <= 40
    assert sum(bar.get_height() for bar in axis.patches) == pytest.approx(1)
    distribution = axis.lines[0].get_ydata()
    assert sum(distribution) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 4, 4), (6,), (1,)], ids=str)
def test_figures_are_saved(tmp_path, shape):
    items = RNG.random((3, *shape)).astype(np.float32)
    for figure in (figures.reconstructions(items, items), figures.samples(items), figures.dictionary(items)):
        figure.savefig(tmp_path / "figure.png")
        assert imread(tmp_path / "figure.png").std() > 0.01


def test_configurations_far_off_do_not_squeeze_the_others():
    values = [[1.0, 1.1], [1.2, 1.3], [1.4, 1.6], [900.0, 950.0]]
    figure = figures.comparison(["a", "b", "c", "d"], values, [0.1, 0.1, 0.2, 5.0], "nelbo")
    (axis,) = figure.axes
    assert axis.get_xlim()[1] < 3
    assert [text.get_text() for text in axis.texts] == ["925 >"]
    assert not list(figures.comparison(["a", "b"], [[1.0], [900.0]], [0.1, 0.1], "nelbo").axes[0].texts)


def test_importance_marks_what_is_above_the_limit():
    k = np.array([0.1, -np.inf, 0.9, np.nan, 1.4, np.inf, 0.3])
    left, right = figures.importance(k, np.array([10.0, 80.0]), 100).axes
    low, high, limit = left.get_lines()
    np.testing.assert_allclose(low.get_ydata(), [-0.5, 0.1, 0.3])
    np.testing.assert_allclose(high.get_ydata(), [0.9, 1.4, 1.4])
    assert low.get_color() != high.get_color()
    assert set(limit.get_ydata()) == {0.7}
    assert sum(patch.get_height() for patch in right.patches) == 2


def test_the_band_holds_uniform_values():
    """Of 20 bars of uniform values, hardly one leaves a band of 99 %."""
    (axis,) = figures.uniformity({"rank": RNG.random(5000)}).axes
    *bars, band = axis.patches
    low, high = band.get_y(), band.get_y() + band.get_height()
    assert sum(not low <= bar.get_height() <= high for bar in bars) <= 2
    assert low < 1 < high
    (axis,) = figures.uniformity({"rank": RNG.random(5000) ** 2}).axes
    *bars, _ = axis.patches
    assert sum(not low <= bar.get_height() <= high for bar in bars) > 15


def test_bars_hang_from_what_is_expected():
    observed, expected = np.array([0.64, 0.36, 0.0]), np.array([0.49, 0.5, 0.01])
    (axis,) = figures.rootograms({"data": (observed, expected)}).axes
    for bar, above, below in zip(axis.patches, expected, observed, strict=True):
        assert bar.get_y() + bar.get_height() == pytest.approx(np.sqrt(above))
        assert bar.get_height() == pytest.approx(np.sqrt(below))


def test_mean_and_variance_stand_beside_the_laws():
    mean, variance = np.array([0.0, 0.5, 2.0]), np.array([0.0, 0.7, 9.0])
    (axis,) = figures.mean_variance(mean, variance).axes
    points, poisson, *others = axis.get_lines()
    assert points.get_xdata().tolist() == [0.5, 2.0]
    np.testing.assert_allclose(poisson.get_ydata(), poisson.get_xdata())
    assert len(others) == 3
    assert all((line.get_ydata() > line.get_xdata()).all() for line in others)
    assert figures.mean_variance(np.zeros(2), np.zeros(2)).axes


def test_information_and_restarts_are_in_order():
    left, right = figures.information(np.array([0.1, 2.0, 0.0]), np.array([0.5, np.nan, 0.9])).axes
    assert left.get_lines()[0].get_ydata().tolist() == [2.0, 0.1, 0.0]
    assert sum(patch.get_height() for patch in right.patches) == 2
    (axis,) = figures.restarts({"a": np.array([0.2, 0.9]), "b": np.array([0.5, 0.4])}).axes
    assert [line.get_ydata().tolist() for line in axis.get_lines()] == [[0.9, 0.2], [0.5, 0.4]]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["a", "b"]


def test_curves_that_run_away_leave_the_rest_to_see():
    r2 = np.array([0.1, 0.6, 0.8, -7000.0])
    curves = {"r2": r2, "r2_median": np.array([0.1, 0.6, 0.8, 0.9]), "zero_fraction": r2, "free_energy": r2}
    fit, *_ = figures.inference_curves(curves).axes
    low, high = fit.get_ylim()
    assert low == -0.5
    assert 0.9 < high <= 1.05


def test_a_column_a_latent_and_a_row_a_kind():
    data, changes = RNG.random((4, 1, 5, 5)).astype(np.float32), RNG.normal(size=(4, 1, 5, 5)).astype(np.float32)
    figure = figures.by_latent({"held out": data, "decoder": changes}, list("abcd"), signed=["decoder"])
    images = tiles(figure, 5, 5)
    assert len(images) == 8
    low, high = data.min(), data.max()
    np.testing.assert_allclose(images[1][..., 0], (data[1, 0] - low) / (high - low), atol=1e-5)
    # A change is scaled by itself, with 0 in the middle.
    expected = 0.5 + changes[2, 0] / np.abs(changes[2]).max() / 2
    np.testing.assert_allclose(images[6][..., 0], expected, atol=1e-5)
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["held out", "decoder"]
    assert [label.get_text() for label in axis.get_xticklabels()] == list("abcd")


def test_a_panel_a_latent_where_data_are_curves():
    curves = RNG.normal(size=(3, 9))
    figure = figures.by_latent(
        {"one spike": curves, "silenced": -curves}, list("abc"), signed=["one spike", "silenced"]
    )
    panels = [axis for axis in figure.axes if axis.lines]
    assert [axis.get_title() for axis in panels] == list("abc")
    for axis, curve in zip(panels, curves, strict=True):
        np.testing.assert_allclose(axis.lines[0].get_ydata(), curve / np.abs(curve).max())
        np.testing.assert_allclose(axis.lines[1].get_ydata(), -axis.lines[0].get_ydata())
