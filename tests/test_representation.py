from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from pyrocount.errors import InputError
from pyrocount.metrics import representation
from pyrocount.metrics.representation import (
    classifier_accuracy,
    few_shot_accuracy,
    halves,
    mean_interval,
    probe_accuracy,
    shattering_dimension,
)

RNG = np.random.default_rng(0)
LABELS = RNG.permutation(np.repeat(np.arange(4), 100))
# One latent tells the first two classes from the others, another nothing.
CODES = np.stack([(LABELS < 2) + 0.01 * RNG.normal(size=400), RNG.normal(size=400)], 1)
# As far as a classifier that guesses may be from chance, 5 standard errors of one run on a half.
CHANCE = 5 * np.sqrt(0.25 * 0.75 / 200)


def test_the_interval_of_an_estimate_is_student_s():
    runs = [0.2, 0.5, 0.4, 0.9]
    found, wanted = mean_interval(runs), stats.ttest_1samp(runs, 0).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((0.5, wanted.low, wanted.high))
    assert np.isnan(mean_interval([0.3]).low)


@pytest.mark.parametrize("classifier", ["knn", "logistic"])
@pytest.mark.parametrize("of", [probe_accuracy, few_shot_accuracy])
def test_classifiers_read_what_is_there_and_no_more(of, classifier):
    one_hot = 5 * np.eye(4)[LABELS]
    assert of(one_hot, LABELS, 60, classifier=classifier).mean == 1
    assert 0.5 - CHANCE < of(CODES, LABELS, 60, classifier=classifier).mean < 0.5 + CHANCE
    assert abs(of(CODES[:, 1:], LABELS, 60, classifier=classifier).mean - 0.25) < CHANCE


@pytest.mark.parametrize("of", [probe_accuracy, few_shot_accuracy])
def test_tested_observations_are_not_those_whose_labels_are_given(of, monkeypatch):
    places = np.arange(400)[:, None]
    seen = []

    def record(make, codes, labels, test_codes, test_labels):
        assert (labels == LABELS[codes[:, 0]]).all()
        assert (test_labels == LABELS[test_codes[:, 0]]).all()
        seen.append((codes[:, 0], test_codes[:, 0]))
        return 1.0

    monkeypatch.setattr(representation, "_accuracy", record)
    of(places, LABELS, 30, repeats=3)
    for given, tested in seen:
        assert not set(given) & set(tested)
    if of is probe_accuracy:
        assert all((len(given), len(tested)) == (30, 200) for given, tested in seen)
    else:
        assert all((np.bincount(LABELS[given]) == 30).all() and len(tested) == 280 for given, tested in seen)
    assert not np.array_equal(seen[0][0], seen[1][0])


def test_the_shattering_dimension_is_the_mean_over_all_splits_listed_twice():
    labels, test_labels = RNG.integers(0, 6, 300), RNG.integers(0, 6, 200)
    codes, test_codes = (part[:, None] + RNG.normal(size=(len(part), 2)) for part in (labels, test_labels))
    scaler = StandardScaler().fit(codes)
    accuracies = [
        LogisticRegression(max_iter=2000)
        .fit(scaler.transform(codes), np.isin(labels, part))
        .score(scaler.transform(test_codes), np.isin(test_labels, part))
        for part in combinations(range(6), 3)
    ]
    found = shattering_dimension(codes, labels, test_codes, test_labels)
    assert len(accuracies) == 2 * len(found.runs) == 20
    assert found.mean == pytest.approx(np.mean(accuracies))


def test_the_shattering_dimension_of_a_few_labels_is_the_mean_over_their_draws():
    labels, test_labels = RNG.integers(0, 4, 300), RNG.integers(0, 4, 200)
    # Of unequal scales, which the penalty weighs unlike unless they are standardised.
    codes, test_codes = (
        (part[:, None] + RNG.normal(size=(len(part), 2))) * [0.05, 5] for part in (labels, test_labels)
    )
    expected = []
    for repeat in range(3):
        rows = np.random.default_rng((7, repeat)).permutation(300)[:40]
        scores = [
            LogisticRegression(max_iter=2000)
            .fit(codes[rows], np.isin(labels[rows], part))
            .score(test_codes, np.isin(test_labels, part))
            for part in halves(range(4))
        ]
        expected.append(np.mean(scores))
    plain = {"number": 40, "repeats": 3, "seed": 7}
    found = shattering_dimension(codes, labels, test_codes, test_labels, standardised=False, **plain)
    assert found.runs == pytest.approx(tuple(expected))
    assert shattering_dimension(codes, labels, test_codes, test_labels, **plain).runs != found.runs


