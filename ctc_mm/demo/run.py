"""The demo from its first image to its last figure, and the detector's part of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import ctc_mm
from ctc_mm.demo import commands
from ctc_mm.demo.cells import make_classifier, summarise_classifier, use_classifier
from ctc_mm.demo.slides import check_counts, count_slides, counts_beside_truth, draw_slides, summarise_counts
from ctc_mm.engine.work_dir import best_checkpoint
from ctc_mm.explain.sanity import inside_outside_ratio
from ctc_mm.formats.files import write_json

CONFIG = "configs/lite/ssdlite_cbam_mobilenetv2_ctc.py"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class DemoSettings:
    """Size of the demo: enough for an AP50 of CTC above 0.80 within 15 minutes on 2 cores.

    Args:
        train_fields, val_fields, test_fields: images of each split.
        side_px: side of a field.
        um_per_px: pixel size; at 0.4 a CTC of 10 to 20 um is 25 to 50 px across.
        epochs: passes over the training set.
        explained: test fields that get Grad-CAM.
        crop_um: side of the square in which a single cell is cut out.
        cell_epochs: passes of the classifier over its cells.
        slide_px: side of the slides that are counted.
        seed: of phantom and training.
    """

    train_fields: int = 160
    val_fields: int = 24
    test_fields: int = 48
    side_px: int = 320
    um_per_px: float = 0.4
    epochs: int = 12
    explained: int = 6
    crop_um: float = 24.0
    cell_epochs: int = 8
    slide_px: int = 1120
    seed: int = 0


def run_demo(out_dir: str | Path, settings: DemoSettings | None = None, again: bool = False) -> dict[str, dict]:
    """Run the demo and print a summary.

    The images are synthetic: no claim about real CTCs follows from them. What a former run with the same settings left
    behind is used again.

    Args:
        out_dir: gets ``data/``, ``model/``, ``test/`` and ``explained/``, and of the classifier ``cells/``,
            ``cell_model/``, ``cell_test/``, ``cell_explained/`` and ``cell_map/``; of the count ``slides/`` and
            ``counts/``.
        settings: the demo's size.
        again: draw and train anew even if nothing changed.

    Returns:
        The metrics of the test split, ``detector`` and ``classifier``, as in their ``metrics.json``; and ``counts``:
        by slide the CTCs on it, their count, its interval, and whether that holds the truth.

    Raises:
        RuntimeError: a command failed; its own message stands above.
        SlideError: the true count of a slide with CTCs lies outside the interval that was reported.
    """
    settings, out_dir = settings or DemoSettings(), Path(out_dir).resolve()  # the commands run in the project's folder
    state = asdict(settings) | {"version": ctc_mm.__version__}
    mark, cell_mark = out_dir / "settings.json", out_dir / "cell_settings.json"
    if again or not commands.was_done_with(mark, state) or best_checkpoint(out_dir / "model") is None:
        mark.unlink(missing_ok=True)
        cell_mark.unlink(missing_ok=True)  # its cells are cut from the same fields
        _draw(out_dir / "data" / "images", settings)
        draw_slides(out_dir, side_px=settings.slide_px, um_per_px=settings.um_per_px, seed=settings.seed)
        _convert(out_dir / "data", settings)
        _train(out_dir, settings)
        write_json(mark, state)
    if not commands.was_done_with(cell_mark, state) or best_checkpoint(out_dir / "cell_model") is None:
        cell_mark.unlink(missing_ok=True)
        make_classifier(out_dir, crop_um=settings.crop_um, epochs=settings.cell_epochs, seed=settings.seed)
        write_json(cell_mark, state)
    detector = _use_detector(out_dir, settings.explained)
    classifier = use_classifier(out_dir)
    slides = count_slides(out_dir, CONFIG)
    _summarise(out_dir, detector)
    summarise_classifier(out_dir, classifier)
    summarise_counts(out_dir, slides)
    Console().print(check_counts(slides), soft_wrap=True)
    return {"detector": detector, "classifier": classifier, "counts": counts_beside_truth(slides)}


def _use_detector(out_dir: Path, n_explained: int) -> dict:
    checkpoint = best_checkpoint(out_dir / "model")
    options = ["--cfg-options", f"data_root={out_dir}/data/"]
    commands.run("tools/test.py", CONFIG, checkpoint, "--out", out_dir / "test", *options)
    fields = sorted((out_dir / "data" / "images" / "test").glob("*.png"))[:n_explained]
    commands.run("tools/explain.py", CONFIG, checkpoint, *fields, "--out", out_dir / "explained")
    return json.loads((out_dir / "test" / "metrics.json").read_text(encoding="utf-8"))


def _draw(images_dir: Path, settings: DemoSettings) -> None:
    from ctc_mm.phantoms import BrightfieldPhantomConfig, write_labelme_set

    counts = dict(zip(SPLITS, (settings.train_fields, settings.val_fields, settings.test_fields), strict=True))
    # Small fields, dense with cells: what a short training sees most of is cells.
    config = BrightfieldPhantomConfig(
        image_wh=(settings.side_px, settings.side_px),
        um_per_px=settings.um_per_px,
        ctc_count=(1, 5),
        wbc_count=(2, 8),
        debris_count=(2, 8),
    )
    write_labelme_set(images_dir, counts, config, settings.seed, show_progress=True)


def _convert(data_dir: Path, settings: DemoSettings) -> None:
    images = data_dir / "images"
    known = ("--um-per-px", settings.um_per_px, "--channel", "bright-field")
    for split in SPLITS:
        out = data_dir / f"{split}.json"
        commands.run("data_converters/labelme_to_coco.py", images / split, "--images", images, *known, "--out", out)


def _train(out_dir: Path, settings: DemoSettings) -> None:
    for stale in (out_dir / "model").glob("best_*.pth"):
        stale.unlink()  # a former training's best would pass for this one's
    options = [
        f"data_root={out_dir}/data/",
        f"train_cfg.max_epochs={settings.epochs}",
        f"randomness.seed={settings.seed}",
    ]
    commands.run("tools/train.py", CONFIG, "--work-dir", out_dir / "model", "--cfg-options", *options)


def map_on_cells(explained_dir: Path) -> float:
    """Median over fields of the fused map's mean inside the explained boxes over its mean outside; NaN without any."""
    ratios = []
    for path in sorted(explained_dir.glob("*.npz")):
        with np.load(path) as maps:
            if maps["explained"].any():
                ratios.append(inside_outside_ratio(maps["fused"], maps["boxes_xyxy"][maps["explained"]]))
    return float(np.median(ratios)) if ratios else float("nan")


