"""The data that a detector's config reads, part by part, by digest: models are compared on the same ones only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ctc_mm.engine.cross_validation.image_source import DATASET_TYPES, ImageSource
from ctc_mm.engine.cross_validation.units import PARTS, digest_units, leaf_datasets, type_name
from ctc_mm.engine.runs.run_config import digest_text
from ctc_mm.errors import ConfigError


@dataclass(frozen=True)
class PartData:
    """One part of the data.

    Attributes:
        where: its COCO file.
        digest: of its annotations and the bytes of its images, wherever they lie.
        counts: images, and boxes of each class, of the file.
        paths: of the images.
        filters: by which data sets leave images out; '' without any. The digest covers them.
    """

    where: str
    digest: str
    counts: Mapping[str, int]
    paths: frozenset[Path]
    filters: str = ""


class DataReader:
    """Reads the data of configs; what several of them name is read once."""

    def __init__(self) -> None:
        self._read: dict[str, PartData] = {}

    def __call__(self, config: Config, name: str) -> dict[str, PartData]:
        """Train, validation and test data of a config.

        Args:
            config: of a detector.
            name: of the config, for messages.

        Raises:
            ConfigError: no such data set, one that is not read from a COCO file, or one that takes a part of it.
            AnnotationError, ImageReadError: files that are missing or damaged.
        """
        return {part: self._part(config, part, name) for part in PARTS}

    def _part(self, config: Config, part: str, name: str) -> PartData:
        leaves = leaf_datasets(config, part)
        odd = sorted({type_name(leaf) for leaf in leaves} - set(DATASET_TYPES))
        if odd:
            raise ConfigError(
                f"{name}: {part}_dataloader reads {', '.join(odd)}; models are compared on the data sets "
                f"{', '.join(DATASET_TYPES)}, whose files can be told apart by their content."
            )
        cut = [leaf.indices for leaf in leaves if leaf.get("indices") is not None]
        if cut:
            raise ConfigError(
                f"{name}: {part}_dataloader takes a part of its file (indices={cut[0]!r}); models are compared on "
                "whole files: leave it out, or write the images into a file of their own."
            )
        keys = ("data_root", "ann_file", "data_prefix", "metainfo")
        place = repr([[leaf.get(key) for key in keys] + [_filter_of(leaf)] for leaf in leaves])
        if place not in self._read:
            self._read[place] = _read_part(config, part, leaves)
        return self._read[place]


def _read_part(config: Config, part: str, leaves: Sequence[Mapping[str, Any]]) -> PartData:
    source = ImageSource(Config({f"{one}_dataloader": config[f"{part}_dataloader"] for one in PARTS}))
    digest, filters = digest_units(source.units), [_filter_of(leaf) for leaf in leaves]
    told = ", ".join(str(one) for one in filters) if any(filters) else ""
    return PartData(
        where=source.where,
        digest=digest_text([digest, filters]) if told else digest,
        counts=source.counts([unit.id for unit in source.units]),
        paths=frozenset(path for unit in source.units for path in unit.paths),
        filters=told,
    )


def _filter_of(leaf: Mapping[str, Any]) -> dict[str, Any]:
    """By what a data set leaves images out; MMDetection's filter none in a test."""
    chosen = dict(leaf.get("filter_cfg") or {})
    return {} if leaf.get("test_mode") or chosen == {"filter_empty_gt": False} else chosen


@dataclass(frozen=True)
class SharedData:
    """What all models of a comparison have in common.

    Attributes:
        parts: by name: train, val, test.
        classes: names, in the order of the label.
        target: the class that matters most.
        warnings: what the reader has to know.
    """

    parts: Mapping[str, PartData]
    classes: tuple[str, ...]
    target: str
    warnings: tuple[str, ...] = ()

    @property
    def digests(self) -> dict[str, str]:
        """Of each part."""
        return {part: one.digest for part, one in self.parts.items()}

    def to_json(self) -> dict[str, Any]:
        """Digest and size of each part, classes and target."""
        parts = {
            part: {"digest": one.digest, **one.counts, **({"filter_cfg": one.filters} if one.filters else {})}
            for part, one in self.parts.items()
        }
        return {"classes": list(self.classes), "target": self.target, "parts": parts}


def shared_data(configs: Mapping[str, Config], reader: DataReader) -> SharedData:
    """The data of a comparison.

    Args:
        configs: by name.
        reader: of data.

    Raises:
        ConfigError: they differ in data, splits or classes; the message names both.
    """
    first = next(iter(configs))
    data = {name: reader(config, name) for name, config in configs.items()}
    classes = {name: _classes(config, name) for name, config in configs.items()}
    for name in configs:
        if classes[name] != classes[first]:
            raise ConfigError(
                f"{name} has the classes {classes[name][0]} with the target {classes[name][1]}, {first} has "
                f"{classes[first][0]} with {classes[first][1]}; models are compared on the same task."
            )
        for part in PARTS:
            require_same(data[first][part], data[name][part], part, first, name)
    parts = data[first]
    seen = {part: len(parts[part].paths & parts["test"].paths) for part in ("train", "val")}
    warnings = [
        f"{count} of {len(parts['test'].paths)} test images are images of the {part} part too: figures flatter"
        for part, count in seen.items()
        if count
    ]
    warnings += [
        f"of the {part} part, images are left out by filter_cfg ({one.filters}); numbers here are of the whole file"
        for part, one in parts.items()
        if one.filters
    ]
    return SharedData(parts, *classes[first], warnings=tuple(warnings))


def require_same(one: PartData, other: PartData, part: str, one_name: str, other_name: str) -> None:
    """Refuse results of different data.

    Raises:
        ConfigError: the digests differ; the message names both.
    """
    if one.digest != other.digest:
        raise ConfigError(
            f"{one_name} and {other_name} read different {part} data: {one.where} ({_told(one)}) and {other.where} "
            f"({_told(other)}); models are compared on the same images and labels. Set data_root for all, or compare "
            "them in two runs."
        )


def _told(part: PartData) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in part.counts.items())
    return f"{counts}{'; filter_cfg ' + part.filters if part.filters else ''}; digest {part.digest[:12]}"


def _classes(config: Config, name: str) -> tuple[tuple[str, ...], str]:
    found = set()
    for part in PARTS:
        for leaf in leaf_datasets(config, part):
            metainfo = leaf.get("metainfo") or {}
            classes = tuple(metainfo.get("classes") or ())
            found.add((classes, metainfo.get("target") or (classes[0] if classes else None)))
    if len(found) != 1 or not next(iter(found))[0]:
        raise ConfigError(f"{name}: its data sets must name the same `metainfo.classes`. Received: {sorted(found)}")
    return found.pop()
