"""What is divided into folds: cells of a table or images of COCO files, each with class, group and columns."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from ctc_mm.errors import ConfigError

PARTS = ("train", "val", "test")
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One cell with all its channels, or one image with all its cells.

    Attributes:
        id: ``cell_id``, or ``file_name``.
        stratum: folds have about equal shares of it: the class of a cell, how many target cells an image shows.
        columns: what its table or file says of it, as text; a column that it lacks is not in there.
        paths: its image files.
        content: text that changes with whatever the table says of it.
    """

    id: str
    stratum: str
    columns: Mapping[str, str] = field(default_factory=dict)
    paths: tuple[Path, ...] = ()
    content: str = ""


def column_names(units: Iterable[Unit]) -> list[str]:
    """Every column that some unit has."""
    return sorted({name for unit in units for name in unit.columns})


def groups_of(units: Sequence[Unit], key: str, where: str) -> list[str]:
    """Group of each unit.

    Raises:
        ConfigError: no unit has this column, or some lack it.
    """
    lacking = [unit.id for unit in units if not unit.columns.get(key)]
    if len(lacking) == len(units):
        raise ConfigError(
            f"{where}: has no column {key!r} to group by. There are: {', '.join(column_names(units)) or 'none'}; give "
            "one of them with --group-key, or divide one by one with --ungrouped (which lets pictures of one patient "
            "be trained on and tested)."
        )
    if lacking:
        raise ConfigError(
            f"{where}: {len(lacking)} of {len(units)} have no {key!r} ({_few(lacking)}); fill it in, or give another "
            "--group-key."
        )
    return [unit.columns[key] for unit in units]


def choose(units: Sequence[Unit], conditions: Mapping[str, Sequence[str]], option: str, where: str) -> list[Unit]:
    """Units whose columns have one of the wanted values, in all columns named.

    Raises:
        ConfigError: an unknown column, a value that no unit has, or nothing left.
    """
    chosen = list(units)
    for column, values in conditions.items():
        held = {unit.columns[column] for unit in units if column in unit.columns}
        if not held:
            raise ConfigError(f"{option} {column}=...: {where} has no such column. There are: {column_names(units)}")
        unknown = sorted(set(values) - held)
        if unknown:
            shown = ", ".join(sorted(held)[:20]) + (", ..." if len(held) > 20 else "")
            raise ConfigError(f"{option} {column}={','.join(unknown)}: {where} has none. Its values are: {shown}")
        chosen = [unit for unit in chosen if unit.columns.get(column) in values]
    if not chosen:
        raise ConfigError(f"{option}: no unit of {where} fulfils all of {dict(conditions)}")
    return chosen


def digest_units(units: Iterable[Unit]) -> str:
    """Digest of what tables and image files hold; it does not depend on where they lie."""
    total = hashlib.sha256()
    for unit in units:
        total.update(f"{unit.id}\0{unit.stratum}\0{unit.content}\0".encode())
        for path in unit.paths:
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def leaf_datasets(config: Config, part: str) -> list[ConfigDict]:
    """The data sets of a part that read files, out of their wrappers (``RepeatDataset``, ``ctc_mm.AugmentToN``).

    Raises:
        ConfigError: the config has no such data set.
    """
    dataset = (config.get(f"{part}_dataloader") or {}).get("dataset")
    if dataset is None:
        raise ConfigError(
            f"the config has no `{part}_dataloader.dataset`; cross-validation trains, chooses its thresholds on a "
            "validation set and tests, so it needs all three."
        )
    return list(_leaves(dataset))


def _leaves(dataset: ConfigDict) -> Iterator[ConfigDict]:
    inner = [one for one in (dataset.get("dataset"), *dataset.get("datasets", ())) if one is not None]
    if not inner:
        yield dataset
    for one in inner:
        yield from _leaves(one)


def type_name(part: Mapping[str, Any]) -> str:
    """Class name of a config's part, without scope."""
    kind = part.get("type")
    return getattr(kind, "__name__", str(kind)).rpartition(".")[2]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
