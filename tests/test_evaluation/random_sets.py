"""Random evaluation sets shared by the tests: boxes jittered around truth, strays, ties in score, ignore regions."""

import numpy as np

from ctc_mm.evaluation.functional import ImageRecord

NO_BOXES = np.zeros((0, 4), np.float32)
NO_LABELS = np.zeros(0, np.int64)
NO_SCORES = np.zeros(0, np.float32)


def record(boxes=(), scores=(), labels=None, truth=(), truth_labels=None, ignore=(), ignore_labels=None, name=""):
    """Write an ImageRecord by hand; labels default to class 0."""

    def box_array(values):
        return np.asarray(values, np.float32).reshape(-1, 4)

    def label_array(values, boxes):
        return np.zeros(len(boxes), np.int64) if values is None else np.asarray(values, np.int64)

    return ImageRecord(
        box_array(boxes), np.asarray(scores, np.float32), label_array(labels, boxes),
        box_array(truth), label_array(truth_labels, truth),
        box_array(ignore), label_array(ignore_labels, ignore), name,
    )  # fmt: skip


def _boxes(rng, n, size=200):
    corner = rng.uniform(0, size, (n, 2))
    return np.concatenate([corner, corner + rng.uniform(4, 120, (n, 2))], axis=1).astype(np.float32)


def random_set(seed, n_classes=2, with_ignore=True, ties=False):
    """A set of 1-6 images, some of them blank, some without predictions."""
    rng = np.random.default_rng(seed)
    images = []
    for index in range(rng.integers(1, 7)):
        truth = _boxes(rng, rng.integers(0, 8))
        near = np.repeat(truth, rng.integers(0, 3, len(truth)), axis=0)
        near = near + rng.normal(0, 6, near.shape).astype(np.float32)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        ignore = _boxes(rng, rng.integers(0, 3)) if with_ignore else NO_BOXES
        # Predictions inside ignore regions, so that the crowd rule decides something.
        inside = np.repeat(ignore, 2, axis=0) + np.float32([3, 3, -1, -1])
        boxes = np.concatenate([near, _boxes(rng, rng.integers(0, 5)), inside]).astype(np.float32)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        scores = rng.uniform(0.02, 1, len(boxes)).astype(np.float32)
        images.append(
            ImageRecord(
                boxes,
                np.round(scores, 1) if ties else scores,
                rng.integers(0, n_classes, len(boxes)),
                truth,
                rng.integers(0, n_classes, len(truth)),
                ignore,
                rng.integers(0, n_classes, len(ignore)),
                f"image{index}",
            )
        )
    return images