def _summarise(out_dir: Path, metrics: dict) -> None:
    """Print a table of the test split and where the pictures lie."""
    speed = json.loads((out_dir / "test" / "speed.json").read_text(encoding="utf-8"))
    table = Table(title="Synthetic bright-field fields, test split (no claim about real CTCs)")
    for column in ("class", "AP50", "score from", "precision", "recall", "F1", "TP", "FP", "FN"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for name in metrics["classes"]:
        one = metrics["per_class"][name]
        used = one["at_frozen_thr"] or one["at_score_thr"]
        rates = (one["AP"], used["score_thr"], used["precision"], used["recall"], used["f1"])
        shown = ["-" if rate is None else f"{rate:.3f}" for rate in rates]
        table.add_row(name, *shown, *(str(used[count]) for count in ("TP", "FP", "FN")))
    Console().print(table)
    console = Console(soft_wrap=True)  # a path stays whole, to be copied
    ratio = map_on_cells(out_dir / "explained")
    console.print(f"Grad-CAM: {ratio:.0f} times as strong inside the explained boxes as outside (median over fields)")
    console.print(f"speed at batch 1: {speed['model_alone']['fps']:.1f} images/s (model alone, {speed['device']})")
    commands.print_paths(
        {
            "metrics": out_dir / "test" / "metrics.json",
            "precision-recall curves": out_dir / "test" / "pr_curve.png",
            "Grad-CAM of test fields": out_dir / "explained",
            "weights and log": out_dir / "model",
        }
    )
