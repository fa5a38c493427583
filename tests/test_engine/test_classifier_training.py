"""Classifiers through tools/train.py and tools/test.py: the same bytes twice, the same weights after a resume."""

import json
import math
import shutil

import pytest
import torch
from tiny_cells import COUNTS, draw_cells, write_config
from tool_runs import test as run_test
from tool_runs import train

from ctc_mm.engine.checkpoint import load_checkpoint_safely
from ctc_mm.engine.work_dir import best_checkpoint
from ctc_mm.evaluation.operating_point import META_KEY
from ctc_mm.evaluation.predictions import read_predictions

WORKERS = ["train_dataloader.num_workers=2", "val_dataloader.num_workers=2", "test_dataloader.num_workers=2"]
PERSISTENT = [*WORKERS, *(f"{name}_dataloader.persistent_workers=True" for name in ("train", "val", "test"))]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    return write_config(folder / "tiny.py", draw_cells(folder / "cells"))


@pytest.fixture(scope="module")
def trained(config, tmp_path_factory):
    return train(config, tmp_path_factory.mktemp("work"))


def weights(path):
    return load_checkpoint_safely(path)["state_dict"]


def assert_equal_weights(first, second):
    first, second = weights(first), weights(second)
    assert list(first) == list(second)
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def options(config_workers):
    return ["--cfg-options", *config_workers] if config_workers else []


def test_a_test_writes_what_there_is_to_see(config, trained, tmp_path):
    run_test(config, best_checkpoint(trained), tmp_path, "--speed-images", "2")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    predictions = read_predictions(tmp_path / "predictions.csv")
    assert (int((predictions.gt == 1).sum()), int((predictions.gt == 0).sum())) == COUNTS["test"]
    assert metrics
    speed = json.loads((tmp_path / "speed.json").read_text())
    batches = speed["model_alone"]["by_batch_size"]
    assert set(batches) == {"1", "8", "32", "128"}
    best = speed["model_alone"]["best"]
    assert best["images_per_s"] == max(one["images_per_s"] for one in batches.values())
    assert speed["input_chw"] == [3, 24, 24]
    assert not (tmp_path / "val").exists()


def test_the_best_checkpoint_holds_the_point_chosen_on_validation(trained):
    meta = load_checkpoint_safely(best_checkpoint(trained))["meta"]
    assert meta[META_KEY]["target"] == "CTC"
    assert meta["dataset_meta"]["channel"] == "brightfield"
    assert meta["dataset_meta"]["white_level"] == 255
    assert meta["dataset_meta"]["um_per_px"] == 0.5


def test_log_shows_the_losses_of_the_metric_as_they_are(trained):
    lines = [json.loads(line) for line in next(trained.rglob("scalars.json")).read_text().splitlines()]
    logged = [line["ctc/balanced_log_loss"] for line in lines if "ctc/balanced_log_loss" in line]
    hub = load_checkpoint_safely(trained / "epoch_2.pth")["message_hub"]
    assert len(logged) == 2
    assert min(logged) == pytest.approx(float(hub["runtime_info"]["best_score"]), abs=1e-9)


def test_a_point_that_is_not_stored_is_chosen_on_validation_and_applied(config, trained, tmp_path):
    best = best_checkpoint(trained)
    checkpoint = load_checkpoint_safely(best)
    del checkpoint["meta"][META_KEY], checkpoint["message_hub"]
    torch.save(checkpoint, tmp_path / "bare.pth")
    quick = ("--speed-images", "0")
    with_point = run_test(config, best, tmp_path / "with", *quick)
    chosen = run_test(config, tmp_path / "bare.pth", tmp_path / "chosen", *quick)
    validated = read_predictions(chosen / "val" / "predictions.csv")
    assert len(validated.gt) == sum(COUNTS["val"])
    assert not (chosen / "speed.json").exists()
    assert (chosen / "predictions.csv").read_bytes() == (with_point / "predictions.csv").read_bytes()
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (with_point, chosen))
    for metrics in (first, second):  # the stored point knows its epoch
        point = metrics.get("operating_point") or {}
        point.pop("epoch", None)
        point.pop("iter", None)
    assert first == second


@pytest.mark.parametrize("workers", [[], PERSISTENT], ids=["0 workers", "2 workers"])
def test_one_seed_gives_the_same_bytes(config, tmp_path, workers):
    results = []
    for run in "ab":
        work_dir = train(config, tmp_path / run / "work", *options(workers))
        best = best_checkpoint(work_dir)
        results.append(run_test(config, best, tmp_path / run / "test", "--speed-images", "0", *options(workers)))
    for name in ("metrics.json", "predictions.csv"):
        assert (results[0] / name).read_bytes() == (results[1] / name).read_bytes(), name


def test_another_seed_gives_other_weights(config, trained, tmp_path):
    other = train(config, tmp_path, "--cfg-options", "randomness.seed=1")
    with pytest.raises(AssertionError):
        assert_equal_weights(trained / "epoch_1.pth", other / "epoch_1.pth")


def interrupted_after(epoch, whole, folder):
    """What a training that was stopped after ``epoch`` leaves behind."""
    folder.mkdir()
    shutil.copy(whole / f"epoch_{epoch}.pth", folder)
    (folder / "last_checkpoint").write_text(str(folder / f"epoch_{epoch}.pth"))
    return folder


@pytest.mark.parametrize("workers", [[], WORKERS, PERSISTENT], ids=["0 workers", "2 workers", "2 persistent workers"])
def test_a_resumed_training_ends_with_the_weights_of_an_unbroken_one(config, tmp_path, workers):
    words = ["--cfg-options", "train_cfg.max_epochs=3", *workers]
    whole = train(config, tmp_path / "whole", *words)
    resumed = train(config, interrupted_after(1, whole, tmp_path / "resumed"), "--resume", *words)
    assert_equal_weights(whole / "epoch_3.pth", resumed / "epoch_3.pth")
    assert best_checkpoint(whole).name == best_checkpoint(resumed).name


def test_without_the_hook_a_resumed_training_goes_another_way(config, tmp_path):
    # So the test above can fail: this classifier has dropout, and noise and flips in its pipeline.
    words = ["--cfg-options", "train_cfg.max_epochs=3", "custom_hooks=[]"]
    whole = train(config, tmp_path / "whole", *words)
    resumed = train(config, interrupted_after(1, whole, tmp_path / "resumed"), "--resume", *words)
    with pytest.raises(AssertionError):
        assert_equal_weights(whole / "epoch_3.pth", resumed / "epoch_3.pth")


def test_mixed_precision_on_a_cpu_trains_almost_the_same(config, trained, tmp_path):
    amp = train(config, tmp_path, "--amp")
    assert "CPUAmpOptimWrapper" in (amp / config.name).read_text()
    losses = []
    for work_dir in (trained, amp):
        lines = [json.loads(line) for line in next(work_dir.rglob("scalars.json")).read_text().splitlines()]
        losses.append([line["loss"] for line in lines if "loss" in line])
    assert len(losses[0]) == len(losses[1]) > 0
    assert losses[0] != losses[1]
    assert all(math.isclose(a, b, rel_tol=0.05) for a, b in zip(*losses, strict=True))
    kinds = {value.dtype for name, value in weights(amp / "epoch_2.pth").items() if "tracked" not in name}
    assert kinds == {torch.float32}
