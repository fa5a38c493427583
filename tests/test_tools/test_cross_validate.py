"""Cross-validation by its command: a classifier interrupted by a kill, a detector, two folds at a time, bad usage."""

import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from called_tool import call

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test_engine"))
from tiny_cells import draw_cells, write_config

from ctc_mm.engine.cross_validation import CrossValidationOptions, FoldsFailedError, cross_validate
from ctc_mm.engine.runs.single_run import RunCommands
from ctc_mm.engine.setup import load_config, register_all_modules
from ctc_mm.phantoms import BrightfieldPhantomConfig, write_labelme_set

THREADS = ("OMP_NUM_THREADS", "1")
# Without a gallery and with few resamples a test takes no longer than a training.
QUICK = """
train_cfg.update(max_epochs=6)
train_dataloader.update(drop_last=True)
test_evaluator.update(n_resamples=50, gallery=0)
"""
OPTIONS = CrossValidationOptions(folds=2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return write_config(folder / "tiny.py", draw_cells(folder / "cells"), QUICK)


class KilledOnce(RunCommands):
    """Writes down the first fold's process, and kills it with SIGKILL in its third epoch."""

    def train(self, fold, resume):
        words = super().train(fold, resume)
        if fold.path.name != "fold_0" or resume:
            return words
        threading.Thread(target=self.kill, args=(fold,)).start()
        note = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); os.execv(sys.argv[2], sys.argv[2:])"
        return [sys.executable, "-c", note, str(fold.path / "pid"), *words]

    @staticmethod
    def kill(fold):
        note = fold.model / "finished_epoch"
        while not (note.is_file() and note.read_text() >= "2"):
            time.sleep(0.005)
        os.kill(int((fold.path / "pid").read_text()), signal.SIGKILL)


@pytest.fixture(scope="module")
def killed_and_taken_up(tiny, tmp_path_factory):
    """A run whose first fold was killed in mid-training and went on in a second start."""
    out = tmp_path_factory.mktemp("killed") / "out"
    config = load_config(tiny)
    register_all_modules(config.default_scope)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(*THREADS)
        with pytest.raises(FoldsFailedError, match="fold_0: its training was killed by signal 9"):
            cross_validate(config, out, OPTIONS, commands=KilledOnce())
        stamp = (out / "fold_1" / "done.json").stat().st_mtime_ns
        cross_validate(config, out, OPTIONS)
    assert (out / "fold_1" / "done.json").stat().st_mtime_ns == stamp  # never repeated
    return out


def test_interrupted_run_gives_what_an_unbroken_one_gives_side_by_side(
    killed_and_taken_up, repo, tiny, tmp_path, monkeypatch
):
    done = json.loads((killed_and_taken_up / "fold_0" / "done.json").read_text())
    assert done["resumed"] is True
    assert "goes on from epoch_" in (killed_and_taken_up / "fold_0" / "train.log").read_text()

    monkeypatch.setenv(*THREADS)
    unbroken = call(repo, "cross_validate", tiny, "--folds", "2", "--jobs", "2", "--out", tmp_path / "out")
    assert unbroken.returncode == 0, unbroken.stderr[-3000:]
    assert f"report: {tmp_path / 'out' / 'report.html'}" in unbroken.stdout
    assert re.search(r"^AUC +\d\.\d{3} ± \d\.\d{3}$", unbroken.stdout, re.MULTILINE)
    names = ["results.csv", "folds.csv", "roc.csv", "roc.png", "confusion.png", "learning_curves.csv", "pr.png"]
    names += [f"fold_{number}/test/{name}" for number in (0, 1) for name in ("predictions.csv", "roc.csv")]
    names += [f"fold_{number}/split.json" for number in (0, 1)]
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (killed_and_taken_up / name).read_bytes(), name
    one, other = (
        json.loads((folder / "summary.json").read_text()) for folder in (tmp_path / "out", killed_and_taken_up)
    )
    assert {**one, "config": ""} == {**other, "config": ""}


