import numpy as np
import pytest

from ctc_mm.counting.classify_settings import ClassifySettings
from ctc_mm.counting.crop_rule import UNKNOWN_NORMALIZATION, CropRule
from ctc_mm.counting.engines.base import CLASSIFIER, ModelInfo
from ctc_mm.errors import ConfigError
from ctc_mm.imaging.cell_measure import measure_cells


def info(window_wh=None, **crop):
    return ModelInfo(
        CLASSIFIER, "cells", ("CTC", "WBC"), "CTC", {}, window_wh=window_wh, trained_on={"crop": crop} if crop else {}
    )


@pytest.mark.parametrize(
    ("settings", "model", "expected"),
    [
        ({}, info(px=30, normalized="cells"), (30, None, None, "cells")),
        ({}, info(um=18.0, normalized="no"), (None, 18.0, None, "no")),
        ({}, info(margin=0.1), (None, None, 0.1, "no")),
        ({}, info(window_wh=(34, 30)), (34, None, None, "no")),
        ({"crop_um": 12.0}, info(px=30, normalized="cells"), (None, 12.0, None, "cells")),
        ({"crop_px": 20, "crop_normalize": "border"}, info(), (20, None, None, "border")),
    ],
)
def test_the_user_goes_before_what_the_model_remembers(settings, model, expected):
    rule = CropRule.of(ClassifySettings(**settings), model)
    assert (rule.px, rule.um, rule.margin, rule.normalize) == expected
    known = "crop_normalize" in settings or "normalized" in model.trained_on.get("crop", {})
    assert rule.notes == (() if known else (UNKNOWN_NORMALIZATION,))


def test_an_unknown_size_is_an_error_with_the_cure():
    with pytest.raises(ConfigError, match=r"cells: the weights do not say how large .*crop_px=30.*crop_margin=0\.1"):
        CropRule.of(ClassifySettings(), info())


def test_crops_are_cut_by_size_length_or_box():
    labels = np.zeros((60, 80), np.int32)
    labels[20:31, 30:44] = 1
    image = np.arange(4800, dtype=np.uint16).reshape(60, 80)
    (cell,) = measure_cells(labels, image)
    y, x = 25, 36  # the middle pixel, by the rule of crop_cell
    by_px = CropRule(10, None, None, "no").cut(image, labels, cell, (0, 0), 0.5)
    assert by_px.tolist() == image[y - 4 : y + 6, x - 4 : x + 6].tolist()
    by_um = CropRule(None, 5.0, None, "no").cut(image, labels, cell, (0, 0), 0.5)
    assert by_um.tolist() == by_px.tolist()
    by_box = CropRule(None, None, 0.5, "no").cut(image, labels, cell, (0, 0), 0.5)
    assert by_box.shape == (28, 28)
    assert by_box[0, 0] == image[25 - 13, 37 - 14]


def test_a_part_of_a_slide_is_cut_as_the_slide():
    labels = np.zeros((60, 80), np.int32)
    labels[20:31, 30:44] = 1
    image = np.random.default_rng(0).integers(29000, 31000, (60, 80), dtype=np.uint16)
    image[labels > 0] -= 20000
    (cell,) = measure_cells(labels, image)
    for rule in (CropRule(24, None, None, "cells"), CropRule(None, None, 0.3, "border")):
        whole = rule.cut(image, labels, cell, (0, 0), 0.5)
        part = rule.cut(image[5:50, 10:70], labels[5:50, 10:70], cell, (10, 5), 0.5)
        assert part.tolist() == whole.tolist()
        assert (whole.dtype, int(np.ptp(whole)) > 20000) == (np.uint16, True)


@pytest.mark.parametrize(("dtype", "normalized"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1.0)])
def test_normalised_crops_span_their_type(dtype, normalized):
    assert CropRule(10, None, None, "cells").white_level(np.dtype(dtype), 4095.0) == normalized
    assert CropRule(10, None, None, "no").white_level(np.dtype(dtype), 4095.0) == 4095.0


def test_the_largest_crop_is_known_beforehand():
    assert CropRule(30, None, None, "no").most_px(0.5, 60) == 30
    assert CropRule(None, 18.0, None, "no").most_px(0.5, 60) == 36
    assert CropRule(None, None, 0.1, "no").most_px(0.5, 60) == 72
