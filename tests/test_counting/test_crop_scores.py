import numpy as np
import pytest

from ctc_mm.counting.crop_scores import calibrated, score_in_batches
from ctc_mm.counting.engines.base import CLASSIFIER, ModelInfo


def info(temperature=None):
    return ModelInfo(CLASSIFIER, "means", ("CTC", "WBC"), "CTC", {}, temperature=temperature)


class Means:
    """The mean of an image is its probability."""

    def __init__(self, batch_size):
        self.info, self.batch_size, self.batches = info(), batch_size, []

    def __call__(self, batch):
        self.batches.append(batch.shape)
        means = batch.mean(axis=(1, 2, 3))
        return np.stack([means, 1 - means], axis=1).astype(np.float32)


def images_of(*values, side=2):
    return [np.full((1, side, side), value, np.float32) for value in values]


def test_nothing_gives_nothing():
    assert list(score_in_batches([], Means(4))) == []
    ((name, scores),) = score_in_batches([("empty", [])], Means(4))
    assert (name, scores.shape) == ("empty", (0, 2))


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 6), (4, [4, 2]), (6, [6]), (50, [6])])
def test_batches_are_filled_across_items_and_each_item_gets_its_own(batch_size, sizes):
    engine = Means(batch_size)
    items = [("a", images_of(0.1)), ("b", []), ("c", images_of(0.2, 0.3, 0.4, 0.5)), ("d", images_of(0.6))]
    found = list(score_in_batches(items, engine))
    assert [name for name, _ in found] == ["a", "b", "c", "d"]
    assert [[round(float(one), 3) for one in scores[:, 0]] for _, scores in found] == [
        [0.1],
        [],
        [0.2, 0.3, 0.4, 0.5],
        [0.6],
    ]
    assert [shape[0] for shape in engine.batches] == sizes


def test_items_are_given_as_soon_as_they_are_known():
    taken = []

    def items():
        for number in range(4):
            taken.append(number)
            yield number, images_of(0.5, 0.5)

    results = score_in_batches(items(), Means(2))
    assert next(results)[0] == 0
    assert taken == [0]


def test_images_of_another_size_go_into_another_batch():
    engine = Means(4)
    mixed = [*images_of(0.1, 0.2), *images_of(0.3, side=3), *images_of(0.4)]
    ((_, scores),) = score_in_batches([("mixed", mixed)], engine)
    assert [round(float(one), 3) for one in scores[:, 0]] == [0.1, 0.2, 0.3, 0.4]
    assert [shape[0] for shape in engine.batches] == [2, 1, 1]


def test_calibration_divides_the_log_odds():
    raw = np.array([0.0, 0.2, 0.5, 0.9, 1.0])
    assert calibrated(raw, info()).tolist() == raw.tolist()
    soft = calibrated(raw, info(2.0))
    assert soft[1:4] == pytest.approx([1 / 3, 0.5, 0.75])
    assert 0 < soft[0] < 1e-3
    assert 1 - 1e-3 < soft[4] < 1
    assert (np.diff(soft) > 0).all()