def test_folds_test_what_they_did_not_train_on(killed_and_taken_up):
    tested = []
    for number in (0, 1):
        split = json.loads((killed_and_taken_up / f"fold_{number}" / "split.json").read_text())["folds"][0]
        rows = (killed_and_taken_up / f"fold_{number}" / "test" / "predictions.csv").read_text().splitlines()[1:]
        cells = sorted(row.split(",")[0] for row in rows)
        assert cells == split["test"]
        point = json.loads((killed_and_taken_up / f"fold_{number}" / "test" / "metrics.json").read_text())
        # Chosen on validation: as many cells as that part has.
        chosen_on = point["operating_point"]["n_target"] + point["operating_point"]["n_rest"]
        assert chosen_on == len(split["val"])
        assert point["operating_point_source"] == "chosen before, applied unchanged"
        tested += cells
    assert len(tested) == len(set(tested)) == 50
    assert len(list((killed_and_taken_up / "fold_0" / "model").glob("epoch_*.pth"))) == 1


@pytest.fixture(scope="module")
def fields(repo, tmp_path_factory):
    """A tiny phantom, converted by the project's own converter."""
    root = tmp_path_factory.mktemp("fields")
    config = BrightfieldPhantomConfig(image_wh=(96, 96), um_per_px=0.6, ctc_count=(1, 2), wbc_count=(1, 2))
    write_labelme_set(root / "images", {"train": 4, "val": 2, "test": 2}, config)
    for split in ("train", "val", "test"):
        words = ["--images", root / "images", "--um-per-px", "0.6", "--out", root / f"{split}.json"]
        done = call(repo, "labelme_to_coco", root / "images" / split, *words, folder="data_converters")
        assert done.returncode == 0, done.stderr
    return root


def test_two_folds_of_a_detector(repo, fields, tmp_path, monkeypatch):
    monkeypatch.setenv(*THREADS)
    monkeypatch.chdir(repo)
    loaders = [
        f"{part}_dataloader.{key}" for part in ("train", "val", "test")
        for key in ("num_workers=0", "persistent_workers=False")
    ]  # fmt: skip
    done = call(
        repo, "cross_validate", "configs/lite/ssdlite_mobilenetv2_ctc.py", "--folds", "2", "--jobs", "2",
        "--out", tmp_path / "out", "--cfg-options", f"data_root={fields}/", "train_cfg.max_epochs=1",
        "train_cfg.val_interval=1", "train_dataloader.batch_size=2", *loaders,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    truth = [json.loads((fields / f"{part}.json").read_text()) for part in ("train", "val", "test")]
    for label, name in enumerate(("CTC", "WBC"), 1):
        count = sum(box["category_id"] == label for content in truth for box in content["annotations"])
        assert summary["pooled"][0]["classes"][name]["truth"] == count
    assert summary["values"]["mAP50"]["folds"] == 2
    tested = [json.loads((tmp_path / "out" / f"fold_{k}" / "data" / "test.json").read_text()) for k in (0, 1)]
    names = sorted(image["file_name"] for content in tested for image in content["images"])
    assert names == sorted(image["file_name"] for content in truth for image in content["images"])
    report = (tmp_path / "out" / "report.html").read_text()
    assert "AP50 pooled" in report
    assert report.count("<img ") == 2


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "required: config"),
        (["configs/nothing.py"], 1, "configs/nothing.py: no such config"),
        (["TINY", "--folds", "1"], 1, "--folds must be 2 or more"),
        (["TINY", "--protocol", "bootstrap"], 2, "invalid choice: 'bootstrap'"),
        (["TINY", "--group-key", "patient"], 1, r"no column 'patient' to group by\. There are: cell_id"),
        (["TINY", "--cfg-options", "data_root=no/such/"], 1, "no/such.*no such table.*data_root=FOLDER"),
        (["TINY", "--protocol", "transfer", "--test-data", "no/such"], 1, "--test-data no/such: no such folder"),
    ],
    ids=["usage", "no_config", "one_fold", "protocol", "group_key", "no_cells", "no_test_data"],
)
def test_mistakes_end_with_a_line_that_helps(repo, tiny, tmp_path, words, code, message):
    out = tmp_path / "out"
    done = call(repo, "cross_validate", *(tiny if word == "TINY" else word for word in words), "--out", out)
    assert done.returncode == code, done.stderr
    assert re.search(message, done.stderr, re.DOTALL), done.stderr
    assert not out.exists()
