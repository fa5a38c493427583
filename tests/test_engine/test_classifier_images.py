"""A classifier's weights on images that are not those of training: refused, allowed, or read as in training."""

import pytest
import torch
from tiny_cells import draw_cells, write_config
from tool_runs import test as run_test
from tool_runs import train

from ctc_mm.engine.checkpoint import load_checkpoint_safely
from ctc_mm.engine.work_dir import best_checkpoint
from ctc_mm.errors import AnnotationError, CheckpointError, ConfigError
from ctc_mm.evaluation.predictions import read_predictions

SMALL = {"train": (4, 4), "val": (2, 2), "test": (3, 3)}
ONE_EPOCH = ["--cfg-options", "train_cfg.max_epochs=1"]
QUICK = ("--speed-images", "0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def config(folder):
    return write_config(folder / "tiny.py", draw_cells(folder / "cells", SMALL, channels=("brightfield", "dapi")))


@pytest.fixture(scope="module")
def weights(config, folder):
    return best_checkpoint(train(config, folder / "work", *ONE_EPOCH))


def test_another_channel_is_refused_and_can_be_allowed(config, weights, tmp_path):
    options = ("--cfg-options", "channels=dapi")
    with pytest.raises(CheckpointError, match="trained on channel brightfield, but the test set shows dapi"):
        run_test(config, weights, tmp_path, *QUICK, *options)
    assert not (tmp_path / "metrics.json").exists()
    run_test(config, weights, tmp_path, *QUICK, "--other-images", *options)
    assert set(read_predictions(tmp_path / "predictions.csv").channel) == {"dapi"}


def test_another_pixel_size_is_refused(config, weights, tmp_path):
    finer = draw_cells(tmp_path / "finer", SMALL, um_per_px=0.2)
    with pytest.raises(CheckpointError, match="trained at 0.5 um per px, but the test set has 0.2"):
        run_test(config, weights, tmp_path / "out", *QUICK, "--cfg-options", f"data_root={finer}")


def test_the_white_level_of_training_holds_for_a_darker_test_set(tmp_path):
    scale = {"train": 16, "val": 16, "test": 3}
    both = draw_cells(tmp_path / "both", SMALL, scale=scale)
    alone = draw_cells(tmp_path / "alone", {**SMALL, "train": (0, 0), "val": (0, 0)}, scale=scale, seed=0)
    for path in sorted((alone / "test").rglob("*.png")):  # the very images of the first set, which are all below 1023
        path.write_bytes((both / path.relative_to(alone)).read_bytes())
    config = write_config(tmp_path / "tiny.py", both)
    best = best_checkpoint(train(config, tmp_path / "work", *ONE_EPOCH))
    assert load_checkpoint_safely(best)["meta"]["dataset_meta"]["white_level"] == 4095
    results = []
    for root in (both, alone):
        out = run_test(config, best, tmp_path / f"test_{root.name}", *QUICK, "--cfg-options", f"data_root={root}")
        results.append(read_predictions(out / "predictions.csv"))
    assert list(results[0].cell_id) == list(results[1].cell_id)
    assert list(results[0].score) == list(results[1].score)


def test_weights_of_a_detector_are_refused(config, tmp_path):
    torch.save({"state_dict": {"bbox_head.cls_convs.0.weight": torch.zeros(1)}}, tmp_path / "ssd.pth")
    with pytest.raises(CheckpointError, match=r"ssd\.pth: holds the weights of a detector, .* of a classifier"):
        run_test(config, tmp_path / "ssd.pth", tmp_path / "out")


def test_weights_of_a_classifier_are_refused_by_a_detector(repo, weights, tmp_path):
    with pytest.raises(CheckpointError, match="holds the weights of a classifier, .* of a detector"):
        run_test(repo / "configs/lite/ssdlite_cbam_mobilenetv2_ctc.py", weights, tmp_path / "out")


def test_other_classes_are_refused(config, weights, tmp_path):
    with pytest.raises(CheckpointError, match=r"trained for the classes \['CTC', 'WBC'\], .* \['WBC', 'CTC'\]"):
        run_test(config, weights, tmp_path, "--cfg-options", "classes=('WBC','CTC')")


def test_a_data_root_without_cells_is_named(config, tmp_path):
    with pytest.raises(AnnotationError, match=r"nowhere.*data_converters.*data_root"):
        train(config, tmp_path, "--cfg-options", f"data_root={tmp_path / 'nowhere'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(AnnotationError, match=r"empty: holds neither cells\.csv nor images"):
        train(config, tmp_path, "--cfg-options", f"data_root={tmp_path / 'empty'}")


def test_an_empty_validation_set_ends_before_the_first_epoch(config, tmp_path):
    with pytest.raises(ConfigError, match=r"no cell is left. Asked for: .*'split': \('nobody',\)"):
        train(config, tmp_path, "--cfg-options", "val_dataloader.dataset.split=nobody")
    assert not list(tmp_path.glob("*.pth"))


def test_without_validation_set_and_stored_point_the_rates_at_a_half_are_left(config, weights, tmp_path):
    checkpoint = load_checkpoint_safely(weights)
    del checkpoint["meta"]["ctc_operating_point"], checkpoint["message_hub"]
    torch.save(checkpoint, tmp_path / "bare.pth")
    leaf = tmp_path / "leaf.py"
    leaf.write_text(f"_base_ = {str(config)!r}\nval_dataloader = None\nval_evaluator = None\nval_cfg = None\n")
    out = run_test(leaf, tmp_path / "bare.pth", tmp_path / "out", *QUICK)
    assert len(read_predictions(out / "predictions.csv").gt) == sum(SMALL["test"])
    assert not (out / "val").exists()
