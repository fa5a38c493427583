"""Stands in for ``tools/train.py`` and ``tools/test.py`` of a detector: leaves behind what they do, in a moment.

Files beside ``runs/`` say how it behaves: ``fail_<config>_<seed>`` ends the training with an error. ``calls.txt`` there
lists every start. What a model finds depends on its config's learning rate and its seed.
"""

import ast
import json
import shutil
from pathlib import Path

import numpy as np

from ctc_mm.evaluation.detection_records import DetectionRecords, write_records
from ctc_mm.evaluation.functional import ImageRecord

CLASSES = ("CTC", "WBC")
THRESHOLDS = {"CTC": 0.4, "WBC": 0.6}


def train(run):
    model, root = run / "model", run.parents[2]
    model.mkdir(exist_ok=True)
    if (root / f"fail_{run.parent.name}_{run.name}").exists():
        return 1
    for name in ("epoch_2.pth", "best_ctc_mAP50_epoch_2.pth"):
        shutil.copy(root / "checkpoint.pth", model / name)
    (model / "last_checkpoint").write_text(str(model / "epoch_2.pth"))
    (model / "finished_epoch").write_text("2\n")
    cost = dict(epochs=2, wall_s=60.0, cpu_s=90.0, peak_memory_mib=500.0, peak_gpu_memory_mib=None, complete=True)
    (model / "training_cost.json").write_text(json.dumps(cost))
    return 0


def found(truth, rng, share):
    """``share`` of the true cells, each a little off, and one cell that is not there."""
    boxes = truth[rng.random(len(truth)) < share] + rng.normal(0, 0.5, 4)
    return np.vstack([boxes, [[70, 40, 90, 60]]]).astype(np.float32)


def test(run):
    values = dict(line.split(" = ", 1) for line in (run / "config.py").read_text().splitlines() if line[:1].isalpha())
    learning_rate = ast.literal_eval(values["optim_wrapper"])["optimizer"]["lr"]
    rng = np.random.default_rng([int(run.name.removeprefix("seed_")), round(learning_rate * 1e4)])
    images = []
    for number in range(6):
        truth = np.array([[20, 24, 36, 36], [60, 10, 80, 30]], np.float32)
        boxes = found(truth, rng, 0.4 if learning_rate > 0.001 else 0.9)
        images.append(
            ImageRecord(
                boxes, rng.uniform(0.3, 1, len(boxes)).astype(np.float32), rng.integers(0, 2, len(boxes)), truth,
                np.array([0, 1]), np.empty((0, 4), np.float32), np.empty(0, np.int64), name=f"/data/{number}.png",
            )
        )  # fmt: skip
    (run / "test").mkdir()
    write_records(run / "test" / "detections.npz", DetectionRecords(tuple(images), ("",) * 6, CLASSES))
    metrics = {"classes": CLASSES, "target": "CTC", "values": {}, "operating_point": {"thresholds": THRESHOLDS}}
    (run / "test" / "metrics.json").write_text(json.dumps(metrics))
    return 0


class InProcess:
    """Takes the place of ``Children``: starting Python takes longer than all that these do."""

    def __init__(self, environment, lock):
        self.environment = environment

    def run(self, command, log):
        what, folder = command[0], Path(command[1])
        with (folder.parents[2] / "calls.txt").open("a") as calls:
            calls.write(f"{what} {folder.parent.name} {folder.name}\n")
        code = (train if what == "train" else test)(folder)
        log.write_text("error: the learning rate is not a number\n" if code else "")
        return code

    def stop(self):
        raise AssertionError("nothing was to be stopped")