def test_fixed_halves_are_given_in_their_order():
    half = {number: probe_accuracy(CODES, LABELS, number, fixed_halves=True, repeats=20) for number in (30, 200)}
    # All labels of the first half can be given in a single way.
    expected = KNeighborsClassifier(5).fit(CODES[:200], LABELS[:200]).score(CODES[200:], LABELS[200:])
    assert half[200].runs == (expected,)
    assert len(set(half[30].runs)) > 5
    # The second half is other than the first: of no class that labels are given of.
    labels = np.repeat([0, 1], 200)
    assert probe_accuracy(np.eye(2)[labels], labels, 30, fixed_halves=True).mean == 0
    assert probe_accuracy(np.eye(2)[labels], labels, 30).mean == 1


def test_few_shots_of_one_set_are_tested_on_another():
    test = CODES[:50] + 0.3, LABELS[:50]
    order = np.random.default_rng((2, 0)).permutation(400)
    given = np.concatenate([order[LABELS[order] == one][:4] for one in range(4)])
    for neighbours in (3, None):
        found = few_shot_accuracy(
            CODES, LABELS, 4, test=test, classifier="knn", neighbours=neighbours, repeats=1, seed=2
        )
        votes = 4 if neighbours is None else neighbours
        assert found.runs == (KNeighborsClassifier(votes).fit(CODES[given], LABELS[given]).score(*test),)
    plain = few_shot_accuracy(CODES, LABELS, 4, test=test, standardised=False, repeats=1, seed=2)
    assert plain.runs == (LogisticRegression(max_iter=2000).fit(CODES[given], LABELS[given]).score(*test),)


def test_codes_that_are_not_finite_are_read_wrongly():
    codes, labels = np.eye(4)[LABELS], LABELS
    spoilt = codes.copy()
    spoilt[:100] = np.nan
    assert classifier_accuracy(codes, labels, spoilt, labels) == 0.75
    assert classifier_accuracy(spoilt, labels, codes, labels, classifier="knn") == 1
    assert classifier_accuracy(spoilt, labels, np.full_like(codes, np.inf), labels) == 0


@pytest.mark.parametrize("classes", range(2, 8))
def test_halves_are_the_distinct_splits(classes):
    def split(part):
        return frozenset([frozenset(part), frozenset(range(classes)) - frozenset(part)])

    splits = {split(part) for part in halves(range(classes))}
    both = {split(part) for part in combinations(range(classes), classes // 2)}
    assert splits == both
    assert len(splits) == len(halves(range(classes)))


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (lambda: probe_accuracy(CODES, LABELS, 201), "number: got 201 labels, expected 1 to 200 labels"),
        (
            lambda: few_shot_accuracy(CODES, LABELS, 100),
            "shots: got 100 labels of each class, while class 0 has 100 observations",
        ),
        (lambda: few_shot_accuracy(CODES, LABELS, 0), "shots: got 0"),
        (lambda: probe_accuracy(CODES, LABELS, 20, classifier="tree"), "classifier: got 'tree', expected one of knn"),
        (
            lambda: shattering_dimension(CODES, LABELS, CODES, LABELS, number=401),
            "number: got 401 labels, expected 1 to",
        ),
        (
            lambda: shattering_dimension(CODES, 0 * LABELS, CODES, 0 * LABELS),
            "labels: got a single class, expected at least two",
        ),
    ],
)
def test_what_cannot_be_measured(work, words):
    with pytest.raises(InputError, match=words):
        work()


def test_many_classes_are_split_at_random():
    splits = halves(range(47))
    assert len(splits) == 200
    assert all(len(set(part)) == 23 and set(part) < set(range(47)) for part in splits)
    assert len(set(splits)) == 200
    assert splits == halves(range(47))


def test_classes_that_training_lacks():
    codes = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(InputError, match="labels: got 1 of 2 test classes without training labels, such as class 7"):
        shattering_dimension(codes, np.arange(20) % 2, codes, np.r_[np.zeros(19, int), 7])
