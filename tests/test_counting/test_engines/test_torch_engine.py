"""Models run by PyTorch: the same as the library's own inference, and what a model says of itself."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from tiny_engines import CLASSIFIER, DETECTOR, draw_windows, prepared, write_classifier, write_detector

from ctc_mm.counting.engines import build_classifier_engine, build_detector_engine
from ctc_mm.counting.engines.preparation import array_steps
from ctc_mm.errors import CheckpointError, ConfigError, EngineError, ImageReadError


@pytest.fixture(scope="module")
def detector(detector_files):
    return build_detector_engine({**detector_files, "batch_size": 4})


@pytest.fixture(scope="module")
def classifier(classifier_files):
    return build_classifier_engine({**classifier_files, "batch_size": 4})


def test_no_box_above_the_threshold_gives_empty_arrays(detector_files):
    options = {"model.test_cfg.score_thr": 0.999}
    detector = build_detector_engine({**detector_files, "cfg_options": options})
    (found,) = detector(prepared(detector, np.zeros((1, 48, 48), np.uint8)))
    assert [part.shape for part in found] == [(0, 4), (0,), (0,)]
    assert [part.dtype for part in found] == [np.float32, np.float32, np.int64]


def test_boxes_are_those_of_the_librarys_inference(detector, tmp_path):
    windows = draw_windows()
    found = detector(prepared(detector, windows))
    for place, (window, one) in enumerate(zip(windows, found, strict=True)):
        path = tmp_path / f"{place}.png"
        cv2.imwrite(str(path), window[..., ::-1])
        data = pseudo_collate([detector.trained.pipeline({"img_path": str(path), "img_id": 0})])
        with torch.no_grad():
            expected = detector.trained.model.test_step(data)[0].pred_instances
        assert len(one.scores) == len(expected) > 3
        np.testing.assert_allclose(one.boxes_xyxy, expected.bboxes.numpy(), atol=1e-4)
        np.testing.assert_allclose(one.scores, expected.scores.numpy(), atol=1e-6)
        np.testing.assert_array_equal(one.labels, expected.labels.numpy())
        assert one.boxes_xyxy.max() <= 48  # pixels of the window, not of the network's 64
        assert one.boxes_xyxy.max() > 40


def test_scores_do_not_depend_on_company(detector):
    batch = prepared(detector, draw_windows(4))
    together = detector(batch)
    for place in range(4):
        (alone,) = detector(batch[place : place + 1])
        for ours, theirs in zip(alone, together[place], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_8_bit_16_bit_and_float_images_are_prepared_alike(detector):
    window = draw_windows(1)[0]
    expected = detector.prepare(window)
    assert expected.shape == (3, 64, 64)
    assert expected.dtype == np.float32
    sixteen = detector.prepare(window.astype(np.uint16) * 257, white_level=65535)
    np.testing.assert_allclose(sixteen, expected, atol=1e-4)
    np.testing.assert_allclose(detector.prepare(window / np.float32(255), white_level=1), expected, atol=1e-4)
    grey = window[..., 0]
    np.testing.assert_array_equal(detector.prepare(grey), detector.prepare(np.dstack([grey] * 3)))
    # Blue is the network's first plane (MMDetection's order), before the preprocessor turns it.
    blue = np.zeros((48, 48, 3), np.uint8)
    blue[..., 2] = 200
    assert detector.prepare(blue).max(axis=(1, 2)).astype(bool).tolist() == [True, False, False]


def test_what_a_detector_says_of_itself(detector, detector_files):
    info = detector.info
    assert info.max_per_img == 1000
    assert (info.kind, info.name, info.classes, info.target) == ("detector", "tiny_detector", ("CTC", "WBC"), "CTC")
    assert info.thresholds == {"CTC": 0.4, "WBC": 0.5}
    assert (info.um_per_px, info.channel, info.white_level) == (0.5, "brightfield", None)
    assert (info.window_wh, info.input_chw) == ((48, 48), (3, 64, 64))
    weights = Path(detector_files["checkpoint"]).read_bytes()
    assert info.hashes["checkpoint"] == hashlib.sha256(weights).hexdigest()
    assert len(info.hashes["config"]) == 64
    assert info.trained_on["classes"] == ["CTC", "WBC"]
    assert info.operating_point["f1"] == {"CTC": 0.9, "WBC": None}


def test_what_a_classifier_says_of_itself(classifier):
    info = classifier.info
    assert (info.kind, info.target_label, info.thresholds) == ("classifier", 0, {"youden": 0.25})
    assert (info.temperature, info.white_level, info.channel) == (2.0, 4095, "brightfield")
    assert (info.window_wh, info.input_chw) == (None, (3, 24, 24))


@pytest.mark.parametrize(("window_px", "wh"), [(96, (96, 96)), ([80, 40], (80, 40))])
def test_window_can_be_given(detector_files, window_px, wh):
    detector = build_detector_engine({**detector_files, "window_px": window_px})
    assert detector.info.window_wh == wh
    (found,) = detector(prepared(detector, np.zeros((1, *wh[::-1]), np.uint8)))
    assert found.boxes_xyxy[:, 2].max() == pytest.approx(wh[0], abs=0.01)
    assert found.boxes_xyxy[:, 3].max() == pytest.approx(wh[1], abs=0.01)


def test_window_is_the_resize_where_the_weights_do_not_know(tmp_path):
    assert build_detector_engine(write_detector(tmp_path, meta={})).info.window_wh == (64, 64)


def test_window_of_nothing_known_is_refused(tmp_path):
    text = DETECTOR.replace("    dict(type='Resize', scale=(64, 64), keep_ratio=False),\n", "")
    with pytest.raises(ConfigError, match="give --window-px"):
        build_detector_engine(write_detector(tmp_path, text, meta={}))


def test_window_of_another_size_is_refused(detector):
    with pytest.raises(ValueError, match=r"tiny_detector is 48 x 48 px. Received an image of shape \(48, 50\)"):
        detector.prepare(np.zeros((48, 50), np.uint8))


def test_16_bit_window_without_a_white_level_is_refused(detector):
    with pytest.raises(ValueError, match="remembers no white level, and pixels are uint16"):
        detector.prepare(np.zeros((48, 48), np.uint16))


def test_window_brighter_than_the_white_level_is_refused(detector):
    with pytest.raises(ImageReadError, match="above the white level 4095"):
        detector.prepare(np.full((48, 48), 60000, np.uint16), white_level=4095)


def test_model_fixes_the_white_level_of_its_cells(classifier):
    twelve_bit = np.full((20, 20), 4095, np.uint16)
    assert classifier.prepare(twelve_bit).max() == 255
    assert classifier.prepare(np.full((20, 20), 255, np.uint8)).max() == 255


def test_probabilities_are_those_of_the_librarys_inference(classifier):
    cells = [draw_windows(1, side, seed=side)[0] for side in (20, 31, 48)]
    batch = prepared(classifier, cells)
    found = classifier(batch)
    assert found.shape == (3, 2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    data = pseudo_collate([classifier.trained.pipeline({"img": cell}) for cell in cells])
    with torch.no_grad():
        expected = [sample.pred_score.numpy() for sample in classifier.trained.model.test_step(data)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.ptp(found[:, 0]) > 1e-3
    np.testing.assert_array_equal(classifier(batch[1:2]), found[1:2])


def test_cells_of_a_pipeline_without_a_size_keep_theirs(tmp_path):
    text = CLASSIFIER.replace("dict(type='Resize', scale=(24, 24)), ", "")
    classifier = build_classifier_engine(write_classifier(tmp_path, text))
    assert classifier.info.input_chw is None
    assert classifier(prepared(classifier, np.zeros((2, 30, 40), np.uint8))).shape == (2, 2)


def test_models_of_the_other_kind_are_refused(detector_files, classifier_files):
    with pytest.raises(ConfigError, match="tiny_classifier.py: builds a classifier, where a detector is needed"):
        build_detector_engine(classifier_files)
    with pytest.raises(ConfigError, match="tiny_detector.py: builds a detector, where a classifier is needed"):
        build_classifier_engine(detector_files)


def test_unreadable_weights_are_named(detector_files, tmp_path):
    cut = tmp_path / "cut.pth"
    cut.write_bytes(Path(detector_files["checkpoint"]).read_bytes()[:2000])
    with pytest.raises(CheckpointError, match=r"cut\.pth: the file is cut short"):
        build_detector_engine({**detector_files, "checkpoint": str(cut)})


def test_device_that_is_not_there_is_named(detector_files):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(ConfigError, match="device 'cuda' cannot be used here"):
        build_detector_engine({**detector_files, "device": "cuda"})


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
            "no memory on cpu for 4 images at once",
        ),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "smaller --batch-size"),
        (MemoryError(), "no memory on cpu"),
        (RuntimeError("shapes differ\nlong trace"), r"tiny_detector: the model failed on cpu: shapes differ$"),
    ],
)
def test_failures_of_the_model_are_explained(detector, monkeypatch, error, message):
    def fail(data):
        raise error

    monkeypatch.setattr(detector.trained.model, "test_step", fail)
    with pytest.raises(EngineError, match=message):
        detector(np.zeros((1, 3, 64, 64), np.float32))


def test_pipelines_that_read_fields_themselves_are_refused():
    with pytest.raises(ConfigError, match="begins with LoadField"):
        array_steps([{"type": "ctc_mm.LoadField"}], "detector")


def test_loader_of_files_gives_way_to_ours():
    steps = array_steps([{"type": "mmdet.LoadImageFromFile"}, {"type": "mmdet.PackDetInputs"}], "detector")
    assert steps == [{"type": "ctc_mm.LoadMicroscopyImage"}, {"type": "mmdet.PackDetInputs"}]


@pytest.mark.parametrize("name", ["os.system", "subprocess.Popen", "mmdet.apis.inference_detector", "NoSuchStep"])
def test_steps_that_are_no_transforms_are_refused(name):
    loader = {"type": "ctc_mm.LoadMicroscopyImage"}
    with pytest.raises(ConfigError, match="is no transform"):
        array_steps([loader, {"type": "mmdet.RandomFlip", "inner": [{"type": name}]}], "detector")
