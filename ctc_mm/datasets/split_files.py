"""Splits as values and as JSON files, so that a run can be repeated and a changed table is noticed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ctc_mm.errors import AnnotationError, ConfigError
from ctc_mm.formats.fields import JsonField, load_json_object
from ctc_mm.formats.files import write_json

PARTS = ("train", "val", "test", "held_out")
KINDS = ("holdout", "kfold", "leave_one_group_out")
FORMAT = "ctc_mm split 1"
_MOST_NAMED = 5


@dataclass(frozen=True)
class Fold:
    """Unit ids of one fold, each part sorted.

    Attributes:
        name: its number, or the group that is left out.
        train: ids to train on.
        val: ids for thresholds, temperature and the choice of the weights.
        test: ids that neither saw.
    """

    name: str
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    def part(self, name: str) -> tuple[str, ...]:
        """Ids of ``train``, ``val`` or ``test``."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]


@dataclass(frozen=True)
class Split:
    """Units dealt out to folds.

    Attributes:
        kind: of :data:`KINDS`.
        seed: that it was drawn with.
        group_key: what the groups are (a column such as ``group``); None for an ungrouped split (``paper``).
        group_of: unit id -> group, of all units in use; its own id where the split is not grouped.
        folds: the folds.
        held_out: ids that no fold holds, for the last test.
        not_used: ids of the table that were left out on purpose.
        settings: further choices, such as the size of the validation part.
    """

    kind: str
    seed: int
    group_key: str | None
    group_of: Mapping[str, str]
    folds: tuple[Fold, ...]
    held_out: tuple[str, ...] = ()
    not_used: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    path: str = ""

    def ids(self, fold: int, part: str) -> set[str]:
        """Unit ids of one part of one fold (``held_out`` is the same for all).

        Raises:
            ConfigError: no such fold or part.
        """
        if part not in PARTS or not 0 <= fold < len(self.folds):
            raise ConfigError(
                f"{self.path or 'split'}: has the folds 0 to {len(self.folds) - 1}, each with {', '.join(PARTS)}. "
                f"Received: fold {fold!r}, part {part!r}"
            )
        return set(self.held_out if part == "held_out" else self.folds[fold].part(part))

    def require_same_units(self, group_of: Mapping[str, str | None], used: Collection[str], table: str) -> None:
        """Refuse a table whose units or groups are not those that were dealt out.

        Args:
            group_of: unit id -> value of :attr:`group_key` in the table now, of all usable units.
            used: those of them that are to be dealt out; the table may hold more (cells of another channel).
            table: its name, for the message.

        Raises:
            AnnotationError: units came or went, or moved to another group.
        """
        known = {*self.group_of, *self.not_used}
        new, gone = sorted(set(used) - known), sorted(set(self.group_of) - set(group_of))
        moved = [] if self.group_key is None else sorted(
            name for name, group in self.group_of.items() if name in group_of and group_of[name] != group
        )  # fmt: skip
        changes = [
            f"{len(names)} {what} ({', '.join(names[:_MOST_NAMED])}{', ...' if len(names) > _MOST_NAMED else ''})"
            for names, what in ((new, "are new"), (gone, "are gone"), (moved, "moved to another group"))
            if names
        ]
        if changes:
            raise AnnotationError(
                f"{self.path or 'split'}: was made for another table than {table}: of its units {'; '.join(changes)}. "
                "Make the split again, or restore the table (and the same `split`, `folds` and label_map)."
            )


def digest_of(group_of: Mapping[str, str]) -> str:
    """SHA-256 of unit ids and their groups, in sorted order."""
    lines = "".join(f"{name}\0{group_of[name]}\n" for name in sorted(group_of))
    return hashlib.sha256(lines.encode()).hexdigest()


def write_split_file(path: str | Path, split: Split) -> None:
    """Write a split as JSON; the same split gives the same bytes.

    The groups stand once, each with its units; a fold lists the ids of its parts.

    Raises:
        OSError: the file cannot be written.
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(split.group_of):
        groups.setdefault(split.group_of[name], []).append(name)
    write_json(
        path,
        {
            "format": FORMAT,
            "kind": split.kind,
            "seed": split.seed,
            "group_key": split.group_key,
            "settings": dict(sorted(split.settings.items())),
            "units": len(split.group_of),
            "digest": digest_of(split.group_of),
            "groups": dict(sorted(groups.items())) if split.group_key is not None else None,
            "held_out": sorted(split.held_out),
            "not_used": sorted(split.not_used),
            "folds": [
                {"name": one.name, "train": sorted(one.train), "val": sorted(one.val), "test": sorted(one.test)}
                for one in split.folds
            ],
        },
    )


def read_split_file(path: str | Path) -> Split:
    """Read what :func:`write_split_file` wrote, checking that it is whole.

    Raises:
        AnnotationError: no such file, another kind of file, a unit in two parts of a fold or in none, ids that do not
            fit the digest (the file was edited).
    """
    root = load_json_object(Path(path))
    if root.mapping().get("format") != FORMAT:
        raise root.error(f"is no split file (its `format` must be {FORMAT!r}); write it with tools/cross_validate.py")
    folds = tuple(
        Fold(one.get("name").string(), *(_ids(one.get(part)) for part in ("train", "val", "test")))
        for one in root.get("folds").objects()
    )
    held_out = _ids(root.get("held_out"))
    if not folds:
        raise root.error("holds no fold; make the split again")
    units = set(held_out).union(*(fold.part(part) for fold in folds for part in ("train", "val", "test")))
    for number, fold in enumerate(folds):
        _require_whole(root, f"folds[{number}]", [held_out, fold.train, fold.val, fold.test], units)
    group_of = {name: name for name in units}
    if root.has("groups"):
        groups = root.get("groups")
        group_of = {name: group for group in groups.mapping() for name in _ids(groups.get(group))}
    if digest_of(group_of) != root.get("digest").string() or set(group_of) != units:
        raise root.error("its units do not fit its digest, so it was edited or cut; make the split again")
    return Split(
        kind=root.get("kind").string(),
        seed=root.get("seed").integer(),
        group_key=root.get("group_key").value,
        group_of=group_of,
        folds=folds,
        held_out=held_out,
        not_used=_ids(root.get("not_used")),
        settings=root.get("settings").mapping(),
        path=str(path),
    )


def _ids(field: JsonField) -> tuple[str, ...]:
    return tuple(one.string() for one in field.items())


def _require_whole(root: JsonField, place: str, parts: Sequence[Sequence[str]], units: set[str]) -> None:
    seen: set[str] = set()
    for part in parts:
        twice = sorted(seen.intersection(part))
        if twice or len(set(part)) < len(part):
            raise root.error(f"{place}: {(twice or sorted(part))[0]!r} stands in two parts or twice; restore the file")
        seen.update(part)
    if seen != units:
        raise root.error(f"{place}: {sorted(units - seen)[0]!r} stands in no part of it; restore the file")
