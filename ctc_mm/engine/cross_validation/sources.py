"""Which kind of data a config reads, and what cross-validation can do with it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from mmengine.config import Config

from ctc_mm.engine.cross_validation.cell_source import CellSource
from ctc_mm.engine.cross_validation.image_source import DATASET_TYPES as IMAGE_TYPES
from ctc_mm.engine.cross_validation.image_source import ImageSource
from ctc_mm.engine.cross_validation.units import PARTS, Unit, leaf_datasets, type_name
from ctc_mm.errors import ConfigError

CELL_TYPES = ("SingleCellDataset",)


class Source(Protocol):
    """Units to divide, and how a fold's config comes to read a part of them."""

    kind: str  # what a unit is, in the plural
    where: str  # files, for messages
    units: tuple[Unit, ...]
    aside: frozenset[str]  # ids that its table has beside them, and the config cannot use

    @property
    def given_test(self) -> frozenset[str]:
        """Units that the config itself tests on."""

    def counts(self, ids: Collection[str]) -> dict[str, int]:
        """What these units hold, by name."""

    def use(self, config: Config, part: str, ids: Collection[str], split_file: Path, fold_dir: Path) -> None:
        """Let ``part`` of a fold's config read these units alone."""


def source_of(config: Config) -> Source:
    """Read what a config's data sets hold.

    Raises:
        ConfigError: a config without training or without data, or data sets that cannot be divided.
        AnnotationError, ImageReadError: the data cannot be used.
    """
    if not config.get("train_cfg") or not config.get("optim_wrapper"):
        raise ConfigError(
            "the config has no `train_cfg` or no `optim_wrapper`: there is nothing to train in each fold. Give a "
            "config that tools/train.py takes."
        )
    types = {type_name(leaf) for part in PARTS for leaf in leaf_datasets(config, part)}
    if types <= set(CELL_TYPES):
        return CellSource(config)
    if types <= set(IMAGE_TYPES):
        return ImageSource(config)
    if "ImFISHFieldDataset" in types:
        raise ConfigError(
            "ctc_mm.ImFISHFieldDataset reads fields without labels, so they cannot be stratified; make a table of "
            "cells (data_converters/imfish_to_cells.py) and cross-validate a classifier of configs/classification."
        )
    raise ConfigError(
        f"cross-validation divides the data sets {', '.join((*CELL_TYPES, *IMAGE_TYPES))}, all of one kind. The config "
        f"has: {', '.join(sorted(types))}."
    )
