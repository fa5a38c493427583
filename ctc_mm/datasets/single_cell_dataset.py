"""Single cells for classifiers: ``cells.csv`` or folders, with nothing dropped unseen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from mmengine.logging import print_log
from mmpretrain.datasets import BaseDataset

from ctc_mm.datasets.cell_channels import CellSample, choose_samples
from ctc_mm.datasets.cell_records import CellRecord, read_cell_records, refuse
from ctc_mm.datasets.cell_size import SizeSource, cell_sizes
from ctc_mm.datasets.crop_memory import CROP_KEY, describe_crops
from ctc_mm.datasets.ctc_det_dataset import describe_images
from ctc_mm.datasets.leaks import find_leaks
from ctc_mm.datasets.split_files import PARTS, read_split_file
from ctc_mm.datasets.white_levels import find_white_level
from ctc_mm.errors import ConfigError, ImageReadError
from ctc_mm.formats.cell_table import CELLS_FILE, NO_SPLIT, UNLABELLED
from ctc_mm.registry import DATASETS

NOT_KEPT = "image marked keep = 0"
NO_LABEL = "image without a label (unlabelled)"
NO_CLASS = "image whose label is mapped to no class"
OTHER_SPLIT = "image of another split"
OTHER_FOLD = "image of another fold"
OTHER_PART = "image of another part of the split file"
Combine = Literal["samples", "stack"]
T = TypeVar("T")


@DATASETS.register_module()
class SingleCellDataset(BaseDataset):
    """Images of single cells, as the project's converters write them, or in folders ``<split>/<class>/<file>``.

    ::

        train_dataset = dict(
            type='ctc_mm.SingleCellDataset', data_root='data/cells', split='train', channels='brightfield',
            metainfo=dict(classes=('CTC', 'WBC')),                       # class 0 is the CTC, the positive class
            # label_map={'RBC': 'rest', 'Platelets': 'rest'}             # the table's labels to classes
            # split_file='data/cells/folds.json', fold=0, part='train'   # in the place of the column `split`
            pipeline=train_pipeline)

    What is not used is counted by reason in ``left_out`` and logged. ``metainfo`` gets what a model has to remember of
    its images, the same for all splits of a table: ``channel``, ``um_per_px``, ``white_level`` (a number, or one for
    each channel), ``size_source`` (where the cells' diameters come from), ``crop`` (how they were cut, where the table
    says) and ``target`` (class 0).

    Args:
        data_root: folder of the set.
        ann_file: table below ``data_root``; ``''``, or no such ``cells.csv``: the folders name split and class, each
            image is a cell of its own by its path, and no group is known.
        split: value(s) of the column ``split``; None: all.
        folds: value(s) of the column ``fold``; None: all.
        exclude_folds: values of the column ``fold`` to leave out.
        split_file: file written by ``datasets.split_files``, below ``data_root`` or a path of its own. It has to deal
            out all cells that the other arguments leave; a cell that came or went since is an error.
        fold: fold of ``split_file``.
        part: ``'train'``, ``'val'`` or ``'test'`` of that fold, or ``'held_out'``, what no fold holds.
        channels: name(s) of the channels; a file ``dapi+cep8+cd45`` yields any of its planes. None: every image.
        combine: ``'samples'``: each channel of a cell is a sample; ``'stack'``: they are planes of one image, in the
            order of ``channels``.
        label_map: label of the table -> class; None in the place of a class leaves its cells out.
        white_level: pixel value that stands for white, or one for each channel of the files, as ``metainfo`` has them;
            None, and for channels that are not named: found once for all images of a channel.
        size_from: source of the diameters, see ``cell_size.cell_sizes``; ``'auto'`` measures nothing in images.
        **kwargs: those of ``mmpretrain.BaseDataset``.

    Raises:
        AnnotationError: the table, a split file or the folders cannot be used; labels that are no class, all listed.
        ConfigError: arguments that do not fit the table; no cell is left; a class without a cell in training.
        ImageReadError: images of the table are missing (all listed), or have no common white level.
    """

    METAINFO: ClassVar[dict] = dict(classes=("CTC", "WBC"))

    def __init__(
        self,
        data_root: str = "",
        ann_file: str = CELLS_FILE,
        *,
        split: str | Sequence[str] | None = None,
        folds: int | Sequence[int] | None = None,
        exclude_folds: int | Sequence[int] | None = None,
        split_file: str | None = None,
        fold: int = 0,
        part: str = "train",
        channels: str | Sequence[str] | None = None,
        combine: Combine = "samples",
        label_map: Mapping[str, str | None] | None = None,
        white_level: float | Mapping[str, float] | None = None,
        size_from: SizeSource = "auto",
        **kwargs: Any,
    ) -> None:
        self.left_out: Counter[str] = Counter()
        self.splits, self.channels = _as_tuple(split), _as_tuple(channels)
        self.folds, self.exclude_folds = _as_tuple(folds), _as_tuple(exclude_folds) or ()
        self.split_file, self.fold, self.part = split_file, fold, part
        self.combine, self.label_map = combine, dict(label_map or {})
        self.white_level, self.size_from = white_level, size_from
        if combine not in ("samples", "stack"):
            raise ConfigError(f"SingleCellDataset: `combine` must be 'samples' or 'stack'. Received: {combine!r}")
        if combine == "stack" and self.channels is None:
            raise ConfigError("SingleCellDataset: combine='stack' needs `channels`, the planes in their order.")
        if part not in PARTS:
            raise ConfigError(f"SingleCellDataset: `part` must be one of {', '.join(PARTS)}. Received: {part!r}")
        self._table = str(Path(data_root).expanduser() / ann_file) if ann_file else data_root
        super().__init__(ann_file=ann_file, data_root=data_root, **kwargs)

    def _join_prefix(self) -> None:
        """Paths of a table are relative to the table: there is no prefix to join."""

    def load_data_list(self) -> list[dict]:
        """Read the table, check all of it, and choose what this part of it uses."""
        self.left_out.clear()
        classes = self._check_classes()
        root = Path(self.data_root).expanduser()
        every = read_cell_records(root, self.ann_file, [*classes, *self.label_map])
        labelled = self._labelled(every, classes)
        samples, lost = choose_samples(self._in_columns(labelled), self.channels, self.combine)
        self.left_out.update(lost)
        samples = self._in_part(samples, labelled, root)
        self._require_cells(samples, labelled)
        self._require_files(samples)
        if self.splits is not None:
            self._warn_of_torn_groups(labelled)
        self._require_classes(samples, classes)
        data_list = self._describe(samples, every, classes)
        self._log_summary(data_list, classes)
        return data_list

    def class_of(self, label: str) -> str | None:
        """Class of a label of the table; None for one that is to be left out."""
        return self.label_map.get(label, label)

    def _check_classes(self) -> list[str]:
        classes = list(self.metainfo.get("classes") or [])
        if not classes or len(set(classes)) < len(classes):
            raise ConfigError(f"SingleCellDataset: metainfo.classes must be distinct names. Received: {classes}")
        unknown = sorted({name for name in self.label_map.values() if name is not None} - set(classes))
        if unknown:
            raise ConfigError(f"SingleCellDataset: label_map leads to {unknown}, not in metainfo.classes={classes}.")
        if self._metainfo.setdefault("target", classes[0]) != classes[0]:
            raise ConfigError(
                f"SingleCellDataset: class 0 is the target, the positive class. Received: classes {classes}, target "
                f"{self._metainfo['target']!r}; put it first"
            )
        return classes

    def _labelled(self, records: list[CellRecord], classes: list[str]) -> list[CellRecord]:
        """Images that are to be used and have a class; a label that is no class is an error, whatever its split."""
        usable, problems = [], []
        for record in records:
            if not record.keep:
                self.left_out[NOT_KEPT] += 1
            elif record.label == UNLABELLED and UNLABELLED not in self.label_map:
                self.left_out[NO_LABEL] += 1
            elif self.class_of(record.label) is None:
                self.left_out[NO_CLASS] += 1
            elif self.class_of(record.label) not in classes:
                problems.append(f"{record.cell_id} ({record.channel}): {record.label!r}")
            else:
                usable.append(record)
        held = sorted({record.label for record in records})
        refuse(
            f"{self._table}: labels that are no class. The table holds {held}, the config's metainfo.classes are "
            f"{classes}; name them there, or map them (label_map={{'RBC': 'rest'}}; None leaves a label out)",
            problems,
        )
        return usable

    def _in_columns(self, records: list[CellRecord]) -> list[CellRecord]:
        """Images of the wanted splits and folds of the table."""
        if self.splits is not None:
            records = self._keep(records, lambda record: record.split in self.splits, OTHER_SPLIT)
        if self.folds is not None:
            records = self._keep(records, lambda record: record.fold in self.folds, OTHER_FOLD)
        return self._keep(records, lambda record: record.fold not in self.exclude_folds, OTHER_FOLD)

    def _in_part(self, samples: list[CellSample], labelled: list[CellRecord], root: Path) -> list[CellSample]:
        """Samples of the wanted part of the split file, once it is known to deal out the cells of this table."""
        if self.split_file is None:
            return samples
        below = root / self.split_file
        split = read_split_file(below if below.is_file() else self.split_file)
        group_of = {record.cell_id: record.value_of(split.group_key or "cell_id") for record in labelled}
        split.require_same_units(group_of, {sample.record.cell_id for sample in samples}, self._table)
        ids = split.ids(self.fold, self.part)
        return self._keep(samples, lambda sample: sample.record.cell_id in ids, OTHER_PART)

    def _keep(self, items: list[T], is_wanted: Callable[[T], bool], reason: str) -> list[T]:
        kept = [item for item in items if is_wanted(item)]
        if len(kept) < len(items):
            self.left_out[reason] += len(items) - len(kept)
        return kept

    def _require_cells(self, samples: list[CellSample], labelled: list[CellRecord]) -> None:
        if samples:
            return
        held = {
            "splits": sorted({one.split for one in labelled}),
            "folds": sorted({one.fold for one in labelled if one.fold is not None}),
            "channels": sorted({one.channel for one in labelled}),
            "labels": sorted({one.label for one in labelled}),
        }
        asked = {
            "split": self.splits,
            "folds": self.folds,
            "exclude_folds": self.exclude_folds or None,
            "split_file": self.split_file,
            "part": self.part if self.split_file else None,
            "channels": self.channels,
        }
        asked = {key: one for key, one in asked.items() if one is not None}
        is_undivided = self.splits is not None and held["splits"] == [NO_SPLIT]
        cure = " Divide the cells first: tools/split_cells.py." if is_undivided else ""
        raise ConfigError(
            f"{self._table}: no cell is left. Asked for: {asked}. Its usable images have: {held}; left out: "
            f"{dict(self.left_out)}.{cure}"
        )

    def _warn_of_torn_groups(self, labelled: list[CellRecord]) -> None:
        """A patient on both sides of the table's own split makes its test too good."""
        parts = {name: {one.cell_id for one in labelled if one.split == name} for name in {o.split for o in labelled}}
        torn = find_leaks(parts, {one.cell_id: one.group for one in labelled}).groups
        if torn:
            print_log(
                f"{self._table}: {len(torn)} groups have cells in several splits ({torn[0].group} in "
                f"{' and '.join(sorted(torn[0].parts))}, ...), so results will be too good for new ones; split by "
                "whole groups (tools/cross_validate.py, or datasets.splits).",
                logger="current",
                level=30,
            )

    def _require_files(self, samples: list[CellSample]) -> None:
        paths = dict.fromkeys(path for sample in samples for path in sample.paths)
        missing = [str(path) for path in paths if not path.is_file()]
        refuse(
            f"{self._table}: images are not on disk; restore them, or remove their lines from the table",
            missing,
            ImageReadError,
        )

    def _require_classes(self, samples: list[CellSample], classes: list[str]) -> None:
        found = {self.class_of(sample.record.label) for sample in samples}
        absent = [name for name in classes if name not in found]
        if absent and not self.test_mode:
            raise ConfigError(
                f"{self._table}: no cell of class {', '.join(absent)} among the {len(samples)} to train on; choose "
                "another split, or take the class out of metainfo.classes."
            )

    def _describe(self, samples: list[CellSample], every: list[CellRecord], classes: list[str]) -> list[dict]:
        levels = self._white_levels(samples, every)
        channel_of = {record.path: record.channel for record in every}
        sizes, source = cell_sizes(samples, every, self.size_from)
        used = {sample.record.channel for sample in samples}
        scales = [{"um_per_px": record.um_per_px} for record in every if record.channel in used]
        distinct = sorted(set(levels.values()))
        self._metainfo.update(
            describe_images(scales, self._table),
            channel=self._name_channels(samples),
            white_level=distinct[0] if len(distinct) == 1 else levels,
            size_source=source,
        )
        crops = describe_crops([record for record in every if record.channel in used])
        if crops:
            self._metainfo[CROP_KEY] = crops
        data_list = []
        for sample, size in zip(samples, sizes, strict=True):
            info = _info_of(sample, classes.index(self.class_of(sample.record.label)))
            if self.split_file is not None:
                info["split"], info["fold"] = self.part, self.fold
            info["white_levels"] = [levels[channel_of[path]] for path in sample.paths]
            info["diameter_um"], info["diameter_px"] = size
            data_list.append(info)
        return data_list

    def _name_channels(self, samples: list[CellSample]) -> str | list[str]:
        names = list(self.channels or sorted({sample.channel for sample in samples}))
        names = ["+".join(names)] if self.combine == "stack" else names
        return names[0] if len(names) == 1 else names

    def _white_levels(self, samples: list[CellSample], every: list[CellRecord]) -> dict[str, float]:
        """White level by the channels of the files in use: of all their images, so that all parts agree."""
        used_paths = {path for sample in samples for path in sample.paths}
        used = sorted({record.channel for record in every if record.path in used_paths})
        if self.white_level is not None and not isinstance(self.white_level, Mapping):
            return dict.fromkeys(used, float(self.white_level))
        given = self.white_level or {}
        return {
            name: float(given[name]) if name in given else find_white_level(r.path for r in every if r.channel == name)
            for name in used
        }

    def _log_summary(self, data_list: list[dict], classes: list[str]) -> None:
        counts = Counter(info["gt_label"] for info in data_list)
        found = ", ".join(f"{counts[number]} {name}" for number, name in enumerate(classes))
        groups = {info["group"] for info in data_list} - {None}
        left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(self.left_out.items())) or "none"
        print_log(
            f"{self._table}: {len(data_list)} images of {len({info['cell_id'] for info in data_list})} cells and "
            f"{len(groups)} groups ({found}); left out: {left_out}.",
            logger="current",
        )


def _info_of(sample: CellSample, gt_label: int) -> dict[str, Any]:
    record = sample.record
    return {
        "img_path": str(sample.paths[0]),
        "img_paths": [str(path) for path in sample.paths],
        "img_planes": list(sample.places),
        "gt_label": gt_label,
        "label": record.label,
        "cell_id": record.cell_id,
        "channel": sample.channel,
        "group": record.group,
        "source": record.source,
        "box_xyxy": record.box_xyxy,
        "um_per_px": record.um_per_px,
        "split": record.split,
        "fold": record.fold,
        "extra": dict(record.extra),
        "copy_index": 0,
    }


def _as_tuple(value: Any) -> tuple | None:
    if value is None:
        return None
    return (value,) if isinstance(value, str | int) else tuple(value)
