"""Detection data as units: the COCO files of a config put together, and a part of them written for each fold."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from mmengine.config import Config, ConfigDict

from ctc_mm.datasets.ctc_det_dataset import check_records
from ctc_mm.engine.cross_validation.units import PARTS, Unit, leaf_datasets
from ctc_mm.errors import AnnotationError, ConfigError, ImageReadError
from ctc_mm.formats.fields import load_json_object
from ctc_mm.formats.files import write_json

DATASET_TYPES = ("CTCDetDataset", "CocoDataset")
STRATA = ("no target", "few targets", "many targets")


@dataclass(frozen=True)
class _File:
    """One COCO file and the folder that its names are relative to."""

    path: Path
    images_dir: Path


@dataclass(frozen=True)
class _Image:
    """One image's records, ids left as they were."""

    record: dict[str, Any]
    annotations: list[dict[str, Any]]
    origin: str


class ImageSource:
    """The images of a config's COCO files; a unit is an image with all its boxes.

    Args:
        config: its train, val and test data sets are put together; a file that two of them name counts once.

    Raises:
        ConfigError: several files in one part, or files cut with different brightness.
        AnnotationError: a file that is missing or not COCO JSON, other categories, one image in two files.
        ImageReadError: images that are not on disk.
    """

    kind = "images"
    aside: frozenset[str] = frozenset()

    def __init__(self, config: Config) -> None:
        files = {part: self._file_of(config, part) for part in PARTS}
        distinct = list(dict.fromkeys(files.values()))
        self.where = ", ".join(str(file.path) for file in distinct)
        self.images_dir = Path(os.path.commonpath([file.images_dir for file in distinct]))
        self.info: dict[str, Any] = {}
        self.categories: list[dict[str, Any]] = []
        self._images: dict[str, _Image] = {}
        for file in distinct:
            self._read(file)
        self.target_id = self._target_id(leaf_datasets(config, "test")[0])
        self.units = self._make_units()
        self._test_file = str(files["test"].path)
        self._require_files()

    @staticmethod
    def _file_of(config: Config, part: str) -> _File:
        leaves = leaf_datasets(config, part)
        if len(leaves) > 1:
            raise ConfigError(
                f"{part}_dataloader: {len(leaves)} detection data sets are joined; cross-validation divides one file a "
                "part. Put the labels into one COCO file."
            )
        root, prefix = Path(leaves[0].get("data_root") or ""), leaves[0].get("data_prefix") or {}
        path = (root / leaves[0].get("ann_file", "")).expanduser().resolve()
        return _File(path, (root / (prefix.get("img") or "")).expanduser().resolve())

    def _read(self, file: _File) -> None:
        if not file.path.is_file():
            raise AnnotationError(
                f"{file.path}: no such annotation file. Make it with data_converters/labelme_to_coco.py or "
                "voc_to_coco.py, or set data_root on the command line (--cfg-options data_root=FOLDER)."
            )
        root = load_json_object(file.path)
        for key in ("images", "annotations", "categories"):
            root.get(key).objects()
        check_records(root)
        content = root.value
        names = [one["name"] for one in content["categories"]]
        if self.categories and names != [one["name"] for one in self.categories]:
            raise AnnotationError(
                f"{file.path}: its categories are {names}, those of the config's other files are "
                f"{[one['name'] for one in self.categories]}; convert all with the same --classes."
            )
        ids = [one["id"] for one in content["categories"]]
        if not self.categories:
            self.categories, self.info = content["categories"], dict(content.get("info") or {})
        self._require_same_brightness(file, content.get("info") or {})
        new_id = dict(zip(ids, (one["id"] for one in self.categories), strict=True))
        of_image: dict[int, list] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            of_image[annotation["image_id"]].append(dict(annotation, category_id=new_id[annotation["category_id"]]))
        for image in content["images"]:
            path = file.images_dir / image["file_name"]
            name = PurePath(os.path.relpath(path, self.images_dir)).as_posix()
            if name in self._images:
                raise AnnotationError(
                    f"{file.path}: the image {image['file_name']} stands in {self._images[name].origin} too; an image "
                    "belongs into one file, or it is trained on and tested."
                )
            self._images[name] = _Image(dict(image, file_name=name), of_image[image["id"]], str(file.path))

    def _require_same_brightness(self, file: _File, info: dict[str, Any]) -> None:
        mine, theirs = self.info.get("crops") or {}, info.get("crops") or {}
        for key in ("gamma", "stretch"):
            if mine.get(key) != theirs.get(key):
                raise ConfigError(
                    f"{file.path}: its crops were made with {key}={theirs.get(key)}, those of the config's other files "
                    f"with {mine.get(key)}; cut them alike before they are mixed."
                )

    def _target_id(self, dataset: ConfigDict) -> int:
        metainfo = dataset.get("metainfo") or {}
        names = [one["name"] for one in self.categories]
        target = metainfo.get("target") or (metainfo.get("classes") or names)[0]
        if target not in names:
            raise ConfigError(f"metainfo.target={target!r} is none of the categories {names} of {self.where}.")
        return self.categories[names.index(target)]["id"]

    def _make_units(self) -> tuple[Unit, ...]:
        counts = {name: self._targets_in(one) for name, one in self._images.items()}
        shown = sorted(count for count in counts.values() if count)
        many = shown[len(shown) // 2] if shown else 0
        units = []
        for name, one in sorted(self._images.items()):
            stratum = STRATA[0 if not counts[name] else 1 if counts[name] <= many else 2]
            columns = {key: str(value) for key, value in one.record.items() if isinstance(value, str | int | float)}
            content = json.dumps([one.record, sorted(json.dumps(box, sort_keys=True) for box in one.annotations)])
            units.append(
                Unit(id=name, stratum=stratum, columns=columns, paths=(self.images_dir / name,), content=content)
            )
        return tuple(units)

    def _targets_in(self, image: _Image) -> int:
        return sum(one["category_id"] == self.target_id and not one.get("iscrowd") for one in image.annotations)

    def _require_files(self) -> None:
        missing = [str(path) for unit in self.units for path in unit.paths if not path.is_file()]
        if missing:
            listed = "".join(f"\n  {path}" for path in missing[:20])
            raise ImageReadError(
                f"{self.where}: {len(missing)} of {len(self.units)} images are not on disk; set data_prefix.img to the "
                f"folder that file_name is relative to:{listed}"
            )

    @property
    def given_test(self) -> frozenset[str]:
        """Images that the config itself tests on."""
        return frozenset(name for name, one in self._images.items() if one.origin == self._test_file)

    def counts(self, ids: Collection[str]) -> dict[str, int]:
        """Boxes of each class in these images, beside their number."""
        names = {one["id"]: one["name"] for one in self.categories}
        counts = {"images": len(ids), **dict.fromkeys(names.values(), 0)}
        for name in ids:
            for box in self._images[name].annotations:
                counts[names[box["category_id"]]] += not box.get("iscrowd")
        return counts

    def _subset(self, ids: Collection[str]) -> dict[str, Any]:
        """COCO content of these images, ids counted anew; the same images give the same bytes."""
        images, annotations = [], []
        for number, name in enumerate(sorted(ids), 1):
            images.append(dict(self._images[name].record, id=number))
            annotations += [
                dict(one, id=len(annotations) + place, image_id=number)
                for place, one in enumerate(self._images[name].annotations, 1)
            ]
        return {"info": self.info, "categories": self.categories, "images": images, "annotations": annotations}

    def use(self, config: Config, part: str, ids: Collection[str], split_file: Path, fold_dir: Path) -> None:
        """Let ``part`` of a fold's config read these images alone; writes their COCO file.

        Args:
            config: of the fold; changed.
            part: train, val or test.
            ids: the part's images.
            split_file: not needed: the COCO file says what belongs to it.
            fold_dir: gets ``data/<part>.json``.
        """
        path = fold_dir / "data" / f"{part}.json"
        write_json(path, self._subset(ids))
        for dataset in leaf_datasets(config, part):
            dataset.ann_file = str(path.resolve())
            dataset.data_prefix = dict(dataset.get("data_prefix") or {}, img=str(self.images_dir))
