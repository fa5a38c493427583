"""Single cells as units: the usable cells of a config's table, and a split file for each fold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from ctc_mm.datasets import SingleCellDataset
from ctc_mm.datasets.cell_records import read_cell_records
from ctc_mm.engine.cross_validation.units import PARTS, Unit, leaf_datasets
from ctc_mm.errors import ConfigError
from ctc_mm.formats.cell_table import CELLS_FILE, UNLABELLED

# Arguments of a data set that choose a part of its table; the split file takes their place.
CHOOSING = ("split", "folds", "exclude_folds", "split_file", "fold", "part")
COLUMNS = ("cell_id", "label", "group", "source", "split", "fold")


class CellSource:
    """The cells that the data sets of a config can use; a unit is a cell with all its channels.

    Args:
        config: its train, val and test data sets read one table, maybe other channels of it (trained on bright field
            and DAPI, tested on bright field).

    Raises:
        ConfigError: data sets that read several tables, or take labels for other classes.
        AnnotationError, ImageReadError: see ``SingleCellDataset``.
    """

    kind = "cells"

    def __init__(self, config: Config) -> None:
        self.where = _require_one_table(config)
        self._test_leaves = leaf_datasets(config, "test")
        images: dict[tuple[str, str], dict[str, Any]] = {}
        read: set[str] = set()
        for leaf in (leaf for part in PARTS for leaf in leaf_datasets(config, part)):
            options = _without(leaf, CHOOSING)
            if repr(options) not in read:  # the parts of a table differ in what they choose from it alone
                read.add(repr(options))
                data = SingleCellDataset(**options, pipeline=[], test_mode=True)
                self.classes = list(data.metainfo["classes"])
                for index in range(len(data)):
                    info = data.get_data_info(index)
                    images.setdefault((info["cell_id"], info["channel"]), info)
        infos: dict[str, list[dict[str, Any]]] = {}
        for (cell_id, _), info in sorted(images.items()):
            infos.setdefault(cell_id, []).append(info)
        self.units = tuple(self._unit(cell_id, of_cell) for cell_id, of_cell in infos.items())
        self.aside = _usable_ids(leaf_datasets(config, "train")[0]) - set(infos)
        self._class_of = {unit.id: unit.stratum for unit in self.units}

    @property
    def given_test(self) -> frozenset[str]:
        """Cells that the config itself tests on."""
        data = [SingleCellDataset(**_without(leaf), pipeline=[], test_mode=True) for leaf in self._test_leaves]
        return frozenset(one.get_data_info(index)["cell_id"] for one in data for index in range(len(one)))

    def _unit(self, cell_id: str, infos: list[dict[str, Any]]) -> Unit:
        first = infos[0]
        columns = {name: str(first[name]) for name in COLUMNS if first.get(name) not in (None, "")}
        columns |= {name: str(value) for name, value in first["extra"].items()}
        paths = sorted({Path(path) for info in infos for path in info["img_paths"]})
        content = [(info["channel"], info["box_xyxy"], info["um_per_px"], info["diameter_um"]) for info in infos]
        return Unit(
            id=cell_id,
            stratum=self.classes[first["gt_label"]],
            columns=columns,
            paths=tuple(paths),
            content=repr((sorted(columns.items()), sorted(set(map(repr, content))))),
        )

    def counts(self, ids: Collection[str]) -> dict[str, int]:
        """Cells of each class among these."""
        found = Counter(self._class_of[name] for name in ids)
        return {"cells": len(ids), **{name: found[name] for name in self.classes}}

    def use(self, config: Config, part: str, ids: Collection[str], split_file: Path, fold_dir: Path) -> None:
        """Let ``part`` of a fold's config read its cells by the split file.

        Args:
            config: of the fold; changed.
            part: train, val or test.
            ids: not needed: the split file says what belongs to the part.
            split_file: see ``datasets.split_files``.
            fold_dir: not needed.
        """
        for dataset in leaf_datasets(config, part):
            for name in CHOOSING:
                dataset.pop(name, None)
            dataset.update(split_file=str(split_file.resolve()), fold=0, part=part)


def _require_one_table(config: Config) -> str:
    leaves = [leaf for part in PARTS for leaf in leaf_datasets(config, part)]
    tables = {(leaf.get("data_root", ""), leaf.get("ann_file", CELLS_FILE)) for leaf in leaves}
    if len(tables) > 1:
        raise ConfigError(
            f"the data sets read several tables ({sorted(tables)}); cross-validation divides one. Put the cells "
            "into one table, or train on one and test on the other with --protocol transfer."
        )
    maps = {repr((leaf.get("label_map"), (leaf.get("metainfo") or {}).get("classes"))) for leaf in leaves}
    if len(maps) > 1:
        raise ConfigError(f"the data sets differ in classes or label_map; give all the same: {sorted(maps)}")
    root, ann_file = tables.pop()
    return str(Path(root) / ann_file)


def _without(leaf: ConfigDict, names: Sequence[str] = ()) -> dict[str, Any]:
    """Arguments of a data set, without its pipeline and ``names``."""
    left_out = {"type", "pipeline", "test_mode", "lazy_init", *names}
    return {name: value for name, value in leaf.items() if name not in left_out}


def _usable_ids(leaf: ConfigDict) -> frozenset[str]:
    """Cells of the table with a class, also those that lack the channels of the config.

    A split file has to name them: it is refused where the table holds cells that it does not know.
    """
    label_map = leaf.get("label_map") or {}
    classes = (leaf.get("metainfo") or {}).get("classes") or SingleCellDataset.METAINFO["classes"]
    root = Path(leaf.get("data_root", "")).expanduser()
    records = read_cell_records(root, leaf.get("ann_file", CELLS_FILE), [*classes, *label_map])
    labelled = [one for one in records if one.keep and (one.label != UNLABELLED or UNLABELLED in label_map)]
    return frozenset(one.cell_id for one in labelled if label_map.get(one.label, one.label) is not None)
