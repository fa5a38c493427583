"""The classifier's part of the demo: single cells cut from the drawn set, trained, tested, explained and mapped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ctc_mm.demo import commands
from ctc_mm.engine.work_dir import best_checkpoint

CONFIG = "configs/classification/light_cells.py"
CHANNEL = "bright-field"
SPLITS = ("train", "val", "test")
POINT = "youden"


def make_classifier(out_dir: Path, *, crop_um: float, epochs: int, seed: int) -> None:
    """Cut the labelled cells of ``out_dir/data`` into ``out_dir/cells`` and train ``out_dir/cell_model`` on them."""
    data = out_dir / "data"
    for split in SPLITS:
        words = ["--images", data / "images", "--size-um", crop_um, "--split", split, "--overwrite"]
        commands.run("data_converters/coco_to_cells.py", data / f"{split}.json", *words,
                     "--out", out_dir / "cells" / split)  # fmt: skip
    for stale in (out_dir / "cell_model").glob("best_*.pth"):
        stale.unlink()  # a former training's best would pass for this one's
    commands.run("tools/train.py", CONFIG, "--work-dir", out_dir / "cell_model", *_data_options(out_dir),
                 f"train_cfg.max_epochs={epochs}", f"randomness.seed={seed}")  # fmt: skip


def use_classifier(out_dir: Path) -> dict[str, Any]:
    """Test the trained classifier, explain its test cells and draw their map; returns ``metrics.json``."""
    checkpoint, options = best_checkpoint(out_dir / "cell_model"), _data_options(out_dir)
    commands.run("tools/test.py", CONFIG, checkpoint, "--out", out_dir / "cell_test", *options)
    cells = out_dir / "cells" / "test" / "cells.csv"
    commands.run("tools/explain.py", CONFIG, checkpoint, cells, "--out", out_dir / "cell_explained", *options)
    commands.run("tools/tsne.py", CONFIG, checkpoint, "--out", out_dir / "cell_map", *options)
    return json.loads((out_dir / "cell_test" / "metrics.json").read_text(encoding="utf-8"))


def _data_options(out_dir: Path) -> list[str]:
    roots = [f"{split}_dataloader.dataset.data_root={out_dir / 'cells' / split}" for split in SPLITS]
    return ["--cfg-options", *roots, f"channels={CHANNEL}"]


def summarise_classifier(out_dir: Path, metrics: Mapping[str, Any]) -> None:
    """Print the classifier beside the diameter alone, and where the pictures lie."""
    counts, percent = metrics["samples_by_label"], round(100 * metrics["confidence"])
    cells = ", ".join(f"{count} {name}" for name, count in counts.items())
    table = Table(title=f"Synthetic single cells, test split: {cells} (intervals at {percent} %)")
    for column in ("", "AUC", "sensitivity", "specificity"):
        table.add_column(column, justify="right" if column else "left")
    rows = {
        "classifier": metrics["operating_points"][POINT] | {"AUC": metrics["AUC"]},
        "size alone": metrics["size_baseline"],
    }
    for name, row in rows.items():
        table.add_row(name, *(_with_interval(row.get(key)) for key in ("AUC", "sensitivity", "specificity")))
    console = Console()
    console.print(table)
    console.print("Thresholds: highest sensitivity + specificity - 1 on the validation split, applied unchanged.")
    commands.print_paths(
        {
            "metrics": out_dir / "cell_test" / "metrics.json",
            "ROC curve": out_dir / "cell_test" / "roc.png",
            "confusion matrix": out_dir / "cell_test" / "confusion.png",
            "misjudged cells": out_dir / "cell_test" / "misjudged.html",
            "Grad-CAM of cells": out_dir / "cell_explained",
            "t-SNE": out_dir / "cell_map" / "tsne.html",
            "weights and log": out_dir / "cell_model",
        }
    )


def _with_interval(rate: Mapping[str, Any] | None) -> str:
    if rate is None or rate.get("value") is None:
        return "-"
    interval = rate.get("interval")
    shown = f"{rate['value']:.3f}"
    return shown if interval is None or None in interval else f"{shown} ({interval[0]:.3f}-{interval[1]:.3f})"
