"""Stands in for ``tools/train.py`` and ``tools/test.py``: leaves behind what they do, in a moment, without torch.

Files beside the fold folders say how it behaves: ``hang_<fold>`` waits in its second epoch until it is killed,
``fail_<fold>`` ends with an error. ``calls.txt`` there lists every start.
"""

import csv
import json
import os
import shutil
import sys
import time
from pathlib import Path

EPOCHS = 3
COLUMNS = [
    "cell_id", "channel", "group", "source", "path", "x0", "y0", "x1", "y1", "label", "gt", "pred", "score",
    "calibrated", "logit", "diameter_um", "diameter_px",
]  # fmt: skip


def train(fold, resumes):
    run, model = fold.parent, fold / "model"
    first = int((model / "finished_epoch").read_text()) if resumes else 0
    log = model / f"start_{first}" / "vis_data"
    log.mkdir(parents=True)
    for epoch in range(first + 1, EPOCHS + 1):
        with (log / "scalars.json").open("a") as scalars:
            scalars.write(json.dumps({"loss": 1 / epoch, "epoch": epoch, "step": epoch}) + "\n")
        if epoch == 2 and (run / f"hang_{fold.name}").exists():
            sys.stdout.write("hangs\n")
            sys.stdout.flush()
            (fold / "pid").write_text(str(os.getpid()))
            time.sleep(600)
        shutil.copy(run / "checkpoint.pth", model / f"epoch_{epoch}.pth")
        (model / "last_checkpoint").write_text(str(model / f"epoch_{epoch}.pth"))
        with (log / "scalars.json").open("a") as scalars:
            scalars.write(json.dumps({"ctc/AUC": 0.5 + epoch / 10, "step": epoch}) + "\n")
        (model / "finished_epoch").write_text(str(epoch))
    if (run / f"fail_{fold.name}").exists():
        sys.stdout.write("Traceback (most recent call last)\nerror: the learning rate is not a number\n")
        sys.exit(1)
    shutil.copy(run / "checkpoint.pth", model / "best_ctc_AUC_epoch_3.pth")


def test(fold):
    out, rows = fold / "test", []
    out.mkdir()
    elsewhere = fold / "test_split.json"
    split = json.loads((elsewhere if elsewhere.exists() else fold / "split.json").read_text())
    for number, name in enumerate(split["folds"][0]["test"]):
        gt = int("_CTC_" in name)
        score = 0.25 + 0.5 * gt if number % 5 else 0.45  # every fifth is in doubt
        values = {"cell_id": name, "channel": "brightfield", "group": name[-3:], "label": "CTC" if gt else "WBC",
                  "gt": gt, "pred": int(score >= 0.5), "score": score, "logit": score - 0.5, "diameter_um": 4 + gt,
                  "calibrated": score}  # fmt: skip
        rows.append([values.get(column, "") for column in COLUMNS])
    with (out / "predictions.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    values = {"AUC": 0.9, "sensitivity": 0.8, "specificity": None if fold.name == "fold_1" else 1.0}
    point = {"thresholds": {"youden": 0.4, "wanted_sensitivity": None, "wanted_fpr": 0.6}}
    metrics = {"classes": ["CTC", "WBC"], "target": "CTC", "values": values, "operating_point": point}
    (out / "metrics.json").write_text(json.dumps(metrics))


if __name__ == "__main__":
    what, folder, resumed = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "True"
    with (folder.parent / "calls.txt").open("a") as calls:
        calls.write(f"{what} {folder.name}{' resumed' if resumed else ''}\n")
    train(folder, resumed) if what == "train" else test(folder)
