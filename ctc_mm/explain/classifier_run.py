"""Explain cells of files, folders and tables with a trained classifier."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS

import ctc_mm.datasets  # noqa: F401  # for what it registers
from ctc_mm.errors import ConfigError
from ctc_mm.explain.classifier_cam import explain_classification
from ctc_mm.explain.classifier_files import CellExplanations, save_cell, save_overview
from ctc_mm.explain.files import list_images, output_stems
from ctc_mm.explain.trained import THRESHOLD_RULES, TrainedModel, target_threshold

# What names a cell in its table, as far as a data set packs it.
ORIGIN_KEYS = ("cell_id", "channel", "group")


@dataclass(frozen=True)
class CellItem:
    """One cell to explain: its file, how to load it through the pipeline, and where it comes from."""

    image: Path
    load: Callable[[], Mapping[str, Any]]


def explain_cells(
    classifier: TrainedModel,
    image_paths: Sequence[str | Path],
    out_dir: str | Path,
    *,
    score_thr: float | str | None = None,
    class_name: str | None = None,
    layers: Sequence[str] | None = None,
    against_others: bool = False,
    split: str | None = None,
    track: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> CellExplanations:
    """Explain image files, folders of them, and tables ``cells.csv``, which tell the true classes too.

    Args:
        classifier: see :func:`ctc_mm.explain.trained.build_trained_model`.
        image_paths: files, folders and tables. Of a table those cells count that the config's test set would read, of
            all splits.
        out_dir: gets ``cells/``, ``contact_sheet.png`` (more of them for many cells) and ``explain.json``.
        score_thr: from this score on a cell is called the target, class 0; a number, or a rule by which validation has
            chosen one (``youden``, the default, ``wanted_sensitivity``, ``wanted_fpr``). Where there is none the
            highest score wins.
        class_name: explain this class; by default the one that each cell is called.
        layers: the one module to explain; by default the last features before pooling.
        against_others: explain the class's log-odds in place of its logit.
        split: of tables, cells of this split only.
        track: wraps the loop, for a progress bar.

    Raises:
        ImageReadError: an image cannot be read.
        AnnotationError, ConfigError, ValueError: a table or an option does not fit the model.
    """
    if layers is not None and len(layers) != 1:
        raise ConfigError(f"--layers takes one module of a classifier; received {', '.join(layers)}")
    threshold = score_thr
    if score_thr is None or isinstance(score_thr, str):
        threshold = target_threshold(classifier.operating_point, score_thr or THRESHOLD_RULES[0])
    if isinstance(score_thr, str) and threshold is None:
        raise ConfigError(f"validation has chosen no threshold by the rule {score_thr!r} for these weights")
    options = {
        "label": None if class_name is None else classifier.label_of(class_name),
        "layer": layers[0] if layers else None,
        "against_others": against_others,
        "score_thr": threshold,
    }
    items = list_cells(classifier, image_paths, split)
    written = explain_items(classifier.model, items, out_dir, classifier.class_names, options, track)
    settings = {"score_thr": threshold, "class": class_name, "against_others": against_others, "split": split}
    return save_overview(written, out_dir, classifier.class_names, settings)


def explain_items(
    model: Any,
    items: Sequence[CellItem],
    out_dir: str | Path,
    class_names: Sequence[str],
    options: Mapping[str, Any],
    track: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> list[Any]:
    """Explain cells one after another and write picture and map of each.

    Args:
        model: a classifier, see :func:`ctc_mm.explain.classifier_cam.explain_classification`.
        items: the cells.
        out_dir: see :func:`ctc_mm.explain.classifier_files.save_cell`.
        class_names: name of each label.
        options: of ``explain_classification``.
        track: wraps the loop, for a progress bar.
    """
    written = []
    for item, stem in track(list(zip(items, output_stems([item.image for item in items]), strict=True))):
        data = item.load()
        result = explain_classification(model, data, **options)
        truth, origin = truth_of(data["data_samples"]), origin_of(data["data_samples"])
        written.append(save_cell(result, item.image, out_dir, stem, class_names, truth, origin))
    return written


def list_cells(classifier: TrainedModel, paths: Sequence[str | Path], split: str | None = None) -> list[CellItem]:
    """The cells of files, folders and tables, in the order given.

    Raises:
        ImageReadError: a path does not exist, or a folder holds no image.
        ConfigError: ``split`` without a table, or a table where the config reads none.
    """
    tables = [Path(path) for path in paths if Path(path).suffix.lower() == ".csv"]
    if split is not None and not tables:
        raise ConfigError(f"--split {split} chooses among the cells of a table; give a cells.csv")
    items: list[CellItem] = []
    for path in map(Path, paths):
        items += _cells_of_table(classifier, path, split) if path in tables else _cells_of_files(classifier, path)
    return items


def items_of_dataset(dataset: Any, indices: Iterable[int]) -> list[CellItem]:
    """Cells of a data set whose pipeline packs them."""
    return [
        CellItem(Path(dataset.get_data_info(index)["img_path"]), lambda index=index: dataset[index])
        for index in indices
    ]


def truth_of(sample: Any) -> int | None:
    """The label of a data sample, where it has exactly one."""
    label = getattr(sample, "gt_label", None)
    return int(label[0]) if label is not None and label.numel() == 1 else None


def origin_of(sample: Any) -> dict[str, str]:
    """What names the cell of a data sample in its table."""
    values = {key: sample.get(key) for key in ORIGIN_KEYS}
    return {key: str(value) for key, value in values.items() if value is not None}


def _cells_of_files(classifier: TrainedModel, path: Path) -> Iterator[CellItem]:
    for image in list_images([path]):
        info = dict(classifier.image_info, img_path=str(image))
        yield CellItem(image, lambda info=info: classifier.pipeline(dict(info)))


def _cells_of_table(classifier: TrainedModel, table: Path, split: str | None) -> list[CellItem]:
    config = copy.deepcopy(dict(classifier.test_dataset))
    if not str(config.get("type")).endswith("SingleCellDataset"):
        raise ConfigError(
            f"{table}: the config's test set is a {config.get('type')}, which reads no table of cells; give the image "
            "files, or a config with ctc_mm.SingleCellDataset"
        )
    if not table.is_file():
        raise ConfigError(f"{table}: no such table; give the cells.csv that a converter wrote")
    for name in ("split_file", "fold", "part", "folds", "exclude_folds"):
        config.pop(name, None)
    config.update(data_root=str(table.parent), ann_file=table.name, split=split, test_mode=True)
    if classifier.white_level is not None:
        config.setdefault("white_level", classifier.white_level)
    dataset = DATASETS.build(config)
    return items_of_dataset(dataset, range(len(dataset)))
