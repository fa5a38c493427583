"""Predictions of made-up cells for several tests."""

import numpy as np

from ctc_mm.evaluation.predictions import Predictions


def predictions(gt, score, **changes):
    """Cells ``c0``, ``c1``, ... with these truths and scores; every other field unknown unless given."""
    gt, score = np.asarray(gt, np.int64), np.asarray(score, np.float64)
    n = gt.size
    texts = {name: np.full(n, "", dtype=np.str_) for name in ("channel", "group", "source", "path")}
    fields = {
        **texts,
        "cell_id": np.array([f"c{index}" for index in range(n)], dtype=np.str_),
        "box_xyxy": np.full((n, 4), np.nan),
        "label": np.where(gt == 1, "CTC", "WBC"),
        "gt": gt,
        "pred": (score >= 0.5).astype(np.int64),
        "score": score,
        "calibrated": np.full(n, np.nan),
        "logit": np.log(score) - np.log1p(-score),
        "diameter_um": np.full(n, np.nan),
        "diameter_px": np.full(n, np.nan),
    }
    return Predictions(**{**fields, **{name: np.asarray(value) for name, value in changes.items()}})
