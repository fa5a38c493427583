"""What is asked of an engine, what a model says of itself, and batches of one size; no model is loaded."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ctc_mm.counting.engines import EngineSettings, ModelInfo
from ctc_mm.counting.engines.base import full_batch
from ctc_mm.errors import ConfigError

PAIR = {"config": "a.py", "checkpoint": "a.pth"}
INFO = ModelInfo(
    kind="detector", name="a", classes=("WBC", "CTC"), target="CTC", thresholds={"CTC": 0.4}, window_wh=(320, 300),
    input_chw=(3, 64, 64), trained_on={"classes": ["WBC", "CTC"]},
)  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "engine"),
    [
        (PAIR, "torch"),
        ({"model": "a.onnx"}, "onnxruntime"),
        ({"model": "a.XML"}, "openvino"),
        ({"model": "a.onnx", "engine": "openvino"}, "openvino"),
    ],
)
def test_engine_follows_from_the_model(settings, engine):
    assert EngineSettings(**settings).engine_name == engine


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "a config with its checkpoint"),
        ({"config": "a.py"}, "checkpoint None"),
        ({"checkpoint": "a.pth", "model": "a.onnx"}, "exported file"),
        ({**PAIR, "model": "a.onnx"}, "exported file"),
        ({**PAIR, "engine": "tensorrt"}, "torch, onnxruntime, openvino. Received: 'tensorrt'"),
        ({**PAIR, "engine": "openvino"}, r"engine openvino runs a file made by tools/export.py"),
        ({"model": "a.onnx", "engine": "torch"}, "engine torch runs a config and a checkpoint"),
        ({**PAIR, "batch_size": 0}, "batch_size must be a whole number above 0. Received: 0"),
        ({**PAIR, "batch_size": True}, "Received: True"),
        ({**PAIR, "threads": 1.5}, "threads .* Received: 1.5"),
        ({**PAIR, "window_px": -3}, "window_px .* Received: -3"),
        ({**PAIR, "doubt": 1.5}, "doubt must be from 0 to 1. Received: 1.5"),
        ({**PAIR, "window_px": [3, 3, 3]}, "one or two whole numbers"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        EngineSettings(**settings)


def test_settings_of_a_route_give_their_part():
    settings = EngineSettings.of({**PAIR, "tile_px": 2048, "engine": None, "batch_size": 4, "threads": None})
    assert settings == EngineSettings(**PAIR, batch_size=4)
    assert EngineSettings.of(settings) is settings


def test_model_info_survives_json():
    assert ModelInfo.from_json(json.loads(json.dumps(INFO.to_json()))) == INFO
    assert INFO.target_label == 1


def test_least_score_is_a_share_of_the_lowest_threshold():
    info = replace(INFO, thresholds={"CTC": 0.4, "WBC": 0.3})
    assert info.least_score(None) == 0
    assert 0.1499 < info.least_score(0.5) < 0.15
    assert replace(INFO, thresholds={}).least_score(0.5) == 0


@pytest.mark.parametrize(
    ("change", "message"), [({"colour": 1}, "unknown keys ..colour"), ({"kind": None}, r"missing ones \['kind'\]")]
)
def test_model_info_of_another_version_is_refused(change, message):
    content = {key: value for key, value in {**INFO.to_json(), **change}.items() if key != "kind" or value}
    with pytest.raises(ConfigError, match=message):
        ModelInfo.from_json(content)


def test_batches_are_filled_up_with_the_last_image():
    batch = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    full = full_batch(batch, 4, (3, 4, 5))
    assert full.shape == (4, 3, 4, 5)
    assert full.dtype == np.float32
    np.testing.assert_array_equal(full, batch[[0, 1, 1, 1]])
    np.testing.assert_array_equal(full_batch(batch, 2, None), batch)


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (3, 3, 4, 5), (2, 3, 4, 6), (3, 4, 5)])
def test_batches_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"a batch must be \(1 to 2, 3, 4, 5\). Received shape"):
        full_batch(np.zeros(shape, np.float32), 2, (3, 4, 5))
